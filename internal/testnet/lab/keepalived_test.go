//go:build linux

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The commands wg and ip understand wg-quick's text without what only wg-quick does.
func TestTextIsStrippedForWG(t *testing.T) {
	text := "[Interface]\nPrivateKey = a=\nAddress = 10.20.0.2/32\nDNS = 10.99.0.1\nMTU = 1420\n\n[Peer]\nPublicKey = b=\nAllowedIPs = 10.99.0.0/24\n"
	require.Equal(t, "[Interface]\nPrivateKey = a=\n\n[Peer]\nPublicKey = b=\nAllowedIPs = 10.99.0.0/24\n", stripped(text))
}

// An outage is held against that of vanilla, if both were played.
func TestRatioToVanilla(t *testing.T) {
	outage := func(name string, ms ...float64) Result {
		return Result{Scenario: name, Metrics: map[string]any{"outage_ms": percentiles(ms)}}
	}
	vanilla, r := outage("vanilla", 15_000, 15_200, 15_400), outage("failover", 300, 380, 390)
	r.against(vanilla)
	require.InDelta(t, 40, r.Metrics["vanilla_ratio"], 0)

	r = outage("failover", 380)
	r.against(Result{})
	require.NotContains(t, r.Metrics, "vanilla_ratio", "there was no vanilla")
	r = Result{Scenario: "failover", Metrics: map[string]any{}}
	r.against(vanilla)
	require.Empty(t, r.Metrics, "there was no failover")
	vanilla.against(vanilla)
	require.NotContains(t, vanilla.Metrics, "vanilla_ratio")
}

// Scenarios are played in the order in which they are named, but what others are held
// against comes first.
func TestVanillaIsPlayedFirst(t *testing.T) {
	all, err := choose([]string{"failover", "drift", "vanilla"})
	require.NoError(t, err)
	require.Equal(t, []string{"vanilla", "failover", "drift"}, []string{all[0].Name, all[1].Name, all[2].Name})
}
