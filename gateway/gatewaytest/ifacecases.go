package gatewaytest

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

func interfaceCases() []deviceCase {
	return []deviceCase{
		{"an interface that is not there is no error", observesAbsent},
		{"a plan makes the interface", makesInterface},
		{"each field changes alone", changesFields},
		{"a new handle finds everything", adopts},
		{"close leaves everything and may be repeated", closeLeaves},
		{"destroy leaves nothing, however many peers there are", destroys},
		{"routes come and go", routes},
		{"a route stays ours when an address hides it", hiddenRoute},
		{"observe overwrites, and reuses memory", reusesMemory},
		{"what observe gave belongs to the caller", givesCopies},
		{"a context that has ended changes nothing", honoursContext},
	}
}

func observesAbsent(tb testing.TB, h Harness) {
	d := h.Open(tb)
	s := State()
	require.NoError(tb, d.Observe(tb.Context(), &s))
	require.False(tb, s.Exists)
	backend := s.Backend
	s.Backend, s.Problems = "", nil
	require.Empty(tb, s.Peers)
	require.Empty(tb, s.Routes)
	require.Empty(tb, s.Owned)
	require.True(tb, s.Interface.IsZero())
	s.Peers, s.Routes, s.Owned, s.Interface = nil, nil, nil, gateway.Interface{}
	require.Equal(tb, gateway.State{}, s, "all else is zero")
	require.NotEmpty(tb, backend)
}

// State returns a State that is full of things that are nowhere.
func State() gateway.State {
	s := gateway.State{
		Exists: true, Up: true, Backend: "nonsense", Interface: Interface(), Filtered: true, Forwarding: true,
		Owned: floatingAddrs(), Sourced: true,
		Routes: Prefixes("203.0.113.0/24"), Problems: []string{"nonsense"},
	}
	s.Interface.Floating = floatingAddrs()
	for _, p := range Peers(5) {
		s.Peers = append(s.Peers, gateway.PeerState{
			Key: p.Key, Preshared: PresharedKey(1), AllowedIPs: Prefixes("203.0.113.0/24", "2001:db8::/32"),
			Keepalive: time.Hour, Endpoint: netip.MustParseAddrPort("203.0.113.1:1"),
			Handshake: time.Unix(1, 0), Rx: 1, Tx: 1,
		})
	}
	return s
}

func makesInterface(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := rich()
	reach(tb, d, c)
	for _, p := range look(tb, d).Peers {
		require.Zero(tb, p.Rx, "a new peer has received")
		require.True(tb, p.Handshake.IsZero(), "a new peer had a handshake")
	}
}

// rich is a configuration in which every field has something.
func rich() gateway.Config {
	c := Config(4)
	c.Interface.Mark = 0x77
	c.Interface.Floating = floatingAddrs()[1:3]
	c.Interface.Destinations = Prefixes("10.60.0.0/22", "192.0.2.53/32", "fd60::/64")
	c.Interface.Isolated = true
	c.Interface.Inner = innerAddrs()
	c.Peers[0].Preshared = PresharedKey(1)
	c.Peers[1].Keepalive = 25 * time.Second
	c.Peers[2].Endpoint = netip.MustParseAddrPort("192.0.2.9:51820")
	c.Peers[3].AllowedIPs = append(c.Peers[3].AllowedIPs, Prefixes("192.0.2.0/24", "2001:db8:7::/48")...)
	return c.Canonical()
}

func changesFields(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := rich()
	reach(tb, d, c)
	for _, change := range []func(*gateway.Interface){
		func(i *gateway.Interface) { i.Key = PrivateKey(-1) },
		func(i *gateway.Interface) { i.Port++ },
		func(i *gateway.Interface) { i.MTU = 1280 },
		func(i *gateway.Interface) { i.Mark = 0x78 },
		func(i *gateway.Interface) { i.Floating = floatingAddrs()[:1] },
		func(i *gateway.Interface) { i.Floating = nil },
		func(i *gateway.Interface) { i.Mark = 0 },
		func(i *gateway.Interface) { i.Addrs = Prefixes("10.20.0.1/16") },
		func(i *gateway.Interface) { i.Addrs = Prefixes("fd20::2/64") },
		func(i *gateway.Interface) {
			i.Addrs = Prefixes("10.20.0.1/24", "10.21.0.1/24", "fd20::1/64", "fd21::1/64")
		},
		func(i *gateway.Interface) { i.Masquerade = nil },
		func(i *gateway.Interface) { i.Masquerade = Prefixes("10.20.0.0/16") },
		func(i *gateway.Interface) { i.Inner = innerAddrs()[1:] },
		func(i *gateway.Interface) { i.Inner = innerAddrs()[:1] },
		func(i *gateway.Interface) { i.Inner = []netip.Addr{netip.MustParseAddr("10.60.0.11")} },
		func(i *gateway.Interface) { i.Masquerade = nil },
		func(i *gateway.Interface) { i.Inner = nil },
		func(i *gateway.Interface) { i.Masquerade = Prefixes("10.20.0.0/16") },
		func(i *gateway.Interface) { i.Inner = innerAddrs() },
		func(i *gateway.Interface) { i.Isolated = false },
		func(i *gateway.Interface) { i.Destinations = Prefixes("0.0.0.0/0", "10.60.0.0/22", "fd60::/63") },
		func(i *gateway.Interface) { i.Destinations = Prefixes("::/0") },
		func(i *gateway.Interface) { i.Destinations = nil },
		func(i *gateway.Interface) { i.Isolated = true },
	} {
		change(&c.Interface)
		reach(tb, d, c)
	}
}

func adopts(tb testing.TB, h Harness) {
	first := h.Open(tb)
	c := rich()
	reach(tb, first, c)
	before := look(tb, first)
	second := h.Open(tb)
	require.Equal(tb, tidy(before), tidy(look(tb, second)))
	require.NoError(tb, first.Close())
	is(tb, second, c)
	c.Peers = c.Peers[1:]
	reach(tb, second, c)
}

func closeLeaves(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := rich()
	reach(tb, d, c)
	require.NoError(tb, d.Close())
	require.NoError(tb, d.Close(), "closing twice is no error")
	is(tb, h.Open(tb), c)
}

func destroys(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := Config(300)
	reach(tb, d, c)
	do(tb, d, gateway.Step{Verb: gateway.Destroy})
	is(tb, d, gateway.Config{})
	is(tb, h.Open(tb), gateway.Config{})
	do(tb, d, gateway.Step{Verb: gateway.Destroy})

	c = rich()
	reach(tb, d, c) // and all over again
	reach(tb, d, gateway.Config{})
}

func routes(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := Config(1)
	reach(tb, d, c)
	v4, v6 := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:7::/48")
	do(tb, d, gateway.Step{Verb: gateway.Route, Route: v6}, gateway.Step{Verb: gateway.Route, Route: v4})
	require.Equal(tb, []netip.Prefix{v4, v6}, look(tb, d).Routes)
	do(tb, d, gateway.Step{Verb: gateway.Unroute, Route: v4})
	require.Equal(tb, []netip.Prefix{v6}, look(tb, d).Routes)
	do(tb, d, gateway.Step{Verb: gateway.Unroute, Route: v4}) // it is gone already
	reach(tb, d, c)
}

func hiddenRoute(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := Config(1)
	c.Peers[0].AllowedIPs = Prefixes("10.21.0.0/24", "fd21::/64")
	reach(tb, d, c)
	strange := c.Interface
	strange.Addrs = Prefixes("10.20.0.1/16", "10.21.0.1/24", "fd20::1/64", "fd21::1/64")
	do(tb, d, gateway.Step{Verb: gateway.Configure, Fields: gateway.FieldAddrs, Interface: strange})
	reach(tb, d, c)
	do(tb, d, gateway.Step{Verb: gateway.Configure, Fields: gateway.FieldAddrs, Interface: strange})
	c.Peers = nil
	reach(tb, d, c)
}

func reusesMemory(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := rich()
	reach(tb, d, c)
	s := State()
	first := &s.Peers[0]
	require.NoError(tb, d.Observe(tb.Context(), &s))
	require.Equal(tb, tidy(look(tb, d)), tidy(s), "something of what was there before is left")
	require.Same(tb, first, &s.Peers[0], "the memory was not used again")

	c.Peers = c.Peers[:1]
	reach(tb, d, c)
	require.NoError(tb, d.Observe(tb.Context(), &s))
	require.Equal(tb, tidy(look(tb, d)), tidy(s))
}

func givesCopies(tb testing.TB, h Harness) {
	d := h.Open(tb)
	reach(tb, d, rich())
	one, before := look(tb, d), tidy(look(tb, d))
	for i := range one.Peers {
		one.Peers[i].AllowedIPs = append(one.Peers[i].AllowedIPs[:0], Prefixes("203.0.113.0/24", "203.0.113.0/25")...)
	}
	one.Interface.Addrs[0] = netip.MustParsePrefix("203.0.113.1/24")
	require.Equal(tb, before, tidy(look(tb, d)))
}

func honoursContext(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := Config(2)
	reach(tb, d, c)
	ended, cancel := contextWithCancel(tb)
	cancel()
	var s gateway.State
	require.Error(tb, d.Observe(ended, &s))
	require.Error(tb, d.Apply(ended, gateway.Plan{remove(c.Peers[0].Key), {Verb: gateway.Destroy}}))
	is(tb, d, c)
}

func takenPort(tb testing.TB, h Harness) {
	c := rich()
	h.TakePort(tb, c.Interface.Port)
	d := h.Open(tb)
	err := d.Apply(tb.Context(), gateway.Diff(c, look(tb, d)))
	require.ErrorIs(tb, err, syscall.EADDRINUSE)
	require.False(tb, look(tb, d).Exists, "something is left of an interface that could not be made")
	c.Interface.Port++
	reach(tb, d, c)

	taken := c
	taken.Interface.Port--
	err = d.Apply(tb.Context(), gateway.Diff(taken, look(tb, d)))
	require.ErrorIs(tb, err, syscall.EADDRINUSE)
	var failed *gateway.ApplyError
	require.ErrorAs(tb, err, &failed)
	require.Len(tb, failed.Failed, 1)
	is(tb, d, c) // as before
}

func leavesForeign(tb testing.TB, h Harness) {
	h.Foreign(tb)
	d := h.Open(tb)
	var s gateway.State
	require.ErrorIs(tb, d.Observe(tb.Context(), &s), gateway.ErrForeign)
	for _, p := range []gateway.Plan{
		gateway.Diff(rich(), gateway.State{}),
		{{Verb: gateway.Destroy}},
	} {
		require.ErrorIs(tb, d.Apply(tb.Context(), p), gateway.ErrForeign)
		require.ErrorIs(tb, d.Observe(tb.Context(), &s), gateway.ErrForeign, "it was taken over")
	}
}
