//go:build linux

// Quickstart shows what holdfast is for, in one process and within a minute:
// a location that two gateways serve at once, a client behind a NAT, and the
// public address moving from one gateway to the other while packets flow.
//
//	go run ./examples/quickstart
//
// Everything happens in network namespaces of this process; the machine's own
// network is not touched, and nothing is left behind. It runs as root, or as an
// ordinary user where the kernel permits user namespaces.
//
// What it uses of the SDK is in story.go; a real deployment differs in the
// stores, the transport, and in machines instead of namespaces.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// limit bounds everything: the story takes about 25 s.
const limit = 2 * time.Minute

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUnfit       = 2
	exitInterrupted = 130 // 128 + SIGINT, as shells count
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	f.SetOutput(stderr)
	asJSON := f.Bool("json", false, "print the result as one JSON object, and nothing else")
	verbose := f.Bool("v", false, "write the logs to standard error")
	f.Usage = func() {
		fmt.Fprint(stderr, "usage: quickstart [-json] [-v]\n\nTwo gateways, one location, a client behind a NAT, and a failover.\n\n")
		f.PrintDefaults()
	}
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUnfit
	case f.NArg() > 0:
		fmt.Fprintf(stderr, "quickstart: %q: it takes no arguments (see -h)\n", f.Args())
		return exitUnfit
	}

	out := printer{w: stdout}
	log := slog.New(slog.DiscardHandler)
	if *asJSON {
		out.w = io.Discard
	}
	if *verbose {
		log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	begin := time.Now()
	r := Result{}
	code, err := exitUnfit, fit()
	if err == nil {
		code, err = play(&r, out, log)
	}
	r.OK, r.Seconds = err == nil, time.Since(begin).Seconds()
	if err != nil {
		r.Error = err.Error()
		fmt.Fprintf(stderr, "quickstart: %v\n", err)
	}
	if *asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetEscapeHTML(false) // "&&" is for people to copy
		if err := enc.Encode(r); err != nil {
			fmt.Fprintf(stderr, "quickstart: %v\n", err)
			return exitFailed
		}
	}
	return code
}

// fit makes sure that this machine can play it, and says what it lacks.
func fit() error {
	if err := testnet.Enter(); err != nil {
		return err
	}
	if err := testnet.Check(testnet.Nftables); err != nil {
		return err
	}
	if testnet.Check(testnet.KernelWireGuard) == nil {
		return nil
	}
	return testnet.Check(testnet.TUN) // user-space WireGuard then
}

// play tells the story, and makes sure that it ends.
func play(r *Result, out printer, log *slog.Logger) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	interrupted := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v", limit))
	defer cancel()

	s := &story{out: out, log: log, result: r, backend: wgdevice.Userspace}
	r.Backend = "userspace"
	out.title("holdfast quickstart")
	if testnet.Check(testnet.KernelWireGuard) == nil {
		s.backend, r.Backend = wgdevice.Kernel, "kernel"
		out.linef("WireGuard", "of the kernel")
	} else {
		out.linef("WireGuard", "in user space, inside this process (this kernel has none)")
	}
	err = s.tell(ctx)
	if e := s.clean(); e != nil {
		err = errors.Join(err, fmt.Errorf("clean up: %w", e))
	} else {
		out.linef("cleaned up", "interfaces and namespaces are gone")
	}
	switch {
	case err == nil:
		return exitOK, nil
	case interrupted.Err() != nil:
		return exitInterrupted, errors.New("interrupted; everything is cleaned up")
	default:
		return exitFailed, err
	}
}
