//go:build linux

package wgdevice_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// handles counts the open files of the process.
func handles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(list)
}

// Neither handles nor interfaces leave anything open, or running, behind.
func TestNothingLeaks(t *testing.T) { each(t, testNothingLeaks) }

func testNothingLeaks(t *testing.T, back wgdevice.Backend) {
	h := testnet.ForTest(t).Host("gw")
	want := gate(others(5)...)
	want.Interface.Mark, want.Interface.Floating = moves, addrs("192.0.2.10", "2001:db8::10")
	once := func(end bool) {
		d, err := wgdevice.Open(inside(h, back))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		d.Changes(ctx)
		reconcile(t, d, want)
		d.Own(ctx, want.Interface)
		other := want.Clone()
		other.Interface.Port++
		reconcile(t, d, other)
		if end {
			require.NoError(t, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}))
			taken, err := h.ListenUDP(at("0.0.0.0:51820"))
			require.NoError(t, err)
			require.Error(t, d.Apply(t.Context(), gateway.Diff(want, gateway.State{})))
			require.NoError(t, taken.Close())
		}
		cancel()
		require.NoError(t, d.Close())
	}
	once(true)
	before, goroutines := 0, goleak.IgnoreCurrent()
	testnet.Eventually(t, patience, func() error { // what was closed may take a moment to end
		if n := handles(t); n != before {
			before = n
			return fmt.Errorf("%d open files", n)
		}
		return goleak.Find(goroutines)
	})
	for i := range 10 {
		once(i%3 == 2)
	}
	once(true)
	testnet.Eventually(t, patience, func() error {
		if n := handles(t); n > before {
			return fmt.Errorf("%d open files, there were %d", n, before)
		}
		return goleak.Find(goroutines)
	})
	require.NotContains(t, run(t, h, "ip", "link"), "wg0")
}

// An Open that fails keeps nothing.
func TestFailedOpenLeaksNothing(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN)
	h := testnet.ForTest(t).Host("gw")
	run(t, h, "ip", "link", "add", "wg0", "type", "bridge")
	before := handles(t)
	for range 5 {
		_, err := wgdevice.Open(inside(h, wgdevice.Userspace))
		require.Error(t, err)
		_, err = wgdevice.Open(wgdevice.Config{Name: "wg0", NetNS: "/proc/self/ns/mnt"})
		require.Error(t, err)
	}
	require.LessOrEqual(t, handles(t), before)
}

// The handle of the namespace need not stay open, nor anything else of it.
func TestNamespaceHandleMayGo(t *testing.T) { each(t, testNamespaceHandleMayGo) }

func testNamespaceHandleMayGo(t *testing.T, back wgdevice.Backend) {
	net := testnet.ForTest(t)
	h := net.Host("gw")
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", int(h.NS())))
	require.NoError(t, err)
	c := inside(h, back)
	c.NetNS = fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	d, err := wgdevice.Open(c)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	reconcile(t, d, gate(others(1)...))
	require.NoError(t, net.Close())
	reconcile(t, d, gate(others(2)...))
	require.NoError(t, errors.Join(d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}), d.Close()))
}

func BenchmarkPeers(b *testing.B) {
	for _, back := range []wgdevice.Backend{wgdevice.Userspace, process} {
		b.Run(string(back), func(b *testing.B) { benchmarkPeers(b, back) })
	}
}

func benchmarkPeers(b *testing.B, back wgdevice.Backend) {
	b.Helper()
	const n = 10_000
	testnet.Need(b, testnet.Netns, testnet.TUN, testnet.Nftables)
	net, err := testnet.New(b.Context(), testnet.Config{})
	require.NoError(b, err)
	d, err := wgdevice.Open(inside(net.Host("gw"), back))
	require.NoError(b, err)
	want := gate()
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, 20, byte(i>>8) + 1, byte(i)})
		b := netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x20, 14: byte(i>>8) + 1, 15: byte(i)})
		want.Peers = append(want.Peers, gateway.Peer{Key: public(i), AllowedIPs: []netip.Prefix{
			netip.PrefixFrom(a, 32), netip.PrefixFrom(b, 128),
		}})
	}
	apply := func(plan gateway.Plan) {
		if err := d.Apply(b.Context(), plan); err != nil {
			b.Fatal(err)
		}
	}
	empty := want.Clone()
	empty.Peers = nil
	var s gateway.State
	look := func() {
		if err := d.Observe(b.Context(), &s); err != nil {
			b.Fatal(err)
		}
	}
	apply(gateway.Diff(empty, s))
	per := func(b *testing.B, took time.Duration, of int) {
		b.ReportMetric(float64(took.Microseconds())/float64(b.N*of), "µs/peer")
	}
	b.Run("add 10000 and remove them", func(b *testing.B) {
		var add, remove time.Duration
		for b.Loop() {
			look()
			plan := gateway.Diff(want, s)
			began := time.Now()
			apply(plan)
			add += time.Since(began)
			look()
			plan = gateway.Diff(empty, s)
			began = time.Now()
			apply(plan)
			remove += time.Since(began)
		}
		per(b, add, n)
		b.ReportMetric(float64(remove.Microseconds())/float64(b.N*n), "µs/removal")
	})
	look()
	apply(gateway.Diff(want, s))
	b.Run("observe 10000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			look()
		}
		per(b, b.Elapsed(), n)
	})
	b.Run("set one of 10000", func(b *testing.B) {
		step := gateway.Plan{{Verb: gateway.Set, Peer: want.Peers[77]}}
		b.ReportAllocs()
		for b.Loop() {
			apply(step)
		}
	})
	require.NoError(b, errors.Join(d.Apply(b.Context(), gateway.Plan{{Verb: gateway.Destroy}}), d.Close(), net.Close()))
}
