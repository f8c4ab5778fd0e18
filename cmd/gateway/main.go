// Gateway serves locations: it makes the WireGuard interfaces of this machine be
// what its cores say, and keeps them so when the cores are away.
package main

import (
	"os"

	"github.com/holdfastvpn/holdfast/cmd/internal/daemon"
)

// cli is the command line.
type cli struct {
	options

	Run    runCmd    `cmd:"" default:"1" help:"Serve (the default)."`
	Join   joinCmd   `cmd:"" help:"Become a gateway with a token, and serve."`
	Device deviceCmd `cmd:"" hidden:"" help:"WireGuard in user space for one interface; the gateway starts it."`
}

func main() {
	os.Exit(daemon.Main(
		"gateway", "A holdfast gateway: WireGuard for the locations that its cores assign to it.",
		&cli{}, os.Args[1:], os.Stdout, os.Stderr,
	))
}
