// Holdfast is the command line of operators: locations, devices, gateways, owners,
// tokens, and what goes on. It asks a core, over its unix socket on the same
// machine or over HTTPS with a token.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{os.Stdout, os.Stderr}, os.Exit)
	stop()
	os.Exit(code)
}

// streams are where a command writes: what was asked for, and everything else.
type streams struct{ out, err io.Writer }
