//go:build linux

package testnet_test

import (
	"errors"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
)

// pair is a cable between two hosts, with an echo at the second.
func pair(t *testing.T) (a, b *testnet.Host, e *testnet.Echo) {
	t.Helper()
	n := testnet.ForTest(t)
	a, b = n.Host("a"), n.Host("b")
	require.NoError(t, errors.Join(
		n.Link(a, "eth0", b, "eth0"),
		a.Addr("eth0", prefix("192.0.2.1/24")),
		b.Addr("eth0", prefix("192.0.2.2/24")),
	))
	return a, b, echo(t, b, "192.0.2.2:7")
}

func TestImpairRefusesNonsense(t *testing.T) {
	a, _, _ := pair(t)
	for says, i := range map[string]testnet.Impairment{
		"delay of -1ms: want 0 to 1m0s":                    {Delay: -time.Millisecond},
		"delay of 1m0.000001s":                             {Delay: time.Minute + time.Microsecond},
		"jitter of 2ms: want 0 to 1ms, for a delay of 1ms": {Delay: time.Millisecond, Jitter: 2 * time.Millisecond},
		"jitter of 3s: want 0 to 2s":                       {Delay: time.Minute, Jitter: 3 * time.Second},
		"jitter of -1ns":                                   {Delay: time.Second, Jitter: -1},
		"delay of 1.5µs, jitter of 0s: want whole":         {Delay: 1500},
		"delay of 1ms, jitter of 1ns: want whole":          {Delay: time.Millisecond, Jitter: 1},
		"loss of -0.5 %: want 0 to 100":                    {Loss: -0.5},
		"loss of 100.5 %":                                  {Loss: 100.5},
		"loss of NaN %":                                    {Loss: math.NaN()},
	} {
		err := a.Impair("eth0", i)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, "impair eth0 of host a")
	}
	require.ErrorContains(t, a.Impair("eth9", testnet.Impairment{}), "eth9")
	require.NoError(t, a.Impair("eth0", testnet.Impairment{}), "a perfect link is made perfect anywhere")
}

func TestImpairSaysWhatIsMissing(t *testing.T) {
	a, _, _ := pair(t)
	missing := testnet.Check(testnet.Netem)
	err := a.Impair("eth0", testnet.Impairment{Loss: 1})
	if missing == nil {
		require.NoError(t, err)
		return
	}
	m, ok := errors.AsType[*testnet.MissingError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, testnet.Netem, m.What)
	require.Contains(t, err.Error(), "modprobe sch_netem")
}

// TestImpair needs netem. It plays in a machine whose clock is virtual, where
// delays are exact, and not on the kernel at hand even if that has netem.
func TestImpair(t *testing.T) {
	if vm.Inside() == "" {
		if testing.Short() && os.Getenv(testnet.RequireEnv) != "all" {
			t.Skip("boots a machine, which takes seconds: run it without -short")
		}
		vm.GoTest(t, vm.Config{}, "github.com/holdfastvpn/holdfast/internal/testnet", "-test.run=^TestImpair")
		return
	}
	testnet.Need(t, testnet.Netem)
	t.Run("delay is one way, exact, replaced and taken away", delayed)
	t.Run("jitter spreads and reorders", jittered)
	t.Run("loss is one way, and about what was asked for", lossy)
}

// trips are the round trips of n datagrams that are sent one after the other, in
// the order in which they came back. None of them is lost.
func trips(t *testing.T, a *testnet.Host, n int) []time.Duration {
	t.Helper()
	p, err := a.Probe(testnet.ProbeConfig{To: at("192.0.2.2:7"), Every: time.Millisecond})
	require.NoError(t, err)
	first, err := p.WaitReply(t.Context(), time.Time{})
	require.NoError(t, err)
	start := first.Received // before it, one end asks who has the address
	next, err := p.WaitReply(t.Context(), start)
	require.NoError(t, err)
	_, err = p.WaitReply(t.Context(), next.Sent.Add(time.Duration(n+100)*time.Millisecond)) // by then the last has come, overtaken or not
	require.NoError(t, err)
	require.NoError(t, p.Close())
	all := make([]time.Duration, 0, n)
	for _, r := range p.Replies() {
		if r.Number >= next.Number && r.Number < next.Number+uint64(n) {
			all = append(all, r.Received.Sub(r.Sent))
		}
	}
	require.Len(t, all, n)
	return all
}

func delayed(t *testing.T) {
	a, b, _ := pair(t)
	exactly := func(want time.Duration) {
		t.Helper()
		all := trips(t, a, 20)
		slices.Sort(all)
		require.GreaterOrEqual(t, all[0], want)
		require.InDelta(t, want.Seconds(), all[len(all)/2].Seconds(), 0.0005) // single ones wait for a busy CPU
	}
	exactly(0)
	require.NoError(t, a.Impair("eth0", testnet.Impairment{Delay: 30 * time.Millisecond}))
	exactly(30 * time.Millisecond)
	require.NoError(t, b.Impair("eth0", testnet.Impairment{Delay: 90 * time.Millisecond}))
	exactly(120 * time.Millisecond)
	require.NoError(t, a.Impair("eth0", testnet.Impairment{Delay: 1500 * time.Millisecond}))
	exactly(1590 * time.Millisecond) // netem by itself holds back 1,000 packets, not 1,500
	require.NoError(t, errors.Join(a.Impair("eth0", testnet.Impairment{}), a.Impair("eth0", testnet.Impairment{})))
	exactly(90 * time.Millisecond)
	require.NoError(t, b.Impair("eth0", testnet.Impairment{}))
	exactly(0)
}

func jittered(t *testing.T) {
	a, _, _ := pair(t)
	require.NoError(t, a.Impair("eth0", testnet.Impairment{Delay: 50 * time.Millisecond, Jitter: 20 * time.Millisecond}))
	all := trips(t, a, 400)
	least, most, overtaken := all[0], all[0], false
	for i, d := range all {
		least, most = min(least, d), max(most, d)
		overtaken = overtaken || i > 0 && d > all[i-1]+2*time.Millisecond // sent earlier, came later
	}
	require.InDelta(t, 31, least.Seconds()*1000, 2)
	require.InDelta(t, 69, most.Seconds()*1000, 2)
	require.True(t, overtaken)
}

func lossy(t *testing.T) {
	a, b, e := pair(t)
	require.NoError(t, a.Impair("eth0", testnet.Impairment{Loss: 10}))
	p, err := a.Probe(testnet.ProbeConfig{To: at("192.0.2.2:7"), Every: time.Millisecond})
	require.NoError(t, err)
	first, err := p.WaitReply(t.Context(), time.Time{})
	require.NoError(t, err)
	lost := p.Lost()
	_, err = p.WaitReply(t.Context(), first.Received.Add(2*time.Second))
	require.NoError(t, err)
	require.InDelta(t, 200, p.Lost()-lost, 85, "of 2,000; six standard deviations are 80")

	require.NoError(t, errors.Join(a.Impair("eth0", testnet.Impairment{}), b.Impair("eth0", testnet.Impairment{Loss: 100})))
	replies, arrived := len(p.Replies()), e.Count()
	testnet.Eventually(t, patience, func() error {
		if e.Count() < arrived+100 {
			return errors.New("nothing arrives")
		}
		return nil
	})
	require.Len(t, p.Replies(), replies, "and nothing comes back")
	require.NoError(t, p.Close())
}
