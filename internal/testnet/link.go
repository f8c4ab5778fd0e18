//go:build linux

package testnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// settle bounds the wait for the kernel to finish in the background what a call
// has begun; normally that takes less than a millisecond.
const settle = 5 * time.Second

// Link joins two hosts by a cable of their own: device an in a, device bn in b,
// both up when it returns. Either end down is no carrier on both.
func (n *Net) Link(a *Host, an string, b *Host, bn string) error {
	if err := errors.Join(a.err, b.err); err != nil {
		return err
	}
	if err := n.cable(a, an, b, bn); err != nil {
		return err
	}
	if err := errors.Join(a.Up(an), b.Up(bn)); err != nil {
		return err
	}
	return errors.Join(a.carrier(an), b.carrier(bn))
}

// cable makes the device pair, both ends down, straight in the two namespaces.
func (n *Net) cable(a *Host, an string, b *Host, bn string) error {
	nl := a.Netlink()
	err := n.use(func() error {
		return nl.LinkAdd(&netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: an},
			PeerName:      bn,
			PeerNamespace: netlink.NsFd(b.ns),
		})
	})
	if err != nil {
		return fmt.Errorf("testnet: link %s %s to %s %s: %w", a.name, an, b.name, bn, err)
	}
	return nil
}

// Up takes a link up. It does not wait for a carrier.
func (h *Host) Up(link string) error {
	return h.onLink("take up", link, func(nl *netlink.Handle, l netlink.Link) error { return nl.LinkSetUp(l) })
}

// Down takes a link down. The kernel then removes the routes over it, and its
// IPv6 addresses.
func (h *Host) Down(link string) error {
	return h.onLink("take down", link, func(nl *netlink.Handle, l netlink.Link) error { return nl.LinkSetDown(l) })
}

// Addr gives a link addresses, each with the length of its subnet. Those that
// are there already stay. If the link is up, the addresses are usable when Addr
// returns.
func (h *Host) Addr(link string, prefixes ...netip.Prefix) error {
	return h.onLink("give addresses to", link, func(nl *netlink.Handle, l netlink.Link) error {
		for _, p := range prefixes {
			if err := nl.AddrReplace(l, address(p)); err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
		}
		return ready(nl, l)
	})
}

// Route is a way to somewhere, for [Host.Route].
type Route struct {
	To    netip.Prefix // zero: everywhere, in the address family of Via
	Via   netip.Addr   // the next router; zero: To is on the link itself
	Link  string       // needed without Via
	Src   netip.Addr   // preferred source address; zero: the kernel's choice
	Table int          // routing table; 0: main
}

// Route adds r, in place of any route of its table that leads to the same
// prefix.
func (h *Host) Route(r Route) error {
	if h.err != nil {
		return h.err
	}
	nl := h.Netlink()
	k := netlink.Route{Gw: r.Via.AsSlice(), Src: r.Src.AsSlice(), Table: r.Table}
	switch {
	case r.To.IsValid():
		k.Dst = ipnet(r.To.Masked())
	case r.Via.IsValid():
		k.Dst = ipnet(netip.PrefixFrom(r.Via, 0).Masked())
	default:
		return fmt.Errorf("testnet: route of host %s: neither a prefix nor a router", h.name)
	}
	if r.Link != "" {
		l, err := nl.LinkByName(r.Link)
		if err != nil {
			return fmt.Errorf("testnet: route of host %s to %s: link %s: %w", h.name, k.Dst, r.Link, err)
		}
		k.LinkIndex = l.Attrs().Index
	}
	if !r.Via.IsValid() {
		k.Scope = netlink.SCOPE_LINK
	}
	if err := nl.RouteReplace(&k); err != nil {
		return fmt.Errorf("testnet: route of host %s to %s: %w", h.name, k.Dst, err)
	}
	return nil
}

// onLink runs f on a link that it finds by name, and names all in the error.
func (h *Host) onLink(what, link string, f func(*netlink.Handle, netlink.Link) error) error {
	if h.err != nil {
		return h.err
	}
	nl := h.Netlink()
	l, err := nl.LinkByName(link)
	if err == nil {
		err = f(nl, l)
	}
	if err != nil {
		return fmt.Errorf("testnet: %s %s of host %s: %w", what, link, h.name, err)
	}
	return nil
}

// carrier waits until the link can send.
func (h *Host) carrier(link string) error {
	return h.onLink("wait for a carrier on", link, func(nl *netlink.Handle, l netlink.Link) error {
		return until(settle, func() (bool, error) {
			l, err := nl.LinkByIndex(l.Attrs().Index)
			return err == nil && l.Attrs().OperState == netlink.OperUp, err
		})
	})
}

// ready waits until no address of an up link is tentative: for a moment even
// those without duplicate address detection are, and cannot be bound to.
func ready(nl *netlink.Handle, l netlink.Link) error {
	if l.Attrs().Flags&net.FlagUp == 0 {
		return nil
	}
	return until(settle, func() (bool, error) {
		addrs, err := nl.AddrList(l, netlink.FAMILY_V6)
		if err != nil {
			return false, reread(err)
		}
		for _, a := range addrs {
			if a.Flags&unix.IFA_F_TENTATIVE != 0 {
				return false, nil
			}
		}
		return true, nil
	})
}

// address is p for netlink, usable at once.
func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipnet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

// ipnet is p in the older form, host bits kept.
func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// reread is nil for a list that changed while it was read, so that until reads it
// anew; any other error ends that.
func reread(err error) error {
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil
	}
	return err
}

// until asks done again and again, each millisecond, for as long as limit.
func until(limit time.Duration, done func() (bool, error)) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); ; <-tick.C {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %v", limit)
		}
	}
}
