//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"strconv"
	"time"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
)

// clockEnv tells the lab inside a virtual machine by which clock it measures.
const clockEnv = "HOLDFAST_LAB_CLOCK"

// labPackage is this program.
const labPackage = "github.com/holdfastvpn/holdfast/internal/testnet/lab"

// native says that -kernel needs no virtual machine: the kernel here has
// WireGuard, and what the line needs.
func native(l line) bool {
	return testnet.Check(l.needs(testnet.KernelWireGuard)...) == nil
}

// hint adds to what is missing what else can be done about it.
func hint(err error) error {
	missing, ok := errors.AsType[*testnet.MissingError](err)
	if !ok || missing.What != testnet.Netem {
		return err
	}
	return fmt.Errorf("%w; or add -kernel, whose virtual machine has it", err)
}

// inside plays the scenarios in a virtual machine whose kernel has WireGuard:
// the same program, with the same arguments. Results come out as they come in.
func inside(ctx context.Context, o options, stdout, stderr io.Writer, log *slog.Logger) int {
	lab, err := vm.Build(ctx, labPackage)
	if err != nil {
		return unfit(stderr, err)
	}
	files, err := shipped(ctx, o)
	if err != nil {
		return unfit(stderr, err)
	}
	tools, err := o.tools()
	if err != nil {
		return unfit(stderr, err)
	}
	res, err := vm.Run(ctx, vm.Config{
		Program: lab,
		Args:    o.args(),
		Env:     []string{clockEnv + "=" + o.clock, programsEnv + "=" + programsDir},
		Files:   files,
		Clock:   vm.Clock(o.clock),
		Memory:  1024,
		Limit:   o.limit(),
		Tools:   tools,
		Stdout:  stdout,
		Stderr:  stderr,
		Console: console(o, stderr),
		Log:     log,
	})
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "lab: interrupted; the virtual machine is gone")
		return exitFailed
	case err != nil:
		return unfit(stderr, err)
	}
	log.Info("the virtual machine is gone", "booted", res.Boot, "played", res.Took, "wall", res.Wall, "bytes", res.Size)
	return res.Exit
}

// programsDir is where the daemons are in the machine.
const programsDir = "/programs"

// shipped are the daemons, if a scenario runs them.
func shipped(ctx context.Context, o options) (map[string]string, error) {
	if !o.has(func(s Scenario) bool { return s.Processes }) {
		return nil, nil
	}
	files := map[string]string{}
	for _, name := range daemons() {
		file, err := vm.Build(ctx, daemonPackages+name)
		if err != nil {
			return nil, err
		}
		files[programsDir+"/"+name] = file
	}
	return files, nil
}

// tools are the commands of this machine that the scenarios run.
func (o options) tools() (names []string, err error) {
	if _, err := exec.LookPath("nft"); err == nil {
		names = append(names, "nft")
	}
	if o.has(func(s Scenario) bool { return s.Keepalived }) {
		names = append(names, "keepalived", "curl", "ip", "wg")
		err = testnet.Check(testnet.Keepalived, testnet.WGTools)
	}
	return names, err
}

// console is where the kernel's words go: with -v they are worth reading.
func console(o options, stderr io.Writer) io.Writer {
	if o.verbose {
		return stderr
	}
	return nil
}

// args is the command line for the lab inside.
func (o options) args() []string {
	args := []string{"-kernel", "-runs", strconv.Itoa(o.runs), "-seed", strconv.FormatUint(o.seed, 10), "-crowd", strconv.Itoa(o.crowd)}
	args = append(args, o.line.args()...)
	if o.json {
		args = append(args, "-json")
	}
	if o.verbose {
		args = append(args, "-v")
	}
	for _, s := range o.scenarios {
		args = append(args, s.Name)
	}
	return args
}

// limit bounds the virtual machine on the clock of this machine.
func (o options) limit() time.Duration {
	limit := 2 * time.Minute
	for _, s := range o.scenarios {
		limit += time.Duration(o.runs) * (s.Limit + o.line.slack())
	}
	return limit
}

func unfit(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "lab: this machine is not fit for it: %v\n", err)
	return exitUnfit
}
