package memdevice

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// do does one step as a kernel would.
func (l *link) do(s gateway.Step) error {
	switch s.Verb {
	case gateway.Remove:
		if l.exists {
			l.peers.remove(s.Peer.Key)
		}
	case gateway.Unroute:
		delete(l.routes, s.Route)
	case gateway.Destroy:
		l.destroy()
	case gateway.Configure:
		return l.configure(s.Fields, s.Interface)
	case gateway.Set:
		if !l.exists {
			return syscall.ENODEV
		}
		if s.Peer.Key != l.self { // a kernel says nothing to that, either
			l.peers.set(s.Peer)
		}
	case gateway.Route:
		switch {
		case !l.exists:
			return syscall.ENODEV
		case !l.up:
			return syscall.ENETDOWN
		}
		l.routes[s.Route] = true
	case gateway.Kick:
		switch {
		case !l.exists:
			return syscall.ENODEV
		case !s.Peer.Endpoint.IsValid():
			return syscall.EDESTADDRREQ
		}
		if l.peers.kick(s.Peer) && l.kicked != nil {
			l.kicked(s.Peer)
		}
	default:
		return fmt.Errorf("%v: %w", s.Verb, syscall.EINVAL)
	}
	return nil
}

func (l *link) destroy() {
	l.exists, l.up, l.filter = false, false, false
	l.iface, l.self = gateway.Interface{}, wgkey.Public{}
	clear(l.routes)
	l.peers = peers{}
	l.detours = nil
}

func (l *link) configure(f gateway.Fields, i gateway.Interface) error {
	switch {
	case !l.exists && f&gateway.FieldCreate == 0:
		return syscall.ENODEV
	case f&gateway.FieldPort != 0 && l.taken[i.Port]:
		return fmt.Errorf("listen on UDP port %d: %w", i.Port, syscall.EADDRINUSE)
	}
	l.exists = true
	if f&gateway.FieldKey != 0 {
		l.iface.Key, l.self = i.Key, i.Key.Public()
		l.peers.remove(l.self) // nobody is his own peer
	}
	if f&gateway.FieldPort != 0 {
		l.iface.Port = i.Port
	}
	if f&gateway.FieldMark != 0 {
		l.iface.Mark = i.Mark
	}
	if f&gateway.FieldMTU != 0 {
		l.iface.MTU = i.MTU
	}
	if f&gateway.FieldAddrs != 0 {
		l.address(i.Addrs)
	}
	if f&gateway.FieldFilter != 0 {
		l.iface.Masquerade, l.iface.Destinations = slices.Clone(i.Masquerade), slices.Clone(i.Destinations)
		l.iface.Inner = slices.Clone(i.Inner)
		l.iface.Isolated, l.filter = i.Isolated, true
	}
	if f&gateway.FieldForwarding != 0 {
		l.forward = true
	}
	if f&gateway.FieldUp != 0 {
		l.up = true
	}
	if f&gateway.FieldSource != 0 {
		l.iface.Floating = slices.Clone(i.Floating)
		l.floating.mark, l.floating.broken = l.iface.Mark, false
	}
	return nil
}

// address gives the interface new addresses. When the last IPv4 address goes,
// every IPv4 route goes with it.
func (l *link) address(addrs []netip.Prefix) {
	ipv4 := func(p netip.Prefix) bool { return p.Addr().Is4() }
	if slices.ContainsFunc(l.iface.Addrs, ipv4) && !slices.ContainsFunc(addrs, ipv4) {
		for r := range l.routes {
			if ipv4(r) {
				delete(l.routes, r)
			}
		}
	}
	l.iface.Addrs = slices.Clone(addrs)
}
