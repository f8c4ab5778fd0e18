//go:build linux

package wgdevice_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
)

func named(c wgdevice.Config, name string) wgdevice.Config {
	c.Name = name
	return c
}

// Two locations with one mark: who has the table keeps it, and the other one is refused
// in words until it is free.
func TestATableIsOneLocations(t *testing.T) { each(t, testTableIsOnes) }

func testTableIsOnes(t *testing.T, back wgdevice.Backend) {
	gw, first := street(t, back)
	second := open(t, named(inside(gw, back), "wg1"))
	table := func() []string { return ipOf(t, gw, "route", "show", "table", fmt.Sprint(moves)) }
	one := gate()
	one.Interface.Mark, one.Interface.Floating = moves, addrs("192.0.2.10", "2001:db8::10")
	two := one
	two.Interface.Port, two.Interface.Addrs, two.Interface.Floating = 51999, list("10.99.0.1/24"), addrs("192.0.2.11")
	reconcile(t, first, one)
	require.NoError(t, move(gw, "eth0", one.Interface.Floating[0], true))
	owned := first.Own(t.Context(), one.Interface)
	waitOwned(t, owned, one.Interface.Floating[0])
	before, rules := table(), ipOf(t, gw, "rule")

	err := second.Apply(t.Context(), gateway.Diff(two, observe(t, second)))
	require.ErrorContains(t, err, "is that of another location on this machine")
	require.ErrorContains(t, err, "--mark")
	plain := two
	plain.Interface.Floating = nil
	reconcile(t, second, plain) // a mark alone is in nobody's way
	others := second.Own(t.Context(), two.Interface)
	waitOwned(t, others)
	require.NoError(t, move(gw, "eth0", two.Interface.Floating[0], true))
	waitOwned(t, others, two.Interface.Floating[0])
	require.Equal(t, before, table())
	require.Equal(t, rules, ipOf(t, gw, "rule"))
	require.Empty(t, gateway.Diff(one, observe(t, first)))
	require.NoError(t, second.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}))
	require.Equal(t, before, table())
	require.Equal(t, rules, ipOf(t, gw, "rule"))

	require.NoError(t, first.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}))
	require.Empty(t, table())
	reconcile(t, second, two)
	require.Empty(t, gateway.Diff(two, observe(t, second)))
	require.NotEmpty(t, table())
}

// What a process left that was killed, of a mark that is another one now, or of an
// interface that has gone, goes with the next change.
func TestWhatWasLeftIsTakenAway(t *testing.T) { each(t, testLeftIsTaken) }

func testLeftIsTaken(t *testing.T, back wgdevice.Backend) {
	gw, d := street(t, back)
	rules := ipOf(t, gw, "rule")
	want := gate()
	want.Interface.Mark, want.Interface.Floating = moves, addrs("192.0.2.10", "2001:db8::10")
	other := open(t, named(inside(gw, back), "wg1"))
	gone := want
	gone.Interface.Mark, gone.Interface.Port, gone.Interface.Addrs = moves+1, 51999, list("10.99.0.1/24")
	reconcile(t, d, want)
	reconcile(t, other, gone)
	for _, name := range []string{"wg0", "wg1"} { // as if everything had been killed
		run(t, gw, "ip", "link", "del", name)
	}
	require.Len(t, ipOf(t, gw, "rule"), len(rules)+4)

	third := open(t, named(inside(gw, back), "wg0"))
	want.Interface.Mark = moves + 2
	reconcile(t, third, want)
	require.Len(t, ipOf(t, gw, "rule"), len(rules)+2)
	for mark, there := range map[int]bool{moves: false, moves + 1: false, moves + 2: true} {
		require.Equal(t, there, len(ipOf(t, gw, "route", "show", "table", fmt.Sprint(mark))) > 0, "table %d", mark)
	}
	require.Empty(t, gateway.Diff(want, observe(t, third)))
}
