//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// series is one scenario on one network, played many times.
type series struct {
	Name     string
	scenario string
	kernel   bool     // kernel WireGuard, and otherwise that in user space
	line     []string // flags of the lab: what the client's link is like
	share    int      // it is played runs/share times, at least once; 0 is 1
}

// all lists the series, in the order in which they are measured.
func all() []series {
	return []series{
		{Name: "vanilla", scenario: "vanilla", kernel: true, share: 5},
		{Name: "failover", scenario: "failover", kernel: true},
		{Name: "failover-30ms", scenario: "failover", kernel: true, line: []string{"-delay", "30ms"}, share: 5},
		{Name: "failover-120ms", scenario: "failover", kernel: true, line: []string{"-delay", "120ms"}, share: 5},
		{Name: "failover-loss", scenario: "failover", kernel: true, line: []string{"-delay", "30ms", "-loss", "1"}, share: 5},
		{Name: "failover-nat", scenario: "failover-nat", kernel: true},
		{Name: "failover-ipv6", scenario: "failover-ipv6", kernel: true, share: 5},
		{Name: "failover-idle", scenario: "failover-idle", kernel: true, share: 5},
		{Name: "ping-pong", scenario: "ping-pong", kernel: true},
		{Name: "failover-userspace", scenario: "failover", share: 5},
	}
}

// args is the command line for the lab; without a seed it draws one.
func (s series) args(runs int, seed uint64) []string {
	args := []string{"-json"}
	if s.kernel {
		args = append(args, "-kernel")
	}
	args = append(args, s.line...)
	if n := max(runs/max(s.share, 1), 1); n > 1 {
		args = append(args, "-runs", strconv.Itoa(n))
	}
	if seed != 0 {
		args = append(args, "-seed", strconv.FormatUint(seed, 10))
	}
	return append(args, s.scenario)
}

// Figures are a summary of one metric over all runs, in the unit that its name ends
// with.
type Figures struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
	Runs int     `json:"runs"` // how many samples there are
}

// Measured is what came of one series.
type Measured struct {
	Name     string             `json:"name"`
	Scenario string             `json:"scenario"`
	Command  string             `json:"command"` // the lab's arguments: they repeat it
	Backend  string             `json:"backend"` // kernel or userspace
	Clock    string             `json:"clock"`   // virtual or wall: the two are never compared
	Trip     float64            `json:"delay_ms"`
	Loss     float64            `json:"loss_percent"`
	Figures  map[string]Figures `json:"figures"`
	Counts   map[string]float64 `json:"counts,omitempty"`
	Seconds  float64            `json:"seconds"` // of wall time
	OK       bool               `json:"ok"`
	Error    string             `json:"error,omitempty"`
}

// measure plays a series.
func measure(ctx context.Context, lab string, s series, o options, stderr io.Writer) Measured {
	args := s.args(o.runs, o.seed)
	m := Measured{Name: s.Name, Scenario: s.scenario, Command: strings.Join(args, " ")}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, lab, args...)
	cmd.Stdout, cmd.Stderr = &out, stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(interrupt) } // it cleans up
	cmd.WaitDelay = 30 * time.Second
	ran := cmd.Run()
	if err := m.take(out.Bytes()); err != nil {
		m.OK, m.Error = false, errors.Join(err, ran).Error()
	}
	return m
}

// take reads the line that the lab wrote.
func (m *Measured) take(line []byte) error {
	var r struct {
		Backend string                     `json:"backend"`
		Clock   string                     `json:"clock"`
		OK      bool                       `json:"ok"`
		Metrics map[string]json.RawMessage `json:"metrics"`
		Seconds float64                    `json:"seconds"`
		Error   string                     `json:"error"`
		Delay   float64                    `json:"delay_ms"`
		Loss    float64                    `json:"loss_percent"`
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return fmt.Errorf("the lab did not say what came of %s: %w", m.Scenario, err)
	}
	m.Backend, m.Clock, m.OK, m.Seconds, m.Error, m.Trip, m.Loss = r.Backend, r.Clock, r.OK, r.Seconds, r.Error, r.Delay, r.Loss
	m.Figures, m.Counts = map[string]Figures{}, map[string]float64{}
	for name, raw := range r.Metrics {
		var f Figures
		var n float64
		switch {
		case json.Unmarshal(raw, &n) == nil:
			m.Counts[name] = n
		case json.Unmarshal(raw, &f) == nil && f.Runs > 0:
			m.Figures[name] = f
		}
	}
	return nil
}

// line is the series in words.
func (m Measured) line() string {
	if !m.OK {
		return fmt.Sprintf("%-20s FAILED: %s", m.Name, m.Error)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-20s %s, %s clock, %.0f s", m.Name, m.Backend, m.Clock, m.Seconds)
	for _, name := range shown() {
		if f, ok := m.Figures[name]; ok {
			fmt.Fprintf(&b, "; %s p50 %g p99 %g max %g (%d)", name, f.P50, f.P99, f.Max, f.Runs)
		}
	}
	return b.String()
}

// shown are the figures that are worth a place in a line.
func shown() []string { return []string{detection, takeover, outage} }

// find returns the series of that name, if it was measured without an error.
func (r *Report) find(name string) (Measured, bool) {
	i := slices.IndexFunc(r.Series, func(m Measured) bool { return m.Name == name && m.OK })
	if i < 0 {
		return Measured{}, false
	}
	return r.Series[i], true
}
