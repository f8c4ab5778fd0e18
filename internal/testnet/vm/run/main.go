//go:build linux

// Run builds a main package of this module, or with -test the tests of any
// package, and runs it in a virtual machine:
//
//	go run ./internal/testnet/vm/run [flags] PACKAGE [ARG…]
//	go run ./internal/testnet/vm/run -test -console -tools ip,nft,wg ./gateway/wgdevice -test.v -test.run Zone
//
// It is for looking into what a test in a machine does. The exit code is that of
// the program, or 125 if it did not come to its end.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// Exit codes that are not the program's.
const (
	exitUsage = 124
	exitNone  = 125
)

func run(args []string, stdout, stderr io.Writer) int {
	c := vm.Config{Stdout: stdout, Stderr: stderr, Log: slog.New(slog.NewTextHandler(stderr, nil))}
	f := flag.NewFlagSet("run", flag.ContinueOnError)
	f.SetOutput(stderr)
	wall := f.Bool("wall", false, "two CPUs and the clock of this machine, instead of one and a virtual clock")
	console := f.Bool("console", false, "write what the kernel says to standard error")
	f.IntVar(&c.Memory, "memory", 0, "`MiB` of memory (default 768)")
	f.DurationVar(&c.Limit, "limit", 0, "bounds the run on this machine's clock (default 10m)")
	f.DurationVar(&c.Within, "within", 0, "bounds the program on the machine's clock")
	test := f.Bool("test", false, "run the tests of the package; its arguments are those of a test binary, such as -test.v")
	tools := f.String("tools", "", "`commands` of this machine that shall be there, with commas")
	modules := f.String("modules", "", "kernel `modules` beyond the usual ones, with commas")
	f.Usage = func() {
		fmt.Fprintf(stderr, "usage: run [flags] PACKAGE [ARG…]\n\nFlags:\n")
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return exitUsage
	}
	if f.NArg() == 0 {
		f.Usage()
		return exitUsage
	}
	if *wall {
		c.Clock = vm.Wall
	}
	if *console {
		c.Console = stderr
	}
	c.Tools, c.Modules = split(*tools), split(*modules)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *test {
		c, err = vm.Test(ctx, c, f.Arg(0), f.Args()[1:]...)
	} else {
		c.Args = f.Args()[1:]
		c.Program, err = vm.Build(ctx, f.Arg(0))
	}
	var res vm.Result
	if err == nil {
		res, err = vm.Run(ctx, c)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitNone
	}
	return res.Exit
}

// split is the parts of a list with commas.
func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}
