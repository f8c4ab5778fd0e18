//go:build linux

package main

import (
	"fmt"
	"math"
	"time"
)

// What the lab calls its figures, all in milliseconds.
const (
	detection = "detection_ms" // from the loss to the address on the survivor
	takeover  = "takeover_ms"  // from then to the first reply to a packet sent since the loss
	outage    = "outage_ms"    // from the loss to that reply
)

// Report is the file.
type Report struct {
	Began      time.Time   `json:"began"`
	Runs       int         `json:"runs"`
	Seed       uint64      `json:"seed"`
	Machine    Machine     `json:"machine"`
	OK         bool        `json:"ok"` // all objectives are met
	Objectives []Objective `json:"objectives"`
	Series     []Measured  `json:"series"`
	// Outages are how many times longer the median outage of plain WireGuard is than
	// ours, detection included, by series; only those by the same clock are compared.
	Outages map[string]float64 `json:"vanilla_outage_ratio,omitempty"`
}

// Objective is one promise about time, and what was measured of it.
type Objective struct {
	Name  string  `json:"name"`
	Want  float64 `json:"want"` // at most; of a ratio, at least
	Got   float64 `json:"got"`
	OK    bool    `json:"ok"`
	Clock string  `json:"clock,omitempty"`
	// Said is why there is no figure.
	Said string `json:"said,omitempty"`
}

func (o Objective) line() string {
	verdict := "met   "
	if !o.OK {
		verdict = "MISSED"
	}
	if o.Said != "" {
		return fmt.Sprintf("%s %s: %s", verdict, o.Name, o.Said)
	}
	return fmt.Sprintf("%s %s: %g, want %g (%s clock)", verdict, o.Name, o.Got, o.Want, o.Clock)
}

// bound is an objective about one figure of one series.
type bound struct {
	series, figure string
	pick           func(Figures) float64
	rank           string
	most           float64 // ms, beyond the line's round trip where above is set
	above          bool
}

func p50(f Figures) float64 { return f.P50 }
func p99(f Figures) float64 { return f.P99 }

// bounds are P13 and what the outage may be with keepalived. Where packets are lost, or
// another program shares the clock, only the figures are given.
func bounds() []bound {
	var out []bound
	for _, s := range []string{"failover", "failover-nat", "ping-pong", "failover-30ms", "failover-120ms", "failover-ipv6"} {
		out = append(out, bound{s, takeover, p50, "p50", 20, true}, bound{s, takeover, p99, "p99", 100, true})
	}
	for _, s := range []string{"failover", "failover-nat", "failover-ipv6"} {
		out = append(out, bound{s, outage, p99, "p99", 1000, true})
	}
	return out
}

// ratio is how many times longer the outage of plain WireGuard is at least.
const ratio = 100

// judge holds the figures to the objectives whose series were asked for.
func (r *Report) judge() {
	r.Objectives = nil
	for _, b := range bounds() {
		if r.asked(b.series) {
			r.Objectives = append(r.Objectives, r.hold(b))
		}
	}
	if r.asked("vanilla") && r.asked("failover") {
		r.Objectives = append(r.Objectives, r.compare())
	}
	r.Outages = r.outages()
	r.OK = true
	for _, m := range r.Series {
		r.OK = r.OK && m.OK
	}
	for _, o := range r.Objectives {
		r.OK = r.OK && o.OK
	}
}

func (r *Report) asked(name string) bool {
	for _, m := range r.Series {
		if m.Name == name {
			return true
		}
	}
	return false
}

// hold judges one bound; what was not measured is not met.
func (r *Report) hold(b bound) Objective {
	o := Objective{Name: b.series + " " + b.figure + " " + b.rank, Want: b.most}
	m, ok := r.find(b.series)
	f, there := m.Figures[b.figure]
	if !ok || !there {
		o.Said = "it was not measured"
		return o
	}
	if b.above {
		o.Want += m.Trip
	}
	o.Got, o.Clock = b.pick(f), m.Clock
	o.OK = o.Got <= o.Want
	return o
}

// compare holds the takeover against what WireGuard does alone, by the same clock.
func (r *Report) compare() Objective {
	o := Objective{Name: "vanilla outage / failover takeover, p50", Want: ratio}
	plain, ok1 := r.find("vanilla")
	ours, ok2 := r.find("failover")
	was, is := plain.Figures[outage].P50, ours.Figures[takeover].P50
	switch {
	case !ok1 || !ok2 || was <= 0 || is <= 0:
		o.Said = "it was not measured"
	case plain.Clock != ours.Clock:
		o.Said = "the two were measured by different clocks"
	default:
		o.Got, o.Clock = was/is, ours.Clock
		o.OK = o.Got >= o.Want
	}
	return o
}

// outages compares the outages of all series with that of plain WireGuard.
func (r *Report) outages() map[string]float64 {
	plain, ok := r.find("vanilla")
	was := plain.Figures[outage].P50
	out := map[string]float64{}
	for _, m := range r.Series {
		if is := m.Figures[outage].P50; ok && m.OK && m.Clock == plain.Clock && m.Name != plain.Name && is > 0 {
			out[m.Name] = math.Round(was/is*10) / 10
		}
	}
	return out
}
