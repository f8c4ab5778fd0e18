//go:build linux

package wgdevice

import (
	"context"
	"fmt"
	"net"

	"github.com/holdfastvpn/holdfast/gateway"
)

// Observe overwrites s with what is there, and reuses its memory. What of the
// filter, of forwarding or of floating addresses could not be seen is in s.Problems; any other trouble
// is an error.
func (d *Device) Observe(ctx context.Context, s *gateway.State) error {
	if d.closed {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wgdevice: observe %s: %w", d.name, err)
	}
	link, _, err := d.find()
	if link == nil || err != nil {
		*s = gateway.State{Backend: string(d.backend)}
		return err
	}
	*s = gateway.State{
		Exists: true,
		Up:     link.Attrs().Flags&net.FlagUp != 0,
		Interface: gateway.Interface{
			Addrs:        s.Interface.Addrs[:0],
			Masquerade:   s.Interface.Masquerade[:0],
			Inner:        s.Interface.Inner[:0],
			Destinations: s.Interface.Destinations[:0],
			Floating:     s.Interface.Floating[:0],
			MTU:          link.Attrs().MTU,
		},
		Owned:    s.Owned[:0],
		Routes:   s.Routes[:0],
		Peers:    s.Peers[:0],
		Problems: s.Problems[:0],
	}
	wg, err := d.wireguard(link)
	s.Backend = string(d.backend)
	if err == nil {
		err = wg.read(s)
	}
	if err == nil {
		s.Interface.Addrs, err = d.addrs(ctx, link, s.Interface.Addrs)
	}
	if err == nil {
		s.Routes, err = d.routes(ctx, link, s.Routes)
	}
	if err != nil {
		return fmt.Errorf("wgdevice: observe %s: %w", d.name, err)
	}
	s.Peers = tidy(s.Peers)
	for _, more := range []func(context.Context, *gateway.State){d.observeFilter, d.observeSource} {
		more(ctx, s)
		if err := ctx.Err(); err != nil { // what it says of that is no problem of the interface
			return fmt.Errorf("wgdevice: observe %s: %w", d.name, err)
		}
	}
	d.observeForwarding(s)
	return nil
}

// observeFilter looks at the filter table.
func (d *Device) observeFilter(ctx context.Context, s *gateway.State) {
	asks, whole, err := d.filter.observe(ctx)
	if s.Filtered = whole && err == nil; s.Filtered {
		s.Interface.Masquerade = append(s.Interface.Masquerade, asks.masquerade...)
		s.Interface.Inner = append(s.Interface.Inner, asks.inner...)
		s.Interface.Destinations = append(s.Interface.Destinations, asks.destinations...)
		s.Interface.Isolated = asks.isolated
	}
	if err != nil {
		s.Problems = append(s.Problems, err.Error())
	}
	if len(s.Interface.Inner) > 0 {
		s.Problems = append(s.Problems, d.unloosed()...)
	}
}

// observeSource looks at the rules and tables that what WireGuard sends is routed by.
func (d *Device) observeSource(ctx context.Context, s *gateway.State) {
	got, err := d.sources.read(ctx, s.Interface.Mark)
	if err != nil {
		s.Problems = append(s.Problems, err.Error())
		return
	}
	s.Interface.Floating = append(s.Interface.Floating, got.floating...)
	s.Owned = append(s.Owned, got.owned...)
	s.Sourced = got.right
}

// observeForwarding looks at forwarding. When it is off, what stood in the way
// of it is a problem.
func (d *Device) observeForwarding(s *gateway.State) {
	on, err := d.forwarding(s.Interface.Addrs)
	s.Forwarding = on
	switch {
	case on:
		d.unforwarded = nil
	case err != nil:
		s.Problems = append(s.Problems, err.Error())
	default:
		s.Problems = append(s.Problems, d.unforwarded...)
	}
}
