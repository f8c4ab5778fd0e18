//go:build linux

package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// good is a report in which all is well, at the very bounds.
func good() Report {
	var r Report
	for _, s := range all() {
		m := Measured{Name: s.Name, Scenario: s.scenario, Backend: "kernel", Clock: "virtual", OK: true}
		if len(s.line) > 0 {
			m.Trip = 30
		}
		m.Figures = map[string]Figures{
			takeover: {P50: 20 + m.Trip, P99: 100 + m.Trip, Max: 2000, Runs: 100},
			outage:   {P50: 500, P99: 1000 + m.Trip, Max: 2000, Runs: 100},
		}
		if s.Name == "vanilla" {
			m.Figures = map[string]Figures{outage: {P50: 15_000, P99: 15_400, Max: 15_400, Runs: 20}}
		}
		r.Series = append(r.Series, m)
	}
	return r
}

func (r *Report) change(name string, edit func(*Measured)) {
	for i := range r.Series {
		if m := &r.Series[i]; m.Name == name {
			m.Figures = maps.Clone(m.Figures)
			edit(m)
		}
	}
}

func TestObjectivesAtTheirBounds(t *testing.T) {
	r := good()
	r.judge()
	for _, o := range r.Objectives {
		require.True(t, o.OK, o.line())
	}
	require.True(t, r.OK)
	require.Len(t, r.Objectives, len(bounds())+1)
}

// Each objective is missed by what is a little too slow, by a series that failed, and
// by one that has no such figure.
func TestEveryObjectiveCanBeMissed(t *testing.T) {
	for _, b := range bounds() {
		for what, edit := range map[string]func(*Measured){
			"slow": func(m *Measured) {
				f := m.Figures[b.figure]
				f.P50, f.P99 = f.P50+600, f.P99+0.001
				if b.rank == "p50" {
					f.P50 = 20 + m.Trip + 0.001
				}
				m.Figures[b.figure] = f
			},
			"failed": func(m *Measured) { m.OK = false },
			"silent": func(m *Measured) { delete(m.Figures, b.figure) },
		} {
			r := good()
			r.change(b.series, edit)
			r.judge()
			require.False(t, r.OK, "%s of %s %s", what, b.series, b.figure)
			o := r.Objectives[0]
			for _, o = range r.Objectives {
				if o.Name == b.series+" "+b.figure+" "+b.rank {
					break
				}
			}
			require.False(t, o.OK, "%s of %s", what, o.Name)
			require.Contains(t, o.line(), "MISSED")
		}
	}
}

func TestRatioToVanilla(t *testing.T) {
	for what, edit := range map[string]func(*Measured){
		"too small": func(m *Measured) { m.Figures[outage] = Figures{P50: 1999, Runs: 20} },
		"clocks":    func(m *Measured) { m.Clock = "wall" },
		"nothing":   func(m *Measured) { m.Figures = nil },
	} {
		r := good()
		r.change("vanilla", edit)
		r.judge()
		require.False(t, r.OK, what)
	}
	r := good()
	r.judge()
	last := r.Objectives[len(r.Objectives)-1]
	require.InDelta(t, 750, last.Got, 0)
	require.InDelta(t, 30, r.Outages["failover"], 0)
	require.NotContains(t, r.Outages, "vanilla")
	r.change("failover", func(m *Measured) { m.Clock = "wall" })
	r.judge()
	require.NotContains(t, r.Outages, "failover", "two clocks in one figure")
}

// Only what was asked for is judged.
func TestSomeSeries(t *testing.T) {
	r := good()
	r.Series = r.Series[:1]
	r.judge()
	require.True(t, r.OK)
	require.Empty(t, r.Objectives)
}

func TestWhatTheLabSays(t *testing.T) {
	m := Measured{Scenario: "failover"}
	require.ErrorContains(t, m.take(nil), "failover")
	require.NoError(t, m.take([]byte(`{"scenario":"failover","backend":"kernel","clock":"virtual","ok":true,"promises":["P13"],
		"metrics":{"takeover_ms":{"p50":7,"p99":9,"max":10,"runs":100},"sent":12,"client":"wg"},"seconds":3,"seed":1,"delay_ms":30,"loss_percent":1}`)))
	require.Equal(t, map[string]Figures{takeover: {P50: 7, P99: 9, Max: 10, Runs: 100}}, m.Figures)
	require.Equal(t, map[string]float64{"sent": 12}, m.Counts)
	require.InDelta(t, 30, m.Trip, 0)
	require.Contains(t, m.line(), "takeover_ms p50 7 p99 9 max 10 (100)")
}

func TestCommandLine(t *testing.T) {
	s := series{scenario: "failover", kernel: true, line: []string{"-delay", "30ms"}, share: 5}
	require.Equal(t, "-json -kernel -delay 30ms -runs 20 -seed 7 failover", strings.Join(s.args(100, 7), " "))
	require.Equal(t, "-json -kernel -delay 30ms failover", strings.Join(s.args(1, 0), " "))
	for args, says := range map[string]string{
		"-runs 0":  "-runs 0: want 1 to 10000",
		"failovor": `no series "failovor"`,
		"-colour":  "-colour",
	} {
		var stdout, stderr strings.Builder
		require.Equal(t, exitUnfit, run(strings.Fields(args), &stdout, &stderr))
		require.Contains(t, stderr.String(), says)
		require.Empty(t, stdout.String())
	}
}
