package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// IsZero says whether i asks for no interface at all.
func (i Interface) IsZero() bool {
	return i.Key.IsZero() && i.Port == 0 && len(i.Addrs) == 0 && i.MTU == 0 && i.Mark == 0 &&
		len(i.Masquerade) == 0 && len(i.Destinations) == 0 && !i.Isolated && len(i.Floating) == 0 && len(i.Inner) == 0 && !i.Carried
}

// Equal says whether both ask for the same. An empty list is no list.
func (i Interface) Equal(other Interface) bool {
	return i.Key == other.Key && i.Port == other.Port && i.MTU == other.MTU && i.Mark == other.Mark &&
		slices.Equal(i.Addrs, other.Addrs) && slices.Equal(i.Masquerade, other.Masquerade) &&
		slices.Equal(i.Destinations, other.Destinations) && i.Isolated == other.Isolated &&
		slices.Equal(i.Floating, other.Floating) && slices.Equal(i.Inner, other.Inner) &&
		i.Carried == other.Carried
}

// String tells all but the key.
func (i Interface) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "port %d, addresses %s, mtu %d", i.Port, list(i.Addrs), i.MTU)
	if i.Mark != 0 {
		fmt.Fprintf(&b, ", mark %#x", i.Mark)
	}
	if len(i.Floating) > 0 {
		fmt.Fprintf(&b, ", floating %s", list(i.Floating))
	}
	if len(i.Masquerade) > 0 {
		fmt.Fprintf(&b, ", masquerade %s", list(i.Masquerade))
	}
	if len(i.Inner) > 0 {
		fmt.Fprintf(&b, ", inner %s", list(i.Inner))
	}
	if i.Carried {
		b.WriteString(", carried")
	}
	if len(i.Destinations) > 0 {
		fmt.Fprintf(&b, ", destinations %s", list(i.Destinations))
	}
	if i.Isolated {
		b.WriteString(", isolated")
	}
	return b.String()
}

// Equal says whether both rows ask for the same. An empty list is no list.
func (p Peer) Equal(other Peer) bool {
	return p.Key == other.Key && p.Preshared == other.Preshared && p.Keepalive == other.Keepalive &&
		p.Endpoint == other.Endpoint && slices.Equal(p.AllowedIPs, other.AllowedIPs)
}

// String tells all but the preshared key, of which it says whether there is one.
func (p Peer) String() string {
	var b strings.Builder
	b.WriteString(p.Key.String())
	b.WriteByte(' ')
	b.WriteString(list(p.AllowedIPs))
	if !p.Preshared.IsZero() {
		b.WriteString(" preshared")
	}
	if p.Keepalive != 0 {
		fmt.Fprintf(&b, " keepalive %v", p.Keepalive)
	}
	if p.Endpoint.IsValid() {
		fmt.Fprintf(&b, " endpoint %v", p.Endpoint)
	}
	return b.String()
}

// Equal says whether both ask for the same at the same revision.
func (c Config) Equal(other Config) bool {
	return c.Revision == other.Revision && c.Interface.Equal(other.Interface) &&
		slices.EqualFunc(c.Peers, other.Peers, Peer.Equal)
}

// Clone returns a copy that shares no memory with c.
func (c Config) Clone() Config {
	c.Interface = c.Interface.clone()
	c.Peers = slices.Clone(c.Peers)
	for i := range c.Peers {
		c.Peers[i] = c.Peers[i].clone()
	}
	return c
}

// Peer returns the row with the key.
func (c Config) Peer(key wgkey.Public) (Peer, bool) {
	if i, ok := findPeer(c.Peers, key); ok {
		return c.Peers[i], true
	}
	return Peer{}, false
}

// Clone returns a copy that shares no memory with u.
func (u Update) Clone() Update {
	if u.Interface != nil {
		i := u.Interface.clone()
		u.Interface = &i
	}
	u.Remove = slices.Clone(u.Remove)
	u.Set = slices.Clone(u.Set)
	for i := range u.Set {
		u.Set[i] = u.Set[i].clone()
	}
	return u
}

// Clone returns a copy that shares no memory with s.
func (s Status) Clone() Status {
	s.Failed = slices.Clone(s.Failed)
	s.Drift = slices.Clone(s.Drift)
	s.Seen = slices.Clone(s.Seen)
	return s
}

// Clone returns a copy that shares no memory with s.
func (s State) Clone() State {
	s.Interface = s.Interface.clone()
	s.Owned = slices.Clone(s.Owned)
	s.Routes = slices.Clone(s.Routes)
	s.Problems = slices.Clone(s.Problems)
	s.Peers = slices.Clone(s.Peers)
	for i := range s.Peers {
		s.Peers[i].AllowedIPs = slices.Clone(s.Peers[i].AllowedIPs)
	}
	return s
}

func (i Interface) clone() Interface {
	i.Addrs = slices.Clone(i.Addrs)
	i.Masquerade = slices.Clone(i.Masquerade)
	i.Destinations = slices.Clone(i.Destinations)
	i.Floating = slices.Clone(i.Floating)
	i.Inner = slices.Clone(i.Inner)
	return i
}

func (p Peer) clone() Peer {
	p.AllowedIPs = slices.Clone(p.AllowedIPs)
	return p
}

// Canonical returns c in the form that Validate asks for, as far as form goes:
// prefixes masked, lists in order and without repetition, keepalives cut to
// whole seconds, endpoints without IPv4 in IPv6. It changes no meaning, repairs
// nothing that is wrong, and shares no memory with c.
func (c Config) Canonical() Config {
	c = c.Clone()
	slices.SortFunc(c.Interface.Addrs, netip.Prefix.Compare)
	c.Interface.Addrs = slices.Compact(c.Interface.Addrs)
	c.Interface.Floating = unmapped(c.Interface.Floating)
	c.Interface.Inner = unmapped(c.Interface.Inner)
	c.Interface.Masquerade = masked(c.Interface.Masquerade)
	c.Interface.Destinations = masked(c.Interface.Destinations)
	for i := range c.Peers {
		p := &c.Peers[i]
		p.AllowedIPs = masked(p.AllowedIPs)
		p.Keepalive = p.Keepalive.Truncate(time.Second)
		if p.Endpoint.Addr().Is4In6() {
			p.Endpoint = netip.AddrPortFrom(p.Endpoint.Addr().Unmap(), p.Endpoint.Port())
		}
	}
	slices.SortStableFunc(c.Peers, comparePeers)
	c.Peers = slices.CompactFunc(c.Peers, Peer.Equal)
	return c
}

// masked masks, sorts and compacts in place. What is no prefix stays, first.
func masked(list []netip.Prefix) []netip.Prefix {
	for i, p := range list {
		if p.IsValid() {
			list[i] = p.Masked()
		}
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}

// unmapped writes IPv4 as such, sorts and compacts in place.
func unmapped(list []netip.Addr) []netip.Addr {
	for i, a := range list {
		list[i] = a.Unmap()
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

func comparePeers(a, b Peer) int { return a.Key.Compare(b.Key) }

func findPeer(peers []Peer, key wgkey.Public) (int, bool) {
	return slices.BinarySearchFunc(peers, key, func(p Peer, k wgkey.Public) int { return p.Key.Compare(k) })
}

func findPeerState(peers []PeerState, key wgkey.Public) (int, bool) {
	return slices.BinarySearchFunc(peers, key, func(p PeerState, k wgkey.Public) int { return p.Key.Compare(k) })
}

// list joins prefixes or addresses for people.
func list[T fmt.Stringer](all []T) string {
	if len(all) == 0 {
		return "none"
	}
	text := make([]string, len(all))
	for i, p := range all {
		text[i] = p.String()
	}
	return strings.Join(text, ",")
}
