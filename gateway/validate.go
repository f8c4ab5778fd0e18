package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const (
	minMTU       = 1280 // what IPv6 needs
	maxMTU       = 9000
	maxKeepalive = 65535 * time.Second // 16 bits of seconds
)

// Validate returns nil if a device can be made to be as c says, or else a
// *FieldError for the first thing that is wrong. It refuses the zero Interface:
// that is how a location ends, and nothing to make by accident.
func (c Config) Validate() error {
	if err := c.Interface.validate(); err != nil {
		return err
	}
	var wrong error
	c.check(func(_ int, err *FieldError) bool {
		wrong = err
		return false
	})
	return wrong
}

// check calls bad for each thing that is wrong with a peer, with the index of
// the peer that would have to go, until bad returns false.
func (c Config) check(bad func(i int, err *FieldError) bool) {
	self := c.Interface.Key.Public()
	owner := make(map[netip.Prefix]int, len(c.Peers))
	for i, p := range c.Peers {
		err := p.validate(self)
		switch {
		case err != nil:
		case i > 0 && p.Key == c.Peers[i-1].Key:
			err = &FieldError{"Key", "is that of the peer before it: one row a key"}
		case i > 0 && comparePeers(c.Peers[i-1], p) > 0:
			err = &FieldError{"Key", "is out of order: Config.Canonical sorts"}
		default:
			err = claim(owner, p, i, c.Peers)
		}
		if err != nil && !bad(i, &FieldError{fmt.Sprintf("Peers[%d].%s", i, err.Field), err.Reason}) {
			return
		}
	}
}

// claim notes who has which prefix: all of p's, or none if one is taken.
func claim(owner map[netip.Prefix]int, p Peer, i int, peers []Peer) *FieldError {
	for n, prefix := range p.AllowedIPs {
		if other, taken := owner[prefix]; taken {
			return &FieldError{
				fmt.Sprintf("AllowedIPs[%d]", n),
				fmt.Sprintf("%v is also that of peer %v: a prefix leads to one peer", prefix, peers[other].Key),
			}
		}
	}
	for _, prefix := range p.AllowedIPs {
		owner[prefix] = i
	}
	return nil
}

func (i Interface) validate() error {
	var err *FieldError
	switch {
	case i.IsZero():
		err = &FieldError{"", "asks for no interface: a location ends by an Update only"}
	case i.Key.IsZero():
		err = &FieldError{"Key", "is missing: set the location's private key"}
	case i.Port == 0:
		err = &FieldError{"Port", "is 0: want 1 to 65535"}
	case i.MTU < minMTU || i.MTU > maxMTU:
		err = &FieldError{"MTU", fmt.Sprintf("is %d: want %d to %d bytes", i.MTU, minMTU, maxMTU)}
	case len(i.Addrs) == 0:
		err = &FieldError{"Addrs", "is empty: the interface needs an address in each of its networks"}
	default:
		if err = validateAddrs(i.Addrs); err == nil {
			err = validateFloating(i)
		}
		if err == nil {
			err = validatePrefixes("Masquerade", i.Masquerade)
		}
		if err == nil {
			err = validatePrefixes("Destinations", i.Destinations)
		}
		if err == nil {
			err = validateInner(i)
		}
	}
	if err == nil {
		return nil
	}
	if err.Field == "" {
		return &FieldError{"Interface", err.Reason}
	}
	return &FieldError{"Interface." + err.Field, err.Reason}
}

func validateAddrs(addrs []netip.Prefix) *FieldError {
	for n, p := range addrs {
		field, a := fmt.Sprintf("Addrs[%d]", n), p.Addr()
		switch {
		case !p.IsValid() || a.Is4In6():
			return &FieldError{field, fmt.Sprintf("is %v: want an address and the length of its network", p)}
		case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
			return &FieldError{field, fmt.Sprintf("is %v: want an address of one host", p)}
		case n > 0 && addrs[n-1].Compare(p) > 0:
			return &FieldError{field, fmt.Sprintf("is %v, which is out of order: Config.Canonical sorts", p)}
		case slices.ContainsFunc(addrs[:n], func(q netip.Prefix) bool { return q.Addr() == a }):
			return &FieldError{field, fmt.Sprintf("is %v, an address that stands there already", p)}
		}
	}
	return nil
}

// validateFloating wants addresses that a client can send to. Without a mark there
// would be no telling which packets are to leave from them.
func validateFloating(i Interface) *FieldError {
	if err := validateMoving("Floating", i.Floating, i.Addrs); err != nil {
		return err
	}
	if len(i.Floating) > 0 && i.Mark == 0 {
		return &FieldError{"Mark", "is 0: floating addresses need one, by which their packets are known"}
	}
	return nil
}

// validateInner wants addresses of which it is clear which one a packet gets.
func validateInner(i Interface) *FieldError {
	if err := validateMoving("Inner", i.Inner, i.Addrs); err != nil {
		return err
	}
	for n, a := range i.Inner {
		field := fmt.Sprintf("Inner[%d]", n)
		switch {
		case n > 0 && i.Inner[n-1].Is4() == a.Is4():
			return &FieldError{field, fmt.Sprintf("is %v, a second one of its family: packets can get one only", a)}
		case slices.Contains(i.Floating, a):
			return &FieldError{field, fmt.Sprintf("is %v, which is in Floating: clients dial that one", a)}
		}
	}
	return nil
}

// validateMoving wants addresses, in order and outside of the tunnel, that one host
// has at a time and others can reach.
func validateMoving(name string, list []netip.Addr, tunnel []netip.Prefix) *FieldError {
	for n, a := range list {
		field := fmt.Sprintf("%s[%d]", name, n)
		switch {
		case !a.IsValid() || a.Is4In6() || a.Zone() != "":
			return &FieldError{field, fmt.Sprintf("is %v: want an address without a zone", a)}
		case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast():
			return &FieldError{field, fmt.Sprintf("is %v: want an address of one host that others can reach", a)}
		case n > 0 && list[n-1].Compare(a) >= 0:
			return &FieldError{field, fmt.Sprintf("is %v, which is out of order, or there twice: Config.Canonical sorts", a)}
		case slices.ContainsFunc(tunnel, func(p netip.Prefix) bool { return p.Contains(a) }):
			return &FieldError{field, fmt.Sprintf("is %v, which is inside the tunnel", a)}
		}
	}
	return nil
}

func validatePrefixes(field string, prefixes []netip.Prefix) *FieldError {
	for n, p := range prefixes {
		reason := ""
		switch {
		case !p.IsValid() || p.Addr().Is4In6():
			reason = fmt.Sprintf("is %v: want an IPv4 or IPv6 prefix", p)
		case p != p.Masked():
			reason = fmt.Sprintf("is %v: write it as %v", p, p.Masked())
		case n > 0 && prefixes[n-1] == p:
			reason = fmt.Sprintf("is %v once more", p)
		case n > 0 && prefixes[n-1].Compare(p) > 0:
			reason = fmt.Sprintf("is %v, which is out of order: Config.Canonical sorts", p)
		}
		if reason != "" {
			return &FieldError{fmt.Sprintf("%s[%d]", field, n), reason}
		}
	}
	return nil
}

// validate looks at the peer alone; self is the interface's own public key.
func (p Peer) validate(self wgkey.Public) *FieldError {
	switch e := p.Endpoint; {
	case p.Key.IsZero():
		return &FieldError{"Key", "is missing"}
	case p.Key == self:
		return &FieldError{"Key", "is the interface's own, which WireGuard ignores as a peer"}
	case p.Keepalive < 0 || p.Keepalive > maxKeepalive || p.Keepalive%time.Second != 0:
		return &FieldError{"Keepalive", fmt.Sprintf("is %v: want whole seconds, 0 (off) to 65535", p.Keepalive)}
	case e == netip.AddrPort{}:
	case !e.IsValid() || e.Port() == 0 || e.Addr().Zone() != "" || e.Addr().Is4In6() ||
		e.Addr().IsUnspecified() || e.Addr().IsMulticast():
		return &FieldError{"Endpoint", fmt.Sprintf("is %v: want an address of one host, without a zone, and a port", e)}
	}
	return validatePrefixes("AllowedIPs", p.AllowedIPs)
}
