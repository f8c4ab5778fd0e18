//go:build linux

package wgdevice

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
)

// create makes the interface, all of it, and returns its link. If something
// fails, nothing of it is left.
func (d *Device) create(ctx context.Context, want gateway.Interface) (netlink.Link, error) {
	var link netlink.Link
	var err error
	if d.backend == Userspace {
		link, err = d.createUser(want)
	} else {
		link, err = d.createKernel(want)
	}
	if err == nil {
		var wg wireguard
		if wg, err = d.wireguard(link); err == nil {
			err = d.configure(ctx, link, wg, want, gateway.FieldsAll)
		}
	}
	if err == nil {
		return link, nil
	}
	if link != nil {
		if undo := d.destroy(context.WithoutCancel(ctx), link); undo != nil {
			err = join(err, fmt.Errorf("undo: %w", undo))
		}
	}
	return nil, err
}

// createKernel makes a WireGuard link of the kernel, down, and marks it. A link
// that it returns is there, also if there is an error.
func (d *Device) createKernel(want gateway.Interface) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = d.name
	attrs.MTU = want.MTU
	attrs.Group = group
	var link netlink.Link = &netlink.Wireguard{LinkAttrs: attrs}
	err := d.nl.LinkAdd(link)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil, noKernel(err)
	case err != nil:
		return nil, fmt.Errorf("make the interface: %w", explain(err))
	}
	// The module may be another one than last time, with another number.
	if d.kernel != nil {
		_ = d.kernel.close()
		d.kernel = nil
	}
	now, err := d.nl.LinkByName(d.name)
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		return nil, fmt.Errorf("make the interface: somebody took it away at once: %w", explain(err))
	}
	if err != nil {
		return link, fmt.Errorf("make the interface: %w", explain(err))
	}
	return now, d.markLink(now, Kernel)
}

// createUser starts WireGuard in user space, on a link of its own. A link
// that it returns is there, also if there is an error.
func (d *Device) createUser(want gateway.Interface) (netlink.Link, error) {
	engines.end(d.spot()) // one whose link somebody renamed or moved away
	if len(d.space.command) > 0 {
		return d.createProcess(want)
	}
	s := settings{key: &want.Key, port: &want.Port, mark: &want.Mark}
	e, err := newEngine(d.ns, d.name, want.MTU, appendSettings(nil, s), d.log)
	if err != nil {
		return nil, fmt.Errorf("start WireGuard in user space: %w", err)
	}
	link, err := d.nl.LinkByName(d.name)
	if err != nil {
		e.end()
		return nil, fmt.Errorf("make the interface: %w", explain(err))
	}
	engines.put(d.spot(), e)
	// As with the kernel's WireGuard: no address that nobody asked for. Without
	// IPv6 there is none anyway.
	_ = d.nl.LinkSetIP6AddrGenMode(link, addrGenNone)
	return link, d.markLink(link, Userspace)
}

// addrGenNone keeps the kernel from giving a link addresses of IPv6.
const addrGenNone = 1

// configure makes the fields be as wanted, and of them touches what differs.
func (d *Device) configure(ctx context.Context, link netlink.Link, wg wireguard, want gateway.Interface, fields gateway.Fields) error {
	var errs []error
	has := func(f gateway.Fields) bool { return fields&f != 0 }
	if has(gateway.FieldMark | gateway.FieldSource) {
		errs = append(errs, d.setSource(ctx, wg, want, fields))
	} else if has(gateway.FieldKey | gateway.FieldPort) {
		errs = append(errs, setWireGuard(wg, want, fields))
	}
	if has(gateway.FieldMTU) {
		errs = append(errs, d.setMTU(link, wg, want.MTU))
	}
	if has(gateway.FieldAddrs) {
		errs = append(errs, d.setAddrs(ctx, link, want.Addrs))
	}
	if has(gateway.FieldFilter) {
		errs = append(errs, d.refilter(ctx, want))
	}
	// New addresses may be of a family that nobody had to forward before.
	if has(gateway.FieldForwarding | gateway.FieldAddrs) {
		d.unforwarded = d.forward(ctx, want.Addrs)
	}
	// Last, and only over a filter that is as it shall be.
	if has(gateway.FieldUp) && join(errs...) == nil && link.Attrs().Flags&net.FlagUp == 0 {
		if err := d.nl.LinkSetUp(link); err != nil {
			errs = append(errs, fmt.Errorf("take the interface up: %w", portError(want.Port, err)))
		}
	}
	return join(errs...)
}

// setWireGuard sets private key, port and mark where they differ: a port that
// is set again gets new sockets, and a mark is told to each peer. Port 0 leaves
// the port that WireGuard chose.
func setWireGuard(wg wireguard, want gateway.Interface, fields gateway.Fields) error {
	var have gateway.State
	if err := wg.read(&have); err != nil {
		return fmt.Errorf("read the interface: %w", explain(err))
	}
	var s settings
	if fields&gateway.FieldKey != 0 && have.Interface.Key != want.Key {
		s.key = &want.Key
	}
	if fields&gateway.FieldPort != 0 && have.Interface.Port != want.Port && want.Port != 0 {
		s.port = &want.Port
	}
	if fields&gateway.FieldMark != 0 && have.Interface.Mark != want.Mark {
		s.mark = &want.Mark
	}
	if s == (settings{}) {
		return nil
	}
	if err := wg.set(s); err != nil {
		return fmt.Errorf("set key, port or mark: %w", portError(want.Port, err))
	}
	return nil
}

// setSource is setWireGuard where the mark or what has it may change: rules and
// tables come before the mark, and those of the mark before go after it.
func (d *Device) setSource(ctx context.Context, wg wireguard, want gateway.Interface, fields gateway.Fields) error {
	var have gateway.State
	if err := wg.read(&have); err != nil {
		return fmt.Errorf("read the interface: %w", explain(err))
	}
	mark, floating := have.Interface.Mark, want.Floating
	if fields&gateway.FieldSource == 0 {
		var err error
		if floating, err = d.sources.recorded(ctx, mark); err != nil {
			return err
		}
	}
	if fields&gateway.FieldMark != 0 {
		mark = want.Mark
	}
	if mark == 0 && fields&gateway.FieldSource == 0 {
		floating = nil // they would need one
	}
	return d.sources.move(ctx, have.Interface.Mark, mark, floating, func(mark bool) error {
		if !mark {
			fields &^= gateway.FieldMark
		}
		return setWireGuard(wg, want, fields)
	})
}

// setMTU sets the MTU, and tells WireGuard in user space, which does not see it
// by itself.
func (d *Device) setMTU(link netlink.Link, wg wireguard, mtu int) error {
	if link.Attrs().MTU != mtu {
		if err := d.nl.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("set MTU %d: %w", mtu, explain(err))
		}
	}
	u, ok := wg.(user)
	if !ok {
		return nil
	}
	if err := u.setMTU(mtu); err != nil {
		return fmt.Errorf("set MTU %d: %w", mtu, explain(err))
	}
	return nil
}

// refilter sets the filter table if it is not as it shall be.
func (d *Device) refilter(ctx context.Context, want gateway.Interface) error {
	have, whole, err := d.filter.observe(ctx)
	if err == nil && whole && have.equal(policyOf(want)) {
		return nil
	}
	return d.filter.set(policyOf(want))
}

// destroy ends the interface, its filter table, and the rules and tables that its
// packets are routed by; a nil link is one that has gone already. Peers go first, all at once: with many of them the kernel takes
// seconds to delete a link that still has them.
func (d *Device) destroy(ctx context.Context, link netlink.Link) error {
	var errs []error
	var have gateway.State
	if link != nil {
		if wg, err := d.wireguard(link); err == nil {
			_ = wg.wipe() // for speed; what counts is that the link goes
			_ = wg.read(&have)
		}
	}
	d.endUser(link)
	if link != nil {
		if err := d.nl.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("delete the interface: %w", explain(err)))
		}
	}
	d.unforwarded = nil
	if err := d.filter.remove(); err != nil {
		errs = append(errs, err)
	}
	if d.detours.table == 0 && have.Interface.Port != 0 { // another process may have left some
		d.detours.table = ourTable | int(have.Interface.Port)
	}
	if err := d.undetour(ctx); err != nil {
		errs = append(errs, err)
	}
	if err := d.sources.remove(ctx, have.Interface.Mark); err != nil {
		errs = append(errs, err)
	}
	return join(errs...)
}
