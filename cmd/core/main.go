// Core is the control plane: it owns locations, devices and gateways, and dials the
// gateways.
package main

import (
	"os"

	"github.com/holdfastvpn/holdfast/cmd/internal/daemon"
)

// cli is the command line.
type cli struct {
	options

	Run     runCmd     `cmd:"" default:"1" help:"Serve (the default)."`
	Restore restoreCmd `cmd:"" help:"Begin from a backup, in a state directory without a store."`
}

func main() {
	os.Exit(daemon.Main(
		"core", "The control plane of holdfast: locations, devices and gateways.",
		&cli{}, os.Args[1:], os.Stdout, os.Stderr,
	))
}
