//go:build linux

package wgdevice

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tries is how often a list is asked for again that somebody changed while it
// was read.
const tries = 30

// again asks for a list until nobody changes it meanwhile, or ctx ends, or it
// was asked for often enough: then the last one has to do.
func again[T any](ctx context.Context, list func() (T, error)) (T, error) {
	for n := 1; ; n++ {
		got, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return got, err
		}
		if ctx.Err() != nil {
			return got, ctx.Err()
		}
		if n == tries {
			return got, nil
		}
	}
}

// find looks for the interface: nil, foreign if there is none of the name. A
// link that is not ours comes with an error that says so, of gateway.ErrForeign.
func (d *Device) find() (netlink.Link, standing, error) {
	link, err := d.nl.LinkByName(d.name)
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		return nil, foreign, nil
	}
	if err != nil {
		return nil, foreign, fmt.Errorf("wgdevice: look for %s: %w", d.name, explain(err))
	}
	a := link.Attrs()
	f := found{kind: kindOf(link), alias: a.Alias, group: a.Group, self: os.Getpid()}
	f.engine = kindOf(link) == kindTUN && d.user(link) != nil
	whose, why := f.owner()
	if whose == ours {
		d.known = a.Index
	}
	if whose == ours || whose == stranger && (d.adopt || d.known == a.Index) {
		return link, whose, nil
	}
	return link, whose, errForeign(d.name, why)
}

// kindOf is the kernel's name for the kind of a link; the library has another
// for one of them.
func kindOf(link netlink.Link) string {
	if _, ok := link.(*netlink.Tuntap); ok {
		return kindTUN
	}
	return link.Type()
}

// probe asks the kernel for a link that it cannot make, because of its MTU: it
// says no before it makes anything, but not before it knows whether it has
// WireGuard, and whether we have the right to ask. Both are errors of ours.
func probe(nl *netlink.Handle, kind string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("hfprobe%08x", rand.Uint32()) //nolint:gosec // a name, no secret
	attrs.MTU = math.MaxInt32
	link := &netlink.GenericLink{LinkAttrs: attrs, LinkType: kind}
	err := nl.LinkAdd(link)
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE):
		return nil
	case err == nil: // a kernel that does not mind
		return nl.LinkDel(link)
	default:
		return err
	}
}

// noKernel says that the kernel's WireGuard was asked for and is not there.
func noKernel(err error) error {
	return fmt.Errorf("this kernel has no WireGuard: load its module (modprobe wireguard), or choose the user-space backend: %w", err)
}

// markLink gives the link the alias that says that it is ours.
func (d *Device) markLink(link netlink.Link, b Backend) error {
	if err := d.nl.LinkSetAlias(link, alias(b, os.Getpid())); err != nil {
		return fmt.Errorf("mark the interface as ours: %w", explain(err))
	}
	if link.Attrs().Group == group {
		if err := d.nl.LinkSetGroup(link, 0); err != nil {
			return fmt.Errorf("mark the interface as ours: %w", explain(err))
		}
	}
	return nil
}
