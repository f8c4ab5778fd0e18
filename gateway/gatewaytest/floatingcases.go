package gatewaytest

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

// floatingCases are for every device. Their addresses are nowhere.
func floatingCases() []deviceCase {
	return []deviceCase{
		{"floating addresses come, change and go", floatingChange},
		{"a new handle finds floating addresses", floatingAdopted},
	}
}

// ownCases need somebody who moves addresses.
func ownCases() []deviceCase {
	return []deviceCase{
		{"an address that comes and goes is told", ownTells},
		{"an address that comes and goes is observed", ownObserved},
		{"who asks later is told at once", ownAtOnce},
		{"a slow reader is told the newest only", ownNewest},
		{"a context ends the telling", ownEnds},
	}
}

// promptly is how long a case waits for an address to be told, which takes
// milliseconds.
const promptly = 3 * time.Second

// floatingAddrs are addresses that no test has anywhere, in order.
func floatingAddrs() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("198.51.100.11"),
		netip.MustParseAddr("2001:db8:f::10"), netip.MustParseAddr("2001:db8:f::11"),
	}
}

// innerAddrs are such addresses towards the network behind, in order.
func innerAddrs() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("10.60.0.10"), netip.MustParseAddr("fd60::10")}
}

// moving is a configuration with floating addresses.
func moving(n int) gateway.Config {
	c := Config(n)
	c.Interface.Mark = 0x77
	c.Interface.Floating = floatingAddrs()
	return c
}

func floatingChange(tb testing.TB, h Harness) {
	d := h.Open(tb)
	all := floatingAddrs()
	c := Config(2)
	reach(tb, d, c)
	require.Empty(tb, look(tb, d).Interface.Floating)
	require.True(tb, look(tb, d).Sourced, "there is nothing to send from, so all is well")
	for _, change := range []func(*gateway.Interface){
		func(i *gateway.Interface) { i.Mark, i.Floating = 0x77, all[:1] },
		func(i *gateway.Interface) { i.Floating = all },
		func(i *gateway.Interface) { i.Floating = all[2:] },
		func(i *gateway.Interface) { i.Floating = all[1:3] },
		func(i *gateway.Interface) { i.Mark = 0x12345678 },
		func(i *gateway.Interface) { i.Mark, i.Floating = 0x77, all[3:] },
		func(i *gateway.Interface) { i.MTU = 1300 },
		func(i *gateway.Interface) { i.Floating = nil },
		func(i *gateway.Interface) { i.Floating = all[:3] },
		func(i *gateway.Interface) { i.Mark, i.Floating = 0, nil },
	} {
		change(&c.Interface)
		reach(tb, d, c)
		s := look(tb, d)
		require.True(tb, slices.Equal(c.Interface.Floating, s.Interface.Floating), "floating %v, want %v", s.Interface.Floating, c.Interface.Floating)
		require.True(tb, s.Sourced)
		require.Empty(tb, s.Owned, "the machine has an address that is nowhere")
	}
}

func floatingAdopted(tb testing.TB, h Harness) {
	first := h.Open(tb)
	c := moving(1)
	reach(tb, first, c)
	require.NoError(tb, first.Close())
	second := h.Open(tb)
	require.Equal(tb, c.Interface.Floating, look(tb, second).Interface.Floating)
	is(tb, second, c)
	c.Interface.Floating = c.Interface.Floating[1:]
	reach(tb, second, c)
	reach(tb, second, gateway.Config{})
	c.Interface.Floating = nil
	reach(tb, second, c)
	require.Empty(tb, look(tb, second).Interface.Floating, "they outlived the interface")
}

// owners opens a device that is as moving says, and asks which addresses it has.
func owners(tb testing.TB, h Harness) (gateway.Device, gateway.Config, <-chan []netip.Addr, context.CancelFunc) {
	tb.Helper()
	d, c := h.Open(tb), moving(1)
	reach(tb, d, c)
	ctx, cancel := context.WithCancel(tb.Context())
	tb.Cleanup(cancel)
	return d, c, ask(ctx, tb, d, c.Interface), cancel
}

func ask(ctx context.Context, tb testing.TB, d gateway.Device, i gateway.Interface) <-chan []netip.Addr {
	tb.Helper()
	o, ok := d.(gateway.Owner)
	require.True(tb, ok, "the device does not tell which floating addresses the machine has")
	return o.Own(ctx, i)
}

// owned reads the channel until it says want, and nothing that is neither that nor
// one of between, which are states on the way.
func owned(tb testing.TB, from <-chan []netip.Addr, want []netip.Addr, between ...[]netip.Addr) {
	tb.Helper()
	late := time.After(promptly)
	for {
		select {
		case now, open := <-from:
			require.True(tb, open, "the channel was closed")
			if slices.Equal(now, want) {
				return
			}
			require.True(tb, slices.ContainsFunc(between, func(b []netip.Addr) bool { return slices.Equal(b, now) }),
				"told %v, want %v", now, want)
		case <-late:
			tb.Fatalf("nobody told %v within %v", want, promptly)
		}
	}
}

func ownTells(tb testing.TB, h Harness) {
	_, c, from, _ := owners(tb, h)
	all := c.Interface.Floating
	owned(tb, from, nil)
	h.Own(tb, netip.MustParseAddr("198.51.100.99"), true) // not of the location
	h.Own(tb, all[2], true)
	owned(tb, from, all[2:3])
	h.Own(tb, all[0], true)
	owned(tb, from, []netip.Addr{all[0], all[2]})
	h.Own(tb, all[1], true)
	owned(tb, from, all[:3])
	h.Own(tb, all[0], false)
	owned(tb, from, all[1:3])
	h.Own(tb, all[0], true) // and back again
	owned(tb, from, all[:3])
	h.Own(tb, all[0], false)
	h.Own(tb, all[1], false)
	h.Own(tb, all[2], false)
	owned(tb, from, nil, all[1:3], all[2:3])
}

func ownObserved(tb testing.TB, h Harness) {
	d, c, from, _ := owners(tb, h)
	all := c.Interface.Floating
	owned(tb, from, nil)
	for _, step := range []struct {
		addr netip.Addr
		have bool
		want []netip.Addr
	}{
		{all[3], true, all[3:]},
		{all[0], true, []netip.Addr{all[0], all[3]}},
		{all[3], false, all[:1]},
		{all[0], false, nil},
		{all[0], true, all[:1]},
	} {
		h.Own(tb, step.addr, step.have)
		owned(tb, from, step.want)
		s := look(tb, d)
		require.True(tb, slices.Equal(step.want, s.Owned), "observed %v, want %v", s.Owned, step.want)
		require.True(tb, s.Sourced, "it is told before what is sent leaves from there")
		is(tb, d, c)
	}
	// Only of what is asked for, and each configuration leaves it alone.
	c.Interface.Floating = all[1:]
	reach(tb, d, c)
	require.Empty(tb, look(tb, d).Owned)
	c.Interface.Floating = all[:2]
	reach(tb, d, c)
	require.Equal(tb, all[:1], look(tb, d).Owned)
	again := h.Open(tb)
	is(tb, again, c)
	require.Equal(tb, all[:1], look(tb, again).Owned)
}

func ownAtOnce(tb testing.TB, h Harness) {
	d, c, from, _ := owners(tb, h)
	all := c.Interface.Floating
	owned(tb, from, nil)
	h.Own(tb, all[0], true)
	owned(tb, from, all[:1])
	owned(tb, ask(tb.Context(), tb, d, c.Interface), all[:1])
	other := c.Interface
	other.Floating = all[1:]
	second := ask(tb.Context(), tb, d, other)
	owned(tb, second, nil)
	h.Own(tb, all[2], true)
	owned(tb, second, all[2:3])
	owned(tb, from, []netip.Addr{all[0], all[2]})
}

func ownNewest(tb testing.TB, h Harness) {
	d, c, slow, _ := owners(tb, h)
	all := c.Interface.Floating
	for range 5 { // nobody reads slow meanwhile
		h.Own(tb, all[0], true)
		h.Own(tb, all[0], false)
	}
	h.Own(tb, all[1], true)
	owned(tb, ask(tb.Context(), tb, d, c.Interface), all[1:2])
	h.Own(tb, all[1], false)
	h.Own(tb, all[2], true)
	owned(tb, ask(tb.Context(), tb, d, c.Interface), all[2:3])
	// Whoever is in the middle of telling may be one behind, and no more than that.
	for n := 0; ; n++ {
		select {
		case now := <-slow:
			if slices.Equal(now, all[2:3]) {
				return
			}
			require.Less(tb, n, 3, "it is told all that has been")
		case <-time.After(promptly):
			tb.Fatal("nobody told the newest")
		}
	}
}

func ownEnds(tb testing.TB, h Harness) {
	_, c, from, cancel := owners(tb, h)
	all := c.Interface.Floating
	owned(tb, from, nil)
	cancel()
	const quiet = 50 * time.Millisecond
	late := time.Now().Add(promptly)
	// Who still tells may be held up: so nobody tells of several moves, one after another.
	for silent, have := 0, true; silent < 5; have = !have {
		require.True(tb, time.Now().Before(late), "it goes on, although its context has ended")
		h.Own(tb, all[0], have)
		select {
		case _, open := <-from:
			require.True(tb, open, "the channel was closed")
			silent = 0
		case <-time.After(quiet):
			silent++
		}
	}
}
