//go:build linux

// Lab plays scenarios with the real data plane: hosts as network namespaces,
// gateways with real WireGuard interfaces, a client behind a NAT, and a core.
//
//	go run ./internal/testnet/lab [-json] [-kernel [-clock virtual|wall]]
//		[-delay D [-jitter D]] [-loss PERCENT] [-runs N] [-seed S] [-list] [-v] [SCENARIO…]
//
// Without a scenario it plays all. It prints one result each; the exit code is 0
// if all are ok, 1 if one is not, and 2 if the command line or the machine is
// not fit for it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/pick"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUnfit  = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// options are the command line.
type options struct {
	json, kernel, list, verbose bool
	runs                        int
	crowd                       int
	seed                        uint64
	clock                       string // of the virtual machine, or of what runs in one
	line                        line
	scenarios                   []Scenario
}

// parse reads the command line, and writes what is wrong with it to stderr.
func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("lab", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&o.json, "json", false, "print each result as one line of JSON")
	f.BoolVar(&o.kernel, "kernel", false, "use the kernel's own WireGuard: this kernel's or, where it has none, that of a virtual machine (default: user space)")
	f.StringVar(&o.clock, "clock", string(vm.Virtual), "`clock` of the virtual machine: virtual (timers exact, idle time skipped) or wall (two CPUs)")
	f.BoolVar(&o.list, "list", false, "list the scenarios and stop")
	f.BoolVar(&o.verbose, "v", false, "write the logs to standard error")
	o.line.flags(f)
	pick.Runs(f, &o.runs, &o.seed, 1, "play each scenario `N` times, with seeds S, S+1, …")
	f.IntVar(&o.crowd, "crowd", 100, "`N` clients talk where there are many, and a quarter as many are idle")
	f.Usage = func() {
		fmt.Fprintf(stderr, "usage: lab [flags] [SCENARIO…]\n\nWithout a scenario, all are played. Flags:\n")
		f.PrintDefaults()
		fmt.Fprintf(stderr, "\nScenarios:\n%s", known())
	}
	names, err := intersperse(f, args)
	if err != nil {
		return o, err
	}
	if err := pick.Draw(o.runs, &o.seed); err != nil {
		return o, err
	}
	if o.crowd < 1 || o.crowd > 5000 {
		return o, fmt.Errorf("-crowd %d: want 1 to 5000", o.crowd)
	}
	if c := vm.Clock(o.clock); c != vm.Virtual && c != vm.Wall {
		return o, fmt.Errorf("-clock %s: want %s or %s", o.clock, vm.Virtual, vm.Wall)
	}
	if o.scenarios, err = choose(names); err != nil {
		return o, err
	}
	return o, o.line.check(o.scenarios)
}

// intersperse reads flags wherever they stand, and returns what is none.
func intersperse(f *flag.FlagSet, args []string) (names []string, err error) {
	for {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		if f.NArg() == 0 {
			return names, nil
		}
		names, args = append(names, f.Arg(0)), f.Args()[1:]
	}
}

// known are the scenarios that there are.
func known() pick.List[Scenario] {
	return pick.List[Scenario]{
		Kind: "scenario",
		All:  scenarios(),
		Name: func(s Scenario) string { return s.Name },
		Line: func(s Scenario) string { return fmt.Sprintf("%s (%s)", s.Does, strings.Join(s.Promises, " ")) },
	}
}

// choose finds the scenarios of those names; none means all.
func choose(names []string) ([]Scenario, error) {
	out, err := known().Named(names)
	if len(names) > 0 { // else they stand in order
		slices.SortStableFunc(out, func(a, b Scenario) int { return first(a) - first(b) })
	}
	return out, err
}

// first is 0 for what others are held against, and has to be played before them.
func first(s Scenario) int {
	if s.Name == baseline {
		return 0
	}
	return 1
}

func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "lab: %v\n", err)
		return exitUnfit
	case o.list:
		fmt.Fprint(stdout, known())
		return exitOK
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.DiscardHandler)
	if o.verbose {
		log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	backend, needs := wgdevice.Userspace, []testnet.Requirement{testnet.Netns, testnet.TUN, testnet.Nftables}
	if o.kernel {
		backend, needs = wgdevice.Kernel, []testnet.Requirement{testnet.Netns, testnet.KernelWireGuard, testnet.Nftables}
	}
	if o.has(func(s Scenario) bool { return s.Keepalived }) {
		needs = append(needs, testnet.Keepalived, testnet.WGTools)
	}
	if err := settle(); err != nil {
		return unfit(stderr, err)
	}
	err = testnet.Enter()
	switch {
	case o.kernel && !native(o.line):
		return inside(ctx, o, stdout, stderr, log)
	case err == nil:
		err = testnet.Check(o.line.needs(needs...)...)
	}
	if err != nil {
		return unfit(stderr, hint(err))
	}
	if o.crowded() {
		return alone(ctx, o, args, stdout, stderr)
	}
	o.clock = clockWall
	if c, ok := os.LookupEnv(clockEnv); ok {
		o.clock = c
	}
	code := exitOK
	var base Result // of baseline
	for _, s := range o.scenarios {
		r := play(ctx, s, o, backend, log)
		if s.Keepalived {
			r.against(base)
		}
		if s.Name == baseline {
			base = r
		}
		if !r.OK {
			code = exitFailed
		}
		write := r.WriteText
		if o.json {
			write = r.WriteJSON
		}
		if err := write(stdout); err != nil {
			fmt.Fprintf(stderr, "lab: %v\n", err)
			return exitFailed
		}
		if ctx.Err() != nil {
			fmt.Fprintln(stderr, "lab: interrupted; everything is cleaned up")
			return exitFailed
		}
	}
	return code
}

// has says whether such a scenario is to be played.
func (o options) has(such func(Scenario) bool) bool { return slices.ContainsFunc(o.scenarios, such) }

// play runs a scenario as often as asked, and stops at the first run that fails.
func play(ctx context.Context, s Scenario, o options, backend wgdevice.Backend, log *slog.Logger) Result {
	start := time.Now()
	r := Result{Scenario: s.Name, Backend: string(backend), Clock: o.clock, Promises: s.Promises, Seed: o.seed}
	r.Delay, r.Jitter, r.Loss = millis(o.line.delay), millis(o.line.jitter), o.line.loss
	var m Metrics
	for i := range o.runs {
		seed := o.seed + uint64(i)
		err := once(ctx, s, &Run{
			Seed:    seed,
			Rand:    rand.New(rand.NewPCG(seed, 0)), //nolint:gosec // repeatable on purpose
			Backend: backend,
			Clock:   o.clock,
			Line:    o.line,
			Crowd:   o.crowd,
			Metrics: &m,
			Log:     log.With("scenario", s.Name, "seed", seed),
		})
		if err != nil {
			r.Error = fmt.Sprintf("run %d of %d (repeat it with -seed %d): %v", i+1, o.runs, seed, err)
			break
		}
	}
	if r.Error == "" && s.Judge != nil && o.runs >= many {
		if err := s.Judge(Series{Clock: o.clock, Line: o.line, Metrics: &m}); err != nil {
			r.Error = fmt.Sprintf("%d runs, each of them right (repeat them with -runs %d -seed %d): %v", o.runs, o.runs, o.seed, err)
		}
	}
	r.OK = r.Error == ""
	r.Metrics = m.Map()
	r.Seconds = round(time.Since(start).Seconds())
	return r
}

// once bounds one run in time.
func once(ctx context.Context, s Scenario, r *Run) error {
	limit := s.Limit + r.Line.slack()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v", limit))
	defer cancel()
	return s.Play(ctx, r)
}
