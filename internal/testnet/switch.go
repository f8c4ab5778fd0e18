//go:build linux

package testnet

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
)

// bridge is the one device of a switch that is not a port.
const bridge = "br0"

// Switch joins any number of hosts to one Ethernet segment. Make one with
// [Net.Switch].
type Switch struct {
	node *Host

	mu    sync.Mutex
	ports map[*Host][]port
	count int
}

// port is where a cable ends in the switch.
type port struct {
	name string // the device in the switch
	link string // the device in the host
}

// Switch makes an Ethernet switch: no spanning tree, no snooping, so that a port
// forwards as soon as it is up. Names are as for [Net.Host]. It never returns
// nil: if the switch could not be made, its methods and [Net.Err] say why.
func (n *Net) Switch(name string) *Switch {
	s := &Switch{node: n.node(name), ports: make(map[*Host][]port)}
	if s.node.err != nil {
		return s
	}
	nl, off := s.node.Netlink(), false
	err := errors.Join(
		// The switch itself takes no part in any talk.
		s.node.Sysctl("net.ipv6.conf.default.disable_ipv6", "1"),
		nl.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}, MulticastSnooping: &off}),
		s.node.Up(bridge),
	)
	if err != nil {
		s.node.err = fmt.Errorf("testnet: make switch %s: %w", name, err)
	}
	return s
}

// Name returns the name that the switch was made with.
func (s *Switch) Name() string { return s.node.name }

// Attach plugs h in: device link of the host gets a cable to a new port, and the
// addresses. When it returns, packets pass.
func (s *Switch) Attach(h *Host, link string, prefixes ...netip.Prefix) error {
	if err := errors.Join(s.node.err, h.err); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := port{name: fmt.Sprintf("%.10s.%d", h.name, s.count), link: link}
	s.count++
	if err := h.net.cable(s.node, p.name, h, link); err != nil {
		return err
	}
	err := s.node.onLink("make a port of", p.name, func(nl *netlink.Handle, l netlink.Link) error {
		br, err := nl.LinkByName(bridge)
		if err != nil {
			return err
		}
		return nl.LinkSetMaster(l, br)
	})
	if err != nil {
		return err
	}
	s.ports[h] = append(s.ports[h], p)
	if err := errors.Join(s.node.Up(p.name), h.Up(link), h.Addr(link, prefixes...)); err != nil {
		return err
	}
	return errors.Join(s.node.carrier(p.name), h.carrier(link))
}

// Cut pulls the cables between h and the switch: nothing passes, and h sees that
// its link has no carrier. Addresses and routes stay.
func (s *Switch) Cut(h *Host) error {
	return s.each("cut", h, func(p port) error { return s.node.Down(p.name) })
}

// Heal undoes [Switch.Cut]. When it returns, packets pass.
func (s *Switch) Heal(h *Host) error {
	return s.each("heal", h, func(p port) error {
		if err := s.node.Up(p.name); err != nil {
			return err
		}
		return errors.Join(s.node.carrier(p.name), h.carrier(p.link))
	})
}

// each runs f on the ports of h.
func (s *Switch) each(what string, h *Host, f func(port) error) error {
	if err := errors.Join(s.node.err, h.err); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ports[h]) == 0 {
		return fmt.Errorf("testnet: %s %s: it is not attached to switch %s", what, h.name, s.node.name)
	}
	h.net.Markf("%s %s at %s", what, h.name, s.node.name)
	var errs []error
	for _, p := range s.ports[h] {
		errs = append(errs, f(p))
	}
	return errors.Join(errs...)
}
