package gateway

import (
	"iter"
	"net/netip"
	"slices"
)

// Diff works out the Plan that leads from have to want, and is empty when there
// is nothing to do. It reads nothing but its arguments and changes neither; the
// same arguments always give the same Plan.
//
// What takes access away comes first: peers that are not wanted, or whose
// preshared key is another, go; a peer that has prefixes which it shall not have
// is first narrowed to those that it has and shall keep. Only then comes what
// gives: the interface, peers, routes; each group in key order. A prefix that
// moves from one peer to another so never has two claimants. Peers that are as
// wanted get no step. A peer that is there is not sent back to Peer.Endpoint.
//
// want is expected to be valid; a zero Interface asks for the end of all.
func Diff(want Config, have State) Plan {
	if want.Interface.IsZero() {
		return end(have)
	}
	if !have.Exists {
		have = State{}
	}
	peers := ordered(want.Peers, comparePeers)
	there := ordered(have.Peers, func(a, b PeerState) int { return a.Key.Compare(b.Key) })
	routes := wantedRoutes(want)
	ways := ordered(have.Routes, netip.Prefix.Compare)

	var p Plan
	for w, h := range pairs(peers, there) {
		if h != nil && !keeps(w, h) {
			p = append(p, Step{Verb: Remove, Peer: Peer{Key: h.Key}})
		}
	}
	for w, h := range pairs(peers, there) {
		if keeps(w, h) && !subset(h.AllowedIPs, w.AllowedIPs) {
			p = append(p, Step{Verb: Set, Peer: settled(w, common(w.AllowedIPs, h.AllowedIPs))})
		}
	}
	for _, r := range ways {
		if !has(routes, r) {
			p = append(p, Step{Verb: Unroute, Route: r})
		}
	}
	fields := differing(want.Interface, have)
	if fields != 0 {
		p = append(p, Step{Verb: Configure, Fields: fields, Interface: want.Interface})
	}
	for w, h := range pairs(peers, there) {
		switch {
		case w == nil:
		case !keeps(w, h):
			p = append(p, Step{Verb: Set, Peer: *w})
		case !subset(w.AllowedIPs, h.AllowedIPs),
			w.Keepalive != h.Keepalive && subset(h.AllowedIPs, w.AllowedIPs): // narrowing set it already
			p = append(p, Step{Verb: Set, Peer: settled(w, w.AllowedIPs)})
		}
	}
	for _, r := range routes {
		// The kernel drops routes with the last address of their family.
		if fields&FieldAddrs != 0 || !has(ways, r) {
			p = append(p, Step{Verb: Route, Route: r})
		}
	}
	return p
}

// end is the Plan that leaves nothing.
func end(have State) Plan {
	if !have.Exists {
		return nil
	}
	p := make(Plan, 0, len(have.Peers)+len(have.Routes)+1)
	for _, h := range ordered(have.Peers, func(a, b PeerState) int { return a.Key.Compare(b.Key) }) {
		p = append(p, Step{Verb: Remove, Peer: Peer{Key: h.Key}})
	}
	for _, r := range ordered(have.Routes, netip.Prefix.Compare) {
		p = append(p, Step{Verb: Unroute, Route: r})
	}
	return append(p, Step{Verb: Destroy})
}

// pairs joins two lists in key order: a key that only one has comes with nil
// for the other.
func pairs(want []Peer, have []PeerState) iter.Seq2[*Peer, *PeerState] {
	return func(yield func(*Peer, *PeerState) bool) {
		for w, h := 0, 0; w < len(want) || h < len(have); {
			var order int
			switch {
			case w == len(want):
				order = 1
			case h == len(have):
				order = -1
			default:
				order = want[w].Key.Compare(have[h].Key)
			}
			var a *Peer
			var b *PeerState
			if order <= 0 {
				a = &want[w]
				w++
			}
			if order >= 0 {
				b = &have[h]
				h++
			}
			if !yield(a, b) {
				return
			}
		}
	}
}

// keeps says that the peer is wanted and there, with the session it may have.
func keeps(w *Peer, h *PeerState) bool {
	return w != nil && h != nil && w.Preshared == h.Preshared
}

// settled is w as a Set of a peer that is there: its endpoint is its own.
func settled(w *Peer, allowed []netip.Prefix) Peer {
	p := *w
	p.AllowedIPs = allowed
	p.Endpoint = netip.AddrPort{}
	return p
}

// differing lists what of the interface has to be made right.
func differing(want Interface, have State) Fields {
	if !have.Exists {
		return FieldsAll
	}
	var f Fields
	for _, c := range []struct {
		field Fields
		right bool
	}{
		{FieldKey, want.Key == have.Interface.Key},
		{FieldPort, want.Port == have.Interface.Port},
		{FieldMark, want.Mark == have.Interface.Mark},
		{FieldMTU, want.MTU == have.Interface.MTU},
		{FieldAddrs, sameAddrs(want.Addrs, have.Interface.Addrs)},
		{FieldFilter, have.Filtered && sameFilter(want, have.Interface)},
		{FieldForwarding, have.Forwarding},
		{FieldUp, have.Up},
		{FieldSource, sameSource(want, have)},
	} {
		if !c.right {
			f |= c.field
		}
	}
	return f
}

// sameFilter compares what the filter table is made of.
func sameFilter(want, have Interface) bool {
	return same(want.Masquerade, have.Masquerade) && same(want.Destinations, have.Destinations) &&
		want.Isolated == have.Isolated && slices.Equal(want.Inner, have.Inner)
}

// sameSource compares what is sent from where. A new mark takes it along.
func sameSource(want Interface, have State) bool {
	return slices.Equal(want.Floating, have.Interface.Floating) &&
		(len(want.Floating) == 0 || have.Sourced && want.Mark == have.Interface.Mark)
}

// sameAddrs compares addresses, but for link-local ones that nobody asked for:
// those are the kernel's.
func sameAddrs(want, have []netip.Prefix) bool {
	if slices.Equal(want, have) {
		return true
	}
	ours := make([]netip.Prefix, 0, len(have))
	for _, p := range have {
		if !linkLocal(p.Addr()) || slices.Contains(want, p) {
			ours = append(ours, p)
		}
	}
	return same(want, ours)
}

func linkLocal(a netip.Addr) bool { return a.Is6() && a.IsLinkLocalUnicast() }

// wantedRoutes lists, in order, the prefixes of peers that need a route: those that
// are in no network of the interface's own.
func wantedRoutes(c Config) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range c.Peers {
		for _, r := range p.AllowedIPs {
			if !within(r, c.Interface.Addrs) {
				out = append(out, r)
			}
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

// has looks in a list that is in order.
func has(list []netip.Prefix, p netip.Prefix) bool {
	_, ok := slices.BinarySearchFunc(list, p, netip.Prefix.Compare)
	return ok
}

// within says that one of the networks holds all of p.
func within(p netip.Prefix, networks []netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool {
		return n.Bits() <= p.Bits() && n.Contains(p.Addr())
	})
}

// same compares two lists as sets.
func same(a, b []netip.Prefix) bool {
	return slices.Equal(a, b) || subset(a, b) && subset(b, a)
}

// subset says that all of a is in b.
func subset(a, b []netip.Prefix) bool {
	if slices.Equal(a, b) {
		return true
	}
	if len(a) < 8 {
		for _, p := range a {
			if !slices.Contains(b, p) {
				return false
			}
		}
		return true
	}
	return len(common(a, b)) == len(a)
}

// common returns what of a is in b too, in a's order.
func common(a, b []netip.Prefix) []netip.Prefix {
	in := make(map[netip.Prefix]bool, len(b))
	for _, p := range b {
		in[p] = true
	}
	var out []netip.Prefix
	for _, p := range a {
		if in[p] {
			out = append(out, p)
		}
	}
	return out
}
