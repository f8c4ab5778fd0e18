//go:build !linux

package wgdevice

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"runtime"

	"github.com/holdfastvpn/holdfast/gateway"
)

// Device is a gateway.Device on Linux. There is none on this system.
type Device struct{}

var (
	_ gateway.Device   = (*Device)(nil)
	_ gateway.Notifier = (*Device)(nil)
	_ gateway.Owner    = (*Device)(nil)
	_ gateway.Detourer = (*Device)(nil)
	_ gateway.Tracker  = (*Device)(nil)
)

var errSystem = fmt.Errorf("wgdevice: a gateway needs Linux, and this is %s: run it on a Linux machine: %w",
	runtime.GOOS, errors.ErrUnsupported)

// Open fails: a gateway needs Linux.
func Open(c Config) (*Device, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return nil, errSystem
}

// Serve fails: a gateway needs Linux.
func Serve(context.Context, string, *slog.Logger) error { return errSystem }

// Backend returns Auto.
func (d *Device) Backend() Backend { return Auto }

// Observe fails.
func (d *Device) Observe(context.Context, *gateway.State) error { return errSystem }

// Apply fails.
func (d *Device) Apply(context.Context, gateway.Plan) error { return errSystem }

// Changes returns nil.
func (d *Device) Changes(context.Context) <-chan struct{} { return nil }

// Own returns nil.
func (d *Device) Own(context.Context, gateway.Interface) <-chan []netip.Addr { return nil }

// Detour fails.
func (d *Device) Detour(context.Context, gateway.Interface, []gateway.Detour) error { return errSystem }

// Flows yields nothing.
func (d *Device) Flows(context.Context, gateway.Interface) iter.Seq[gateway.FlowChange] {
	return func(func(gateway.FlowChange) bool) {}
}

// Adopt fails.
func (d *Device) Adopt(context.Context, gateway.Interface, []gateway.Flow) error { return errSystem }

// Close does nothing.
func (d *Device) Close() error { return nil }
