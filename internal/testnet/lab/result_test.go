//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPercentiles(t *testing.T) {
	require.Equal(t, Percentiles{}, percentiles(nil))
	require.Equal(t, Percentiles{P50: 7, P99: 7, Max: 7, Runs: 1}, percentiles([]float64{7}))

	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i) // in no helpful order
	}
	require.Equal(t, Percentiles{P50: 50, P99: 99, Max: 100, Runs: 100}, percentiles(hundred))
	require.InDelta(t, 100, hundred[0], 0, "the samples stay as they were")
}

func TestResultIsOneLineOfJSON(t *testing.T) {
	var m Metrics
	m.Millis("outage_ms", 15*time.Second)
	m.Millis("outage_ms", 15123456*time.Microsecond)
	m.Count("changes", 200)
	m.Count("changes", 200)
	m.Fact("nat", true)
	r := Result{Scenario: "x", Backend: "kernel", Clock: clockWall, OK: true, Promises: []string{"P1"}, Metrics: m.Map(), Seconds: 1.5, Seed: 1, Delay: 30, Loss: 0.5}

	var out bytes.Buffer
	require.NoError(t, r.WriteJSON(&out))
	require.Equal(t, 1, bytes.Count(out.Bytes(), []byte("\n")))

	var got map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &got))
	require.Equal(t, map[string]any{
		"scenario": "x", "backend": "kernel", "clock": "wall", "ok": true, "promises": []any{"P1"},
		"metrics": map[string]any{
			"outage_ms": map[string]any{"p50": 15000.0, "p99": 15123.456, "max": 15123.456, "runs": 2.0},
			"changes":   400.0,
			"nat":       true,
		},
		"seconds": 1.5, "seed": 1.0,
		"delay_ms": 30.0, "jitter_ms": 0.0, "loss_percent": 0.5, // of a perfect network, too
	}, got)
}

func TestResultForPeopleNamesTheFailure(t *testing.T) {
	var out bytes.Buffer
	r := Result{Scenario: "drift", Backend: "userspace", Clock: clockWall, Promises: []string{"P1"}, Error: "first\nsecond"}
	require.NoError(t, r.WriteText(&out))
	require.Contains(t, out.String(), "FAILED")
	require.Contains(t, out.String(), "error: first\n    second")
	require.NotContains(t, out.String(), "round trip")

	out.Reset()
	r.Delay, r.Jitter, r.Loss = 30, 2.5, 1
	require.NoError(t, r.WriteText(&out))
	require.Contains(t, out.String(), "round trip 30 ± 2.5 ms, 1 % lost each way")
}
