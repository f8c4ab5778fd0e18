//go:build linux

package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
)

// A series whose single runs are all right is wrong when its median is not, or more
// than one of a hundred.
func TestTakeoversAreJudgedOverManyRuns(t *testing.T) {
	const virtual = string(vm.Virtual)
	quick := line{}
	slow := line{delay: 40 * time.Millisecond}
	for _, c := range []struct {
		name  string
		clock string
		line  line
		took  func(n int) float64 // of the run n
		runs  int
		says  string
	}{
		{"all within 20 ms", virtual, quick, func(int) float64 { return 20 }, many, ""},
		{"the median beyond it", virtual, quick, func(int) float64 { return 20.001 }, many, "the median of 20 takeovers is 20.001 ms, want at most 20 ms"},
		{"one of a hundred late", virtual, quick, func(n int) float64 { return 10 + 1000*float64(n/99) }, 100, ""},
		{"two of a hundred late", virtual, quick, func(n int) float64 { return 10 + 91*float64(n/98) }, 100, "the 99th percentile of 100 takeovers is 101 ms, want at most 100 ms"},
		{"the way is none of it", virtual, slow, func(int) float64 { return 120 }, many, ""},
		{"but of all beyond the way", virtual, slow, func(int) float64 { return 121 }, many, "want at most 120 ms"},
		{"too few to be judged", virtual, quick, func(int) float64 { return 50 }, many - 1, ""},
		{"by the wall clock", clockWall, quick, func(int) float64 { return 50 }, many, ""},
		{"with losses", virtual, line{loss: 1}, func(int) float64 { return 50 }, many, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Scenario{Name: "x", Limit: time.Minute, Judge: judgeTakeovers, Play: func(_ context.Context, r *Run) error {
				r.Metrics.Sample("takeover_ms", c.took(int(r.Seed-1)))
				return nil
			}}
			o := options{runs: c.runs, seed: 1, clock: c.clock, line: c.line}
			r := play(t.Context(), s, o, wgdevice.Userspace, slog.New(slog.DiscardHandler))
			require.Equal(t, c.says == "", r.OK, r.Error)
			require.Contains(t, r.Error, c.says)
		})
	}
}

// Lost packets cost a takeover the gateway's own tries, and nothing of the size of
// WireGuard's, as long as they can make up for what is lost.
func TestTakeoversAreTimely(t *testing.T) {
	const virtual = string(vm.Virtual)
	for _, c := range []struct {
		line  line
		limit time.Duration // 0: none
	}{
		{line{}, 100 * time.Millisecond},
		{line{delay: 40 * time.Millisecond, jitter: 4 * time.Millisecond}, 210 * time.Millisecond},
		{line{loss: 1}, 2350 * time.Millisecond},
		{line{loss: 2}, 0},
	} {
		r := Run{Clock: virtual, Line: c.line}
		if c.limit == 0 {
			require.NoError(t, r.timely(time.Minute))
			continue
		}
		require.Less(t, c.limit, retry)
		require.NoError(t, r.timely(c.limit))
		require.ErrorContains(t, r.timely(c.limit+1), "want at most "+c.limit.String())
	}
}
