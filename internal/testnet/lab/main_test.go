//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
)

func TestCommandLine(t *testing.T) {
	var stderr bytes.Buffer
	o, err := parse(nil, &stderr)
	require.NoError(t, err)
	require.Len(t, o.scenarios, len(scenarios()), "no name means all")
	require.Equal(t, 1, o.runs)
	require.NotZero(t, o.seed, "a seed is drawn")

	o, err = parse([]string{"-json", "drift", "-seed", "7", "no-reset", "-runs", "3", "-kernel"}, &stderr)
	require.NoError(t, err, "flags may stand anywhere")
	require.Equal(t, []bool{true, true}, []bool{o.json, o.kernel})
	require.EqualValues(t, 7, o.seed)
	require.Equal(t, 3, o.runs)
	require.Equal(t, []string{"drift", "no-reset"}, []string{o.scenarios[0].Name, o.scenarios[1].Name})
}

func TestCommandLineIsRefusedInWords(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"-runs", "0"}, "-runs 0: want 1 to 10000"},
		{[]string{"drif"}, `no scenario "drif"; there are:`},
		{[]string{"-colour"}, "flag provided but not defined: -colour"},
		{[]string{"-seed", "-1"}, "invalid value"},
		{[]string{"-clock", "sun"}, "-clock sun: want virtual or wall"},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, exitUnfit, run(c.args, &stdout, &stderr), c.args)
		require.Contains(t, stderr.String(), c.says)
		require.Empty(t, stdout.String())
	}
}

func TestListNamesEveryScenario(t *testing.T) {
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitOK, run([]string{"-list"}, &stdout, &stderr))
	require.Equal(t, len(scenarios()), strings.Count(stdout.String(), "\n"))
	for _, s := range scenarios() {
		require.Contains(t, stdout.String(), s.Name)
		require.NotEmpty(t, s.Promises, s.Name)
		require.Positive(t, s.Limit, s.Name)
	}
}

// The lab in a virtual machine has to be asked for just what was asked of this one.
func TestCommandLineOfTheLabInside(t *testing.T) {
	var stderr bytes.Buffer
	o, err := parse([]string{"-kernel", "-json", "-v", "-runs", "3", "-seed", "7", "drift", "no-reset"}, &stderr)
	require.NoError(t, err)
	again, err := parse(o.args(), &stderr)
	require.NoError(t, err)
	require.Equal(t, o.args(), again.args())
	require.Equal(t, []any{o.json, o.kernel, o.verbose, o.runs, o.seed}, []any{again.json, again.kernel, again.verbose, again.runs, again.seed})
	require.Greater(t, o.limit(), 3*(drift().Limit+noReset().Limit), "time to boot comes on top")
}

func TestRunsHaveSeedsOfTheirOwn(t *testing.T) {
	var seeds []uint64
	var drawn []int
	s := Scenario{Name: "x", Limit: time.Minute, Play: func(_ context.Context, r *Run) error {
		seeds = append(seeds, r.Seed)
		drawn = append(drawn, r.Rand.IntN(1_000_000))
		r.Metrics.Count("plays", 1)
		return nil
	}}
	o := options{runs: 3, seed: 5}
	first := play(t.Context(), s, o, wgdevice.Userspace, slog.New(slog.DiscardHandler))
	require.True(t, first.OK)
	require.Equal(t, map[string]any{"plays": int64(3)}, first.Metrics)
	require.Equal(t, []uint64{5, 6, 7}, seeds)
	require.NotEqual(t, drawn[0], drawn[1])

	once := drawn
	seeds, drawn = nil, nil
	play(t.Context(), s, o, wgdevice.Userspace, slog.New(slog.DiscardHandler))
	require.Equal(t, once, drawn, "the same seed plays the same")
}

func TestFailureNamesTheRunAndItsSeed(t *testing.T) {
	s := Scenario{Name: "x", Limit: time.Minute, Play: func(_ context.Context, r *Run) error {
		if r.Seed == 6 {
			return errors.New("the sky fell")
		}
		return nil
	}}
	r := play(t.Context(), s, options{runs: 3, seed: 5}, wgdevice.Userspace, slog.New(slog.DiscardHandler))
	require.False(t, r.OK)
	require.Equal(t, "run 2 of 3 (repeat it with -seed 6): the sky fell", r.Error)
}

func TestRunIsBoundedInTime(t *testing.T) {
	s := Scenario{Name: "x", Limit: 10 * time.Millisecond, Play: func(ctx context.Context, _ *Run) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}}
	r := play(t.Context(), s, options{runs: 1, seed: 1}, wgdevice.Userspace, slog.New(slog.DiscardHandler))
	require.False(t, r.OK)
	require.Contains(t, r.Error, "not done within 10ms")
}
