package location

import (
	"fmt"
	"net/netip"
)

// ParsePrefix reads a prefix as people type it, strictly: the length has to be
// there, and no bit beyond it may be set, because a typing error in either would
// silently be another network. The error says what was probably meant.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
		return netip.Prefix{}, fmt.Errorf("location: prefix %q has no length: write %s/%d for this one address", s, a, a.BitLen())
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("location: %q is not a prefix: write it like 10.20.0.0/16 or fd20::/64", s)
	}
	if reason := canonical(p); reason != "" {
		return netip.Prefix{}, fmt.Errorf("location: prefix %q %s", s, reason)
	}
	return p, nil
}

// Contains says whether all of inner is in outer. An invalid prefix contains
// nothing and is nowhere.
func Contains(outer, inner netip.Prefix) bool {
	return inner.IsValid() && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// Range returns the first and the last address of p, both in p. Those of an
// invalid prefix are invalid.
func Range(p netip.Prefix) (first, last netip.Addr) {
	p = p.Masked()
	if !p.IsValid() {
		return netip.Addr{}, netip.Addr{}
	}
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	last, _ = netip.AddrFromSlice(b)
	return p.Addr(), last
}

// Usable says whether an interface in network may have the address: it is
// inside, and neither the network's first address (in IPv6 the anycast address
// of its routers) nor, in IPv4, its last (broadcast).
func Usable(network netip.Prefix, a netip.Addr) bool {
	first, last := Range(network)
	return network.Contains(a) && a.Zone() == "" && a != first && (a.Is6() || a != last)
}

// GatewayAddrs returns the gateways' own address in each network, with the
// network's length: the one in Gateway, or else the network's first usable
// address. They are in the order of Networks. Networks that are invalid, or too
// small to have a usable address, are left out.
func (l Location) GatewayAddrs() []netip.Prefix {
	out := make([]netip.Prefix, 0, len(l.Networks))
	for _, n := range l.Networks {
		a := n.Masked().Addr().Next()
		for _, g := range l.Gateway {
			if n.Contains(g) {
				a = g
				break
			}
		}
		if Usable(n, a) {
			out = append(out, netip.PrefixFrom(a, n.Bits()))
		}
	}
	return out
}

// canonical says why p is not the one way to write its network; "" if it is.
func canonical(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return "is not a prefix: write it like 10.20.0.0/16 or fd20::/64"
	case p.Addr().Is4In6():
		return "is IPv4 written as IPv6: write it as IPv4"
	case p != p.Masked():
		return fmt.Sprintf("has bits set beyond its length: write %s for the network, or %s/%d for the one address",
			p.Masked(), p.Addr(), p.Addr().BitLen())
	}
	return ""
}

// special are ranges that no peer can have, and why.
var special = []struct { //nolint:gochecknoglobals // a table that nobody writes
	of  netip.Prefix
	why string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "addresses that mean this host"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback addresses"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local addresses"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast addresses"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved and broadcast addresses"},
	{netip.MustParsePrefix("::/8"), "loopback, mapped and reserved addresses"},
	{netip.MustParsePrefix("fe80::/10"), "link-local addresses"},
	{netip.MustParsePrefix("ff00::/8"), "multicast addresses"},
}

// CheckPrefix says what keeps p from being a network with peers in it or behind
// them: it is not masked, or part of it is not ordinary unicast (loopback,
// link-local, multicast, unspecified, reserved). The error is a bare reason,
// such as for a [FieldError].
func CheckPrefix(p netip.Prefix) error {
	if reason := canonical(p); reason != "" {
		return fmt.Errorf("%s %s", p, reason)
	}
	for _, s := range special {
		if s.of.Overlaps(p) {
			return fmt.Errorf("%s has %s (%s): choose a network of ordinary addresses, such as one in 10.0.0.0/8 or fd00::/8", p, s.why, s.of)
		}
	}
	return nil
}
