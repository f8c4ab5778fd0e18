//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Clocks that a figure can be measured by. The two never stand in one table.
const clockWall = "wall"

// Result is what one scenario came to over all its runs: one line of JSON.
type Result struct {
	Scenario string         `json:"scenario"`
	Backend  string         `json:"backend"` // "kernel" or "userspace"
	Clock    string         `json:"clock"`   // "wall" or "virtual"
	OK       bool           `json:"ok"`
	Promises []string       `json:"promises"`
	Metrics  map[string]any `json:"metrics"`
	Seconds  float64        `json:"seconds"`
	Seed     uint64         `json:"seed"` // of the first run; each further run adds one
	Error    string         `json:"error,omitempty"`

	// The client's link. Figures of two networks do not stand in one table either.
	Delay  float64 `json:"delay_ms"`     // of the round trip
	Jitter float64 `json:"jitter_ms"`    // by how much the round trip differs from that at most
	Loss   float64 `json:"loss_percent"` // in each direction
}

// against adds how many times longer the outage of vanilla was, in the middle, if both
// were played.
func (r *Result) against(vanilla Result) {
	was, played := vanilla.Metrics["outage_ms"].(Percentiles)
	now, measured := r.Metrics["outage_ms"].(Percentiles)
	if played && measured && now.P50 > 0 && r.Scenario != vanilla.Scenario {
		r.Metrics["vanilla_ratio"] = round(was.P50 / now.P50)
	}
}

// Percentiles sums up the samples of one metric over all runs.
type Percentiles struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
	Runs int     `json:"runs"` // how many samples there are
}

// percentiles works out the figures by the nearest-rank method: each is a value
// that was measured. Without samples all are zero.
func percentiles(samples []float64) Percentiles {
	if len(samples) == 0 {
		return Percentiles{}
	}
	s := slices.Sorted(slices.Values(samples))
	rank := func(p float64) float64 { return s[max(int(math.Ceil(p*float64(len(s)))), 1)-1] }
	return Percentiles{P50: rank(0.50), P99: rank(0.99), Max: s[len(s)-1], Runs: len(s)}
}

// Metrics gathers what the runs of one scenario measure. The zero value is ready.
type Metrics struct {
	samples map[string][]float64
	counts  map[string]int64
	facts   map[string]any
}

// Sample adds one measurement; all of a name become Percentiles.
func (m *Metrics) Sample(name string, v float64) {
	if m.samples == nil {
		m.samples = make(map[string][]float64)
	}
	m.samples[name] = append(m.samples[name], round(v))
}

// Millis adds a duration in milliseconds; the name should end in _ms.
func (m *Metrics) Millis(name string, d time.Duration) {
	m.Sample(name, millis(d))
}

// Count adds n to a number that is summed over all runs.
func (m *Metrics) Count(name string, n int64) {
	if m.counts == nil {
		m.counts = make(map[string]int64)
	}
	m.counts[name] += n
}

// Fact notes something that is not summed up; the last run's stays.
func (m *Metrics) Fact(name string, v any) {
	if m.facts == nil {
		m.facts = make(map[string]any)
	}
	m.facts[name] = v
}

// Percentiles sums up the samples of a name.
func (m *Metrics) Percentiles(name string) Percentiles { return percentiles(m.samples[name]) }

// Map returns everything by name, never nil.
func (m *Metrics) Map() map[string]any {
	out := make(map[string]any)
	maps.Copy(out, m.facts)
	for name, n := range m.counts {
		out[name] = n
	}
	for name, s := range m.samples {
		out[name] = percentiles(s)
	}
	return out
}

// millis is d in milliseconds.
func millis(d time.Duration) float64 { return round(float64(d) / float64(time.Millisecond)) }

// round keeps three decimals: more is noise.
func round(v float64) float64 { return math.Round(v*1000) / 1000 }

// WriteJSON writes r as one line.
func (r Result) WriteJSON(w io.Writer) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("lab: result of %s: %w", r.Scenario, err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// network is what is to be said of the client's link, if anything.
func (r Result) network() string {
	if r.Delay == 0 && r.Jitter == 0 && r.Loss == 0 {
		return ""
	}
	return fmt.Sprintf("round trip %g ± %g ms, %g %% lost each way, ", r.Delay, r.Jitter, r.Loss)
}

// WriteText writes r for people: a line, then one for each metric.
func (r Result) WriteText(w io.Writer) error {
	var b strings.Builder
	verdict := "ok"
	if !r.OK {
		verdict = "FAILED"
	}
	fmt.Fprintf(&b, "%-18s %-7s %s, %s clock, %s%.1f s, proves %s\n",
		r.Scenario, verdict, r.Backend, r.Clock, r.network(), r.Seconds, strings.Join(r.Promises, " "))
	for _, name := range slices.Sorted(maps.Keys(r.Metrics)) {
		switch v := r.Metrics[name].(type) {
		case Percentiles:
			fmt.Fprintf(&b, "    %-26s p50 %-10g p99 %-10g max %-10g (%d)\n", name, v.P50, v.P99, v.Max, v.Runs)
		default:
			fmt.Fprintf(&b, "    %-26s %v\n", name, v)
		}
	}
	if r.Error != "" {
		fmt.Fprintf(&b, "    error: %s\n", strings.ReplaceAll(r.Error, "\n", "\n    "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
