package main

import (
	"context"
	"fmt"
	"os"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
)

// deviceCmd is WireGuard in user space for one interface, in a process of its own. A
// gateway starts it, and it goes on when that gateway is killed or upgraded; nobody
// else has a use for it.
type deviceCmd struct {
	Name string `arg:""`
}

// Run serves until the interface ends.
func (d *deviceCmd) Run(ctx context.Context, c *cli) error {
	return wgdevice.Serve(ctx, d.Name, c.Logger(os.Stderr))
}

// deviceCommand is how a gateway starts a device command: this program, whatever its
// path was on the command line.
func deviceCommand(o *options) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return []string{self, "--log-level", o.LogLevel.String(), "--log-format", o.LogFormat, "device"}, nil
}
