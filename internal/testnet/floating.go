//go:build linux

package testnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice/announce"
)

// Floating is an address, or one of each family, that is at one host at a time.
// Make one with [Net.Floating].
type Floating struct {
	net   *Net
	addrs []netip.Addr

	mu      sync.Mutex
	host    *Host // nil: nowhere
	link    string
	restore []netlink.Route // routes of host as they were before
	left    time.Time       // when they were taken away last, at the latest
	came    time.Time       // when the first of them was at host

	senders map[*Host]*announce.Sender // until the network is closed
}

// Floating returns addresses that move together, at first nowhere.
func (n *Net) Floating(addrs ...netip.Addr) *Floating {
	return &Floating{net: n, addrs: addrs}
}

// On returns the host that has the addresses and the link that they are on; nil
// if they are nowhere.
func (f *Floating) On() (*Host, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.host, f.link
}

// Moved returns when the last Move had taken the addresses away from where they were,
// and when it had given the first of them to where they are now: nobody there can know
// before. Both are zero before the first Move.
func (f *Floating) Moved() (left, came time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left, f.came
}

// Move takes the addresses away from where they are, gives them to a link of
// another host (as /32 or /128), has that host send from them, and tells the
// segment, in this order. It works too when the old host is cut off.
//
// "Send from them" means: they become the preferred source of the routes over
// the link to their own subnet and to everywhere. Without that, what the host
// itself begins would come from its own address.
func (f *Floating) Move(to *Host, link string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if to.err != nil {
		return to.err
	}
	f.net.Markf("%v moves to %s", f.addrs, to.name)
	if err := f.drop(); err != nil {
		return err
	}
	f.left, f.came = time.Now(), time.Time{}
	f.host, f.link = to, link // from here on there is something to take away
	err := to.onLink("move the floating address to", link, func(nl *netlink.Handle, l netlink.Link) error {
		for _, a := range f.addrs {
			if err := nl.AddrReplace(l, address(netip.PrefixFrom(a, a.BitLen()))); err != nil {
				return fmt.Errorf("add %s: %w", a, err)
			}
			if f.came.IsZero() {
				f.came = time.Now()
			}
		}
		if err := ready(nl, l); err != nil {
			return err
		}
		return f.prefer(nl, l)
	})
	if err != nil {
		return errors.Join(err, f.drop())
	}
	return f.announce()
}

// Drop takes the addresses away from where they are; then they are nowhere.
func (f *Floating) Drop() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.host != nil {
		f.net.Markf("%v leaves %s", f.addrs, f.host.name)
	}
	return f.drop()
}

// Announce tells the segment again where the addresses are, as a host does that
// fears the first word was lost.
func (f *Floating) Announce() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.announce()
}

// drop first puts the routes back: with the address goes every IPv4 route that
// prefers it. A link that is down has no routes, and one that is gone has nothing.
func (f *Floating) drop() error {
	if f.host == nil {
		return nil
	}
	err := f.host.onLink("take the floating address from", f.link, func(nl *netlink.Handle, l netlink.Link) error {
		for _, r := range f.restore {
			if l.Attrs().Flags&net.FlagUp == 0 {
				break
			}
			if err := nl.RouteReplace(&r); err != nil {
				return fmt.Errorf("route to %v: %w", r.Dst, err)
			}
		}
		for _, a := range f.addrs {
			err := nl.AddrDel(l, address(netip.PrefixFrom(a, a.BitLen())))
			if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return fmt.Errorf("remove %s: %w", a, err)
			}
		}
		return nil
	})
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		err = nil
	}
	if err == nil {
		f.host, f.link, f.restore = nil, "", nil
	}
	return err
}

// prefer makes the addresses the source of what the host sends over the link.
func (f *Floating) prefer(nl *netlink.Handle, l netlink.Link) error {
	for _, a := range f.addrs {
		family := netlink.FAMILY_V6
		if a.Is4() {
			family = netlink.FAMILY_V4
		}
		var routes []netlink.Route
		err := until(settle, func() (ok bool, err error) {
			routes, err = nl.RouteListFiltered(family, &netlink.Route{LinkIndex: l.Attrs().Index}, netlink.RT_FILTER_OIF)
			return err == nil, reread(err)
		})
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if !leadsTo(r, a) {
				continue
			}
			r.Flags = 0 // what the kernel reports of a next hop, and does not take
			old := r
			r.Src = a.AsSlice()
			if err := nl.RouteReplace(&r); err != nil {
				return fmt.Errorf("prefer %s on the route to %v: %w", a, r.Dst, err)
			}
			f.restore = append(f.restore, old)
		}
	}
	return nil
}

// leadsTo reports whether r is the route to a's own subnet, or to everywhere.
func leadsTo(r netlink.Route, a netip.Addr) bool {
	if r.Type != unix.RTN_UNICAST || len(r.MultiPath) > 0 {
		return false
	}
	if r.Dst == nil {
		return true
	}
	ones, bits := r.Dst.Mask.Size()
	return ones < bits && (ones == 0 || r.Gw == nil && r.Dst.Contains(net.IP(a.AsSlice())))
}

// announce sends each frame three times: it costs nothing, and one may get lost.
func (f *Floating) announce() error {
	if f.host == nil {
		return errors.New("testnet: announce a floating address that is nowhere")
	}
	return f.host.onLink("announce the floating address on", f.link, func(_ *netlink.Handle, l netlink.Link) error {
		if len(l.Attrs().HardwareAddr) != announce.MACLen {
			return nil // no Ethernet: nobody asks for addresses here
		}
		mac := [announce.MACLen]byte(l.Attrs().HardwareAddr)
		sender, err := f.sender()
		if err != nil {
			return err
		}
		return f.host.Do(func() error {
			router, err := readSysctl("net.ipv6.conf." + f.link + ".forwarding")
			if err != nil {
				router = "0" // no IPv6 in this kernel
			}
			var frames [][]byte
			for range 3 {
				for _, a := range f.addrs {
					frames = append(frames, announce.Frame(a, mac, router == "1"))
				}
			}
			return sender.Send(l.Attrs().Index, frames...)
		})
	})
}

// sender is kept, as those keep theirs who move addresses for a living: to close one
// takes longer than all of a move. The caller holds mu.
func (f *Floating) sender() (*announce.Sender, error) {
	if s := f.senders[f.host]; s != nil {
		return s, nil
	}
	var s *announce.Sender
	err := f.host.Do(func() (err error) {
		s, err = announce.Open()
		return err
	})
	if err == nil {
		err = f.net.employ(s)
	}
	if err != nil {
		return nil, err
	}
	if f.senders == nil {
		f.senders = map[*Host]*announce.Sender{}
	}
	f.senders[f.host] = s
	return s, nil
}
