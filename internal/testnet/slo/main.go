//go:build linux

// Slo measures what holdfast promises about time, and writes one file with all
// figures, the objectives they are held to, and the facts of the machine.
//
//	go run ./internal/testnet/slo [-o FILE] [-runs N] [-seed S] [SERIES…]
//
// The figures come from the lab: each series is a scenario, played N times with the
// seeds S, S+1, … on kernel WireGuard, and a few in user space. Where the kernel has no
// WireGuard, the lab has a virtual machine with a clock of its own, that nobody
// disturbs; every figure says by which clock it was taken. The exit code is 0 if all
// objectives are met, 1 if one is missed or a scenario failed, and 2 if the command
// line or the machine is not fit for it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/holdfastvpn/holdfast/internal/testnet/pick"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
)

// Exit codes.
const (
	exitOK     = 0
	exitMissed = 1
	exitUnfit  = 2
)

// labPackage is the program that measures.
const labPackage = "github.com/holdfastvpn/holdfast/internal/testnet/lab"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// options are the command line.
type options struct {
	file   string
	runs   int
	seed   uint64
	series []series
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("slo", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.file, "o", "slo.json", "`file` to write")
	pick.Runs(f, &o.runs, &o.seed, 100, "play the scenarios of failover `N` times each; others less often")
	f.Usage = func() {
		fmt.Fprintf(stderr, "usage: slo [flags] [SERIES…]\n\nWithout a series, all are measured. Flags:\n")
		f.PrintDefaults()
		fmt.Fprintf(stderr, "\nSeries:\n%s", known())
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if err := pick.Draw(o.runs, &o.seed); err != nil {
		return o, err
	}
	var err error
	o.series, err = known().Named(f.Args())
	return o, err
}

// known are the series that there are.
func known() pick.List[series] {
	return pick.List[series]{
		Kind: "series",
		All:  all(),
		Name: func(s series) string { return s.Name },
		Line: func(s series) string { return "lab " + strings.Join(s.args(1, 0), " ") },
	}
}

func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "slo: %v\n", err)
		return exitUnfit
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	lab, err := vm.Build(ctx, labPackage)
	if err != nil {
		fmt.Fprintf(stderr, "slo: %v\n", err)
		return exitUnfit
	}
	report := Report{Began: time.Now().UTC().Truncate(time.Second), Runs: o.runs, Seed: o.seed, Machine: machine(ctx)}
	for _, s := range o.series {
		m := measure(ctx, lab, s, o, stderr)
		report.Series = append(report.Series, m)
		fmt.Fprintln(stdout, m.line())
		if ctx.Err() != nil {
			fmt.Fprintln(stderr, "slo: interrupted; nothing was written")
			return exitMissed
		}
	}
	report.judge()
	for _, j := range report.Objectives {
		fmt.Fprintln(stdout, j.line())
	}
	for _, name := range slices.Sorted(maps.Keys(report.Outages)) {
		fmt.Fprintf(stdout, "plain WireGuard's outage is %g times that of %s\n", report.Outages[name], name)
	}
	if err := report.write(o.file); err != nil {
		fmt.Fprintf(stderr, "slo: %v\n", err)
		return exitUnfit
	}
	fmt.Fprintf(stdout, "written to %s\n", o.file)
	if !report.OK {
		return exitMissed
	}
	return exitOK
}

// write puts the report into a file, whole or not at all.
func (r *Report) write(file string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".slo-")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	_, err = tmp.Write(append(b, '\n'))
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}
