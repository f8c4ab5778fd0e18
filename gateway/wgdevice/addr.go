//go:build linux

package wgdevice

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addrs appends the addresses of the link to to, in order.
func (d *Device) addrs(ctx context.Context, link netlink.Link, to []netip.Prefix) ([]netip.Prefix, error) {
	list, err := again(ctx, func() ([]netlink.Addr, error) { return d.nl.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return to, fmt.Errorf("list addresses: %w", explain(err))
	}
	for _, a := range list {
		if p, ok := prefixOf(a.IPNet); ok {
			to = append(to, p)
		}
	}
	slices.SortFunc(to, netip.Prefix.Compare)
	return to, nil
}

// setAddrs makes want the addresses of the link: new ones first, so that the
// interface is never without. The kernel takes an IPv4 address away together
// with the one whose network it is in, so what is missing then is set again.
// Routes may have gone with the last address of a family; the plan sets them
// after the addresses.
func (d *Device) setAddrs(ctx context.Context, link netlink.Link, want []netip.Prefix) error {
	const rounds = 4 // one for each of these, one to see that all is well, and one spare
	for range rounds {
		have, err := d.addrs(ctx, link, nil)
		if err != nil {
			return err
		}
		var done bool
		if done, err = d.swapAddrs(link, want, have); done || err != nil {
			return err
		}
	}
	return nil
}

// swapAddrs adds what have lacks and takes away what it has too much. It is
// done if there is nothing to do.
func (d *Device) swapAddrs(link netlink.Link, want, have []netip.Prefix) (done bool, err error) {
	done = true
	for _, p := range want {
		if slices.Contains(have, p) {
			continue
		}
		done = false
		if err := d.nl.AddrAdd(link, address(p)); err != nil && !errors.Is(err, unix.EEXIST) {
			return false, fmt.Errorf("add address %s: %w", p, addrError(p, err))
		}
	}
	for _, p := range have {
		if slices.Contains(want, p) || p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			continue // link-local ones of IPv6 are the kernel's business, wanted or not
		}
		done = false
		if err := d.nl.AddrDel(link, address(p)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return false, fmt.Errorf("remove address %s: %w", p, explain(err))
		}
	}
	return done, nil
}

// address is p for netlink. Nobody else is on the link, so there is no wait to
// find out whether somebody has the address.
func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

// addrError says what stands in the way of an address.
func addrError(p netip.Prefix, err error) error {
	if p.Addr().Is6() && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP)) {
		return fmt.Errorf("IPv6 may be switched off: allow it (sysctl net.ipv6.conf.all.disable_ipv6=0), "+
			"or leave IPv6 out of the location: %w", err)
	}
	return explain(err)
}
