package memdevice

import (
	"context"
	"slices"

	"github.com/holdfastvpn/holdfast/gateway"
)

var _ gateway.Detourer = (*Device)(nil)

// Detour implements gateway.Detourer: what was asked for is what there is.
func (d *Device) Detour(ctx context.Context, _ gateway.Interface, want []gateway.Detour) error {
	if err := d.enter(ctx, "detour"); err != nil {
		return err
	}
	defer d.link.mu.Unlock()
	d.link.detours = slices.Clone(want)
	return nil
}

// Detours returns what is passed on to siblings, in order. It is what a test looks at.
func (d *Device) Detours() []gateway.Detour {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	return slices.Clone(d.link.detours)
}
