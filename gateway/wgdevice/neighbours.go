//go:build linux

package wgdevice

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice/announce"
)

// announce tells the neighbours where addresses are now, as whoever moved them does,
// too, but perhaps a moment later: until they have heard it, what clients answer goes
// to the machine that had the addresses before. On links without Ethernet nobody asks.
func (s *sources) announce(ctx context.Context, fresh []netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	addrs, err := again(ctx, func() ([]netlink.Addr, error) { return s.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", explain(err))
	}
	var errs []error
	for _, have := range addrs {
		a, ok := netip.AddrFromSlice(have.IP)
		if a = a.Unmap(); !ok || !slices.Contains(fresh, a) {
			continue
		}
		link, err := s.nl.LinkByIndex(have.LinkIndex)
		if err != nil {
			errs = append(errs, fmt.Errorf("announce %s: %w", a, explain(err)))
			continue
		}
		mac := link.Attrs().HardwareAddr
		if len(mac) != announce.MACLen {
			continue
		}
		frame := announce.Frame(a, [announce.MACLen]byte(mac), a.Is6() && s.routes(link.Attrs().Name))
		if err := s.ns.do(func() error { return announce.Send(link.Attrs().Index, frame, frame) }); err != nil {
			errs = append(errs, fmt.Errorf("announce %s on %s: %w", a, link.Attrs().Name, err))
		}
	}
	return errors.Join(errs...)
}

// routes says whether the machine is a router for IPv6 on the link: an announcement
// that denied it would have neighbours drop their routes.
func (s *sources) routes(link string) (yes bool) {
	_ = s.ns.do(func() (err error) {
		yes, err = readSwitch("net/ipv6/conf/" + link + "/forwarding")
		return err
	})
	return yes
}
