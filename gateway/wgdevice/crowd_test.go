//go:build linux

package wgdevice_test

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
)

// crowd is a gateway with n peers of two prefixes each.
func crowd(n int) gateway.Config {
	peers := make([]gateway.Peer, n)
	for i := range peers {
		peers[i] = gateway.Peer{Key: public(i), AllowedIPs: []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)}), 32),
			prefix(fmt.Sprintf("fd20::%x:%x/128", i>>16+1, i&0xffff)),
		}}
	}
	return gate(peers...)
}

// took logs how long it took, by the clock of this machine.
func took(t *testing.T, what string, f func()) {
	t.Helper()
	start := time.Now()
	f()
	t.Logf("%s: %v (clock: %q)", what, time.Since(start), vm.Inside())
}

// Ten thousand peers come, change and go, and what is there is told in full.
func TestTenThousandPeers(t *testing.T) { onKernel(t, testTenThousandPeers) }

func testTenThousandPeers(t *testing.T, h *testnet.Host, c wgdevice.Config) {
	d := open(t, c)
	want := crowd(10_000)
	var s gateway.State
	took(t, "added", func() { require.NoError(t, d.Apply(t.Context(), gateway.Diff(want, s))) })
	took(t, "observed", func() { require.NoError(t, d.Observe(t.Context(), &s)) })
	require.Len(t, s.Peers, len(want.Peers))
	require.Empty(t, gateway.Diff(want, s))
	require.Len(t, lines(run(t, h, "wg", "show", "wg0", "peers")), 10_000, "by other eyes")

	want.Peers[7000].Keepalive = 25 * time.Second
	want.Peers = slices.Delete(want.Peers, 100, 101)
	plan := gateway.Diff(want, s)
	require.Len(t, plan, 2)
	took(t, "two changed", func() { require.NoError(t, d.Apply(t.Context(), plan)) })

	want.Peers = nil
	require.NoError(t, d.Observe(t.Context(), &s))
	took(t, "all removed", func() { require.NoError(t, d.Apply(t.Context(), gateway.Diff(want, s))) })
	require.Empty(t, observe(t, d).Peers)
}

// A peer that does not fit into one message of the kernel is one peer.
func TestCutPeer(t *testing.T) { onKernel(t, testCutPeer) }

func testCutPeer(t *testing.T, _ *testnet.Host, c wgdevice.Config) {
	d := open(t, c)
	want := crowd(3)
	cut := &want.Peers[1]
	cut.AllowedIPs = nil
	for i := range 3000 {
		cut.AllowedIPs = append(cut.AllowedIPs, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 21, byte(i >> 8), byte(i)}), 32))
	}
	cut.Keepalive = 25 * time.Second
	reconcile(t, d, want)
	parts, err := wgdevice.Records(d)
	require.NoError(t, err)
	require.Greater(t, parts, 3, "none was cut, which is what this is about")
	require.Len(t, observe(t, d).Peers, 3)
}

// When the kernel gives up telling of peers because one has gone, it is asked
// again: nobody takes those that it left out for gone.
func TestDisturbedList(t *testing.T) { onKernel(t, testDisturbedList) }

func testDisturbedList(t *testing.T, _ *testnet.Host, c wgdevice.Config) {
	const n = 1000
	d, other := open(t, c), open(t, c)
	want := crowd(n)
	reconcile(t, d, want)

	fewer := want // without the one that the kernel would tell of next, when it has told of some
	fewer.Peers = slices.Concat(want.Peers[:10], want.Peers[n/2:])
	answers, err := wgdevice.Disturb(d, func() {
		require.NoError(t, other.Apply(t.Context(), gateway.Diff(fewer, observe(t, other))))
	})
	require.NoError(t, err)
	require.Empty(t, gateway.Diff(fewer, observe(t, d)))
	require.Len(t, answers(), 2, "it was not asked again")
	require.Less(t, answers()[0], n/2, "the kernel told of all, which is not what this is about")

	// Peers come and go all the time, and the others are always there.
	var churn sync.WaitGroup
	stop := make(chan struct{})
	churn.Go(func() {
		for i := n; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			p := gateway.Peer{Key: public(i)}
			plan := gateway.Plan{{Verb: gateway.Set, Peer: p}, {Verb: gateway.Remove, Peer: p}}
			if err := other.Apply(t.Context(), plan); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 50 {
		now := observe(t, d)
		for _, p := range fewer.Peers {
			_, there := slices.BinarySearchFunc(now.Peers, p, func(a gateway.PeerState, b gateway.Peer) int { return a.Key.Compare(b.Key) })
			require.True(t, there || len(now.Problems) > 0, "%v of %d is missing", p.Key, len(now.Peers))
		}
	}
	close(stop)
	churn.Wait()
}

// A thousand peers go, and the session of the one that stays does not notice.
// All go at once if all shall go.
func TestThousandGo(t *testing.T) { onKernel(t, testThousandGo) }

func testThousandGo(t *testing.T, _ *testnet.Host, c wgdevice.Config) {
	d := open(t, c)
	all := crowd(1001)
	one := all
	one.Peers = all.Peers[500:501]
	none := all
	none.Peers = nil

	reconcile(t, d, all)
	s := observe(t, d)
	took(t, "1,000 of 1,001 removed", func() { require.NoError(t, d.Apply(t.Context(), gateway.Diff(one, s))) })
	require.Empty(t, gateway.Diff(one, observe(t, d)))
	reconcile(t, d, all)
	s = observe(t, d)
	took(t, "all of 1,001 removed", func() { require.NoError(t, d.Apply(t.Context(), gateway.Diff(none, s))) })
	require.Empty(t, gateway.Diff(none, observe(t, d)))
	reconcile(t, d, all)
	took(t, "the interface with 1,001 destroyed", func() {
		require.NoError(t, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}))
	})
	require.False(t, observe(t, d).Exists)
}
