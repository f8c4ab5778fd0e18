package gatewayrpc_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/transport/gatewayrpc"
)

func TestLagIsWhatAMessageTookMore(t *testing.T) {
	const apart = 400 * 24 * time.Hour // the sender's machine has been up for longer
	var l gatewayrpc.Lag
	now := time.Hour
	hear := func(took time.Duration) time.Duration {
		now += 2 * time.Second
		return l.Observe(now-took+apart, now)
	}
	require.Zero(t, hear(50*time.Millisecond), "there is nothing to compare it with")
	require.Zero(t, hear(20*time.Millisecond), "the fastest so far")
	near(t, 10*time.Second, hear(10*time.Second+20*time.Millisecond))
	near(t, 0, hear(20*time.Millisecond))
	now += 8 * time.Hour // both slept, or nobody spoke
	near(t, 30*time.Second, hear(30*time.Second))
	near(t, 0, hear(20*time.Millisecond))
}

// near allows for what clocks may have drifted.
func near(t *testing.T, want, got time.Duration) {
	t.Helper()
	require.InDelta(t, want.Seconds(), got.Seconds(), 6, "in seconds")
	if want == 0 {
		require.Less(t, got, 50*time.Millisecond)
	}
}

// A clock that stood still, in a machine that was frozen and moved, makes things look
// older for a few minutes, and not for ever.
func TestAClockThatStoodStillIsNoticed(t *testing.T) {
	var l gatewayrpc.Lag
	now, apart := time.Hour, time.Duration(0)
	hear := func() time.Duration {
		now += 2 * time.Second
		return l.Observe(now-apart, now)
	}
	for range 1000 {
		require.Zero(t, hear())
	}
	apart = time.Minute
	require.InDelta(t, 60, hear().Seconds(), 1)
	for range 5 * 30 {
		hear()
	}
	require.Zero(t, hear(), "after five minutes")
}

// Whatever messages take, whatever the clocks say and however they drift: nothing
// looks younger by more than the fastest message takes, or older than by the drift.
func TestLagIsNeverFarOff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const fastest = 5 * time.Millisecond
		var l gatewayrpc.Lag
		apart := time.Duration(rapid.Int64Range(0, int64(3*365*24*time.Hour)).Draw(t, "apart"))
		ppm := rapid.Int64Range(-100, 100).Draw(t, "drift")
		now, least := 4*365*24*time.Hour, time.Duration(-1)
		start := now
		for range rapid.IntRange(1, 300).Draw(t, "messages") {
			now += time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(10*time.Second)).Draw(t, "pause"))
			took := fastest + time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "took"))
			if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				took = fastest
			}
			left := now - took
			sent := left - apart + (left-start)*time.Duration(ppm)/1e6
			lag := l.Observe(sent, now)
			if least < 0 || took < least {
				least = took
			}
			const slack = 200 * time.Millisecond // drift since the fastest was seen
			require.LessOrEqual(t, lag, took+slack, "it looks older")
			if took == fastest {
				require.LessOrEqual(t, lag, slack, "the fastest one was late")
			}
			if least == fastest && (now-start) < 2*time.Minute {
				require.GreaterOrEqual(t, lag, took-fastest-slack, "it looks younger")
			}
		}
	})
}
