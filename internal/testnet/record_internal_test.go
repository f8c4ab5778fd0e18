// An internal test: the arithmetic behind the figures of a probe, without a
// network and without a clock.

package testnet

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// arrivals makes a record of replies that arrived at these milliseconds.
func arrivals(ms ...int) *record {
	r := &record{sent: uint64(len(ms))}
	for i, at := range ms {
		t := time.Duration(at) * time.Millisecond
		r.add(pong{number: uint64(i), sent: t, received: t})
	}
	return r
}

func TestSilence(t *testing.T) {
	for _, c := range []struct {
		name             string
		at               []int
		since, now, want int
	}{
		{"no reply ever: since the start", nil, 50, 120, 120},
		{"one interval is the least", []int{10, 20, 30, 40}, 15, 42, 10},
		{"a gap after the moment", []int{10, 20, 90, 100}, 30, 105, 70},
		{"a gap around the moment counts whole", []int{10, 90, 100}, 50, 105, 80},
		{"a gap before the moment does not count", []int{10, 90, 100, 110}, 95, 112, 10},
		{"a gap that ends at the moment does not count", []int{10, 90, 100, 110}, 90, 112, 10},
		{"the silence that goes on counts", []int{10, 20, 30}, 25, 300, 270},
		{"before the first reply", []int{70, 80}, 0, 81, 70},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := arrivals(c.at...).silence(time.Duration(c.since)*time.Millisecond, time.Duration(c.now)*time.Millisecond)
			require.Equal(t, time.Duration(c.want)*time.Millisecond, got)
		})
	}
}

// The oracle walks through time step by step.
func TestSilenceAgreesWithAWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		heard := rapid.SliceOfN(rapid.Bool(), 1, 60).Draw(t, "heard") // at step i+1
		since := rapid.IntRange(0, len(heard)).Draw(t, "since")
		r := &record{sent: uint64(len(heard))}
		longest, last := 0, 0
		for i, h := range heard {
			now := i + 1
			if now > since {
				longest = max(longest, now-last)
			}
			if h {
				r.add(pong{number: uint64(i), sent: 0, received: time.Duration(now)})
				last = now
			}
		}
		longest = max(longest, len(heard)-last)
		require.Equal(t, time.Duration(longest), r.silence(time.Duration(since), time.Duration(len(heard))))
	})
}

func TestRecord(t *testing.T) {
	t.Run("a copy of a reply is no reply", func(t *testing.T) {
		r := arrivals(10, 20)
		require.False(t, r.add(pong{number: 1, sent: 20, received: 21}))
		require.Equal(t, uint64(2), r.received)
	})
	t.Run("nor is one to what was never sent", func(t *testing.T) {
		r := arrivals(10)
		require.False(t, r.add(pong{number: 1, received: 21}))
		require.False(t, r.add(pong{number: 0, sent: 30, received: 21}), "sent after it came back")
	})
	t.Run("first looks at when a datagram left", func(t *testing.T) {
		r := &record{sent: 3}
		r.add(pong{number: 0, sent: 10, received: 35})
		r.add(pong{number: 1, sent: 20, received: 36})
		r.add(pong{number: 2, sent: 31, received: 40})
		got, ok := r.first(30)
		require.True(t, ok)
		require.Equal(t, uint64(2), got.number, "the others were under way already")
		_, ok = r.first(31)
		require.False(t, ok)
	})
	t.Run("it is bounded, and what it forgets makes no silence", func(t *testing.T) {
		r := &record{sent: 2 * keepPongs}
		for i := range uint64(keepPongs + 10) {
			at := time.Duration(i)
			require.True(t, r.add(pong{number: i, sent: at, received: at}))
		}
		require.Len(t, r.pongs, keepPongs/2+10)
		require.Equal(t, uint64(keepPongs+10), r.received)
		require.Equal(t, time.Duration(1), r.silence(0, keepPongs+10))
	})
}

func TestRing(t *testing.T) {
	var r ring
	for i := range 5 {
		r.add(3, sight{at: time.Duration(10-i) * time.Second, mark: string(rune('a' + i))})
	}
	require.Equal(t, "(2 older lines are gone)\n"+
		"   6.000000 -- e\n"+
		"   7.000000 -- d\n"+
		"   8.000000 -- c\n", r.text())
}

func TestForbidden(t *testing.T) {
	cause := errors.New("operation not permitted")
	for _, c := range []struct {
		name     string
		settings map[string]string
		want     string
	}{
		{"Debian's switch", map[string]string{"kernel/unprivileged_userns_clone": "0", "user/max_user_namespaces": "100"}, "sysctl -w kernel.unprivileged_userns_clone=1"},
		{"none allowed", map[string]string{"user/max_user_namespaces": "0"}, "sysctl -w user.max_user_namespaces=10000"},
		{"Ubuntu's AppArmor", map[string]string{"kernel/apparmor_restrict_unprivileged_userns": "1", "user/max_user_namespaces": "100"}, "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
		{"not in this kernel", nil, "CONFIG_USER_NS"},
		{"a sandbox", map[string]string{"user/max_user_namespaces": "100"}, "container"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := forbidden(cause, func(name string) string { return c.settings[name] })
			require.ErrorIs(t, err, cause)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "or run this as root")
		})
	}
}
