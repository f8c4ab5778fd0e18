//go:build linux

package testnet_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

func TestFloatingAddressMoves(t *testing.T) {
	n := testnet.ForTest(t)
	one, two, far, lan := n.Host("one"), n.Host("two"), n.Host("far"), n.Switch("lan")
	require.NoError(t, errors.Join(
		lan.Attach(one, "eth0", prefix("192.0.2.1/24"), prefix("2001:db8::1/64")),
		lan.Attach(two, "eth0", prefix("192.0.2.2/24"), prefix("2001:db8::2/64")),
		lan.Attach(far, "eth0", prefix("192.0.2.9/24"), prefix("2001:db8::9/64")),
		one.Route(testnet.Route{Via: addr("192.0.2.9")}),
		one.Route(testnet.Route{Via: addr("2001:db8::9")}),
	))
	before := routes(t, one)
	f := n.Floating(addr("192.0.2.10"), addr("2001:db8::10"))
	probes := map[string]*testnet.Probe{}
	answers := map[*testnet.Host][]*testnet.Echo{}
	for _, to := range []string{"192.0.2.10:7", "[2001:db8::10]:7"} {
		for _, h := range []*testnet.Host{one, two} {
			answers[h] = append(answers[h], echo(t, h, to))
		}
		p, err := far.Probe(testnet.ProbeConfig{To: at(to), Every: 2 * time.Millisecond})
		require.NoError(t, err)
		probes[to] = p
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
	defer cancel()

	for i, to := range []*testnet.Host{one, two, one, two, one} {
		from := []*testnet.Host{two, one}[i%2]
		start := time.Now()
		require.NoError(t, f.Move(to, "eth0"))
		moved := time.Now()
		for name, p := range probes {
			r, err := p.WaitReply(ctx, moved)
			require.NoError(t, err)
			if i > 0 {
				t.Logf("%s: moved in %v, outage %v, reply %v after the move", name, moved.Sub(start), p.Outage(start), r.Received.Sub(moved))
			}
			require.Less(t, r.Received.Sub(moved), patience)
		}
		host, link := f.On()
		require.Same(t, to, host)
		require.Equal(t, "eth0", link)
		counts := func() []uint64 { return []uint64{answers[from][0].Count(), answers[from][1].Count()} }
		silent := counts()
		for _, p := range probes {
			_, err := p.WaitReply(ctx, time.Now())
			require.NoError(t, err)
		}
		require.Equal(t, silent, counts(), "the host that gave it away still answers")
		for _, own := range []string{"192.0.2.9:0", "[2001:db8::9]:0"} {
			require.Contains(t, []netip.Addr{addr("192.0.2.10"), addr("2001:db8::10")}, source(t, to, at(own).Addr()),
				"what the host begins is to come from the floating address")
			require.NotContains(t, []netip.Addr{addr("192.0.2.10"), addr("2001:db8::10")}, source(t, from, at(own).Addr()))
		}
	}
	require.Equal(t, addr("192.0.2.10"), source(t, one, addr("198.51.100.1")), "also by the default route")
	require.Equal(t, addr("2001:db8::10"), source(t, one, addr("2001:db8:1::1")), "also by the default route")

	require.NoError(t, f.Drop())
	host, _ := f.On()
	require.Nil(t, host)
	require.Equal(t, before, routes(t, one), "routes are as they were")
	require.Error(t, f.Announce())
}

func TestFloatingAddressLeavesBrokenPlaces(t *testing.T) {
	n := testnet.ForTest(t)
	one, two, lan := n.Host("one"), n.Host("two"), n.Switch("lan")
	require.NoError(t, errors.Join(
		lan.Attach(one, "eth0", prefix("192.0.2.1/24"), prefix("2001:db8::1/64")),
		lan.Attach(two, "eth0", prefix("192.0.2.2/24"), prefix("2001:db8::2/64")),
	))
	f := n.Floating(addr("192.0.2.10"), addr("2001:db8::10"))

	require.ErrorContains(t, f.Move(one, "eth9"), "eth9")
	host, _ := f.On()
	require.Nil(t, host, "half a move is none")

	for name, spoil := range map[string]func() error{
		"cut off":   func() error { return lan.Cut(one) },
		"link down": func() error { return one.Down("eth0") },
	} {
		require.NoError(t, f.Move(one, "eth0"), name)
		require.NoError(t, spoil(), name)
		require.NoError(t, f.Move(two, "eth0"), name)
		require.Equal(t, addr("192.0.2.10"), source(t, two, addr("192.0.2.9")), name)
		require.NoError(t, errors.Join(one.Up("eth0"), lan.Heal(one)), name)
		require.Equal(t, addr("192.0.2.1"), source(t, one, addr("192.0.2.9")), name)
	}

	require.NoError(t, f.Move(one, "eth0"))
	l, err := one.Netlink().LinkByName("eth0")
	require.NoError(t, err)
	require.NoError(t, one.Netlink().LinkDel(l))
	require.NoError(t, f.Move(two, "eth0"))
	require.NoError(t, f.Drop())
}

// source is the address that h would speak to far from.
func source(t *testing.T, h *testnet.Host, far netip.Addr) netip.Addr {
	t.Helper()
	c, err := h.DialUDP(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(far, 9))
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	return at(c.LocalAddr().String()).Addr()
}

// routes are the unicast routes of h, as text.
func routes(t *testing.T, h *testnet.Host) []string {
	t.Helper()
	list, err := h.Netlink().RouteList(nil, 0)
	require.NoError(t, err)
	var all []string
	for _, r := range list {
		r.Flags = 0
		all = append(all, r.String())
	}
	return all
}
