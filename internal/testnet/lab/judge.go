//go:build linux

package main

import (
	"fmt"
	"time"
)

// What P13 promises of takeovers beyond the way, by a clock that nobody disturbs.
const (
	provenMedian = 20 * time.Millisecond
	provenMost   = 100 * time.Millisecond // of 99 in a hundred
)

// judgeTakeovers holds the takeovers of many runs to P13. By the wall clock of a machine
// that others use, too, and where packets get lost, the figures are for the reader.
func judgeTakeovers(s Series) error {
	if s.Clock == clockWall || s.Line.retries() > 0 {
		return nil
	}
	took, way := s.Metrics.Percentiles("takeover_ms"), millis(s.Line.takeover())
	for _, c := range []struct {
		what   string
		is     float64
		beyond time.Duration
	}{{"median", took.P50, provenMedian}, {"99th percentile", took.P99, provenMost}} {
		if limit := millis(c.beyond) + way; c.is > limit {
			return fmt.Errorf("the %s of %d takeovers is %g ms, want at most %g ms", c.what, took.Runs, c.is, limit)
		}
	}
	return nil
}
