package gatewaytest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

// detourCases are for devices that pass packets on to siblings.
func detourCases() []deviceCase {
	return []deviceCase{
		{"detours are exactly those asked for last", detoursChange},
		{"a new handle finds detours", detoursAdopted},
		{"detours end with the interface", detoursEnd},
	}
}

// detouring opens a device, and makes detours by it.
func detouring(tb testing.TB, h Harness) (to func(gateway.Device, ...gateway.Detour), all []gateway.Detour) {
	tb.Helper()
	via := h.Siblings
	for i, p := range Prefixes("10.20.1.1/32", "10.20.1.2/32", "192.0.2.0/24") {
		all = append(all, gateway.Detour{To: p, Via: via[i%len(via)]})
	}
	return func(d gateway.Device, want ...gateway.Detour) {
		tb.Helper()
		able, ok := d.(gateway.Detourer)
		require.True(tb, ok, "the device passes nothing on")
		face := Interface()
		face.Carried = true
		late := time.Now().Add(promptly)
		for { // a sibling that nobody has spoken to has to be found first
			err := able.Detour(tb.Context(), face, want)
			if err == nil {
				break
			}
			require.True(tb, time.Now().Before(late), "%v", err)
		}
		require.ElementsMatch(tb, want, h.Detours(tb))
	}, all
}

func detoursChange(tb testing.TB, h Harness) {
	d := h.Open(tb)
	reach(tb, d, Config(2))
	detour, all := detouring(tb, h)
	for _, want := range [][]gateway.Detour{all[:1], all, all[1:], all[:2], nil, all[2:], nil} {
		detour(d, want...)
		is(tb, d, Config(2)) // they are no part of the interface
	}
	last := h.Siblings[len(h.Siblings)-1]
	moved := []gateway.Detour{all[0]}
	detour(d, all...)
	moved[0].Via = last
	detour(d, moved...)
}

func detoursAdopted(tb testing.TB, h Harness) {
	first := h.Open(tb)
	reach(tb, first, Config(1))
	detour, all := detouring(tb, h)
	detour(first, all...)
	require.NoError(tb, first.Close())
	require.ElementsMatch(tb, all, h.Detours(tb), "closing leaves everything in place")
	second := h.Open(tb)
	detour(second, all[1:]...)
	detour(second)
}

func detoursEnd(tb testing.TB, h Harness) {
	d := h.Open(tb)
	reach(tb, d, Config(1))
	detour, all := detouring(tb, h)
	detour(d, all...)
	reach(tb, h.Open(tb), gateway.Config{})
	require.Empty(tb, h.Detours(tb))
}
