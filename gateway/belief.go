package gateway

import (
	"net/netip"
	"slices"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// believe changes s as a device changes by the steps of a plan that did not
// fail. The plan is one that Diff made of s: removals come before sets, and no
// prefix is claimed before its last owner lost it. Nothing of p is kept.
func believe(s *State, p Plan, failed map[int]error) {
	removed := map[wgkey.Public]bool{}
	for i, step := range p {
		if step.Verb == Remove && failed[i] == nil {
			removed[step.Peer.Key] = true
		}
	}
	if len(removed) > 0 {
		s.Peers = slices.DeleteFunc(s.Peers, func(p PeerState) bool { return removed[p.Key] })
	}
	known := len(s.Peers)
	for i, step := range p {
		if failed[i] != nil {
			continue
		}
		switch step.Verb {
		case Destroy:
			*s = State{Backend: s.Backend}
			known = 0
		case Configure:
			believeConfigure(s, step.Fields, step.Interface)
		case Set:
			believeSet(s, step.Peer, known)
		case Unroute:
			s.Routes = slices.DeleteFunc(s.Routes, func(r netip.Prefix) bool { return r == step.Route })
		case Route:
			if n, there := slices.BinarySearchFunc(s.Routes, step.Route, netip.Prefix.Compare); !there {
				s.Routes = slices.Insert(s.Routes, n, step.Route)
			}
		case Kick:
			if i := believed(s, step.Peer.Key, known); i < len(s.Peers) {
				s.Peers[i].Endpoint, s.Peers[i].Keepalive = step.Peer.Endpoint, step.Peer.Keepalive
			}
		case Remove: // done
		}
	}
	if len(s.Peers) > known {
		slices.SortFunc(s.Peers, func(a, b PeerState) int { return a.Key.Compare(b.Key) })
	}
}

// believed is where the peer is: among the first known ones, which are in key order,
// or after them. It is len(s.Peers) if the peer is not there.
func believed(s *State, key wgkey.Public, known int) int {
	if i, there := findPeerState(s.Peers[:known], key); there {
		return i
	}
	if n := slices.IndexFunc(s.Peers[known:], func(h PeerState) bool { return h.Key == key }); n >= 0 {
		return known + n
	}
	return len(s.Peers)
}

// believeSet puts the peer last if it is not there.
func believeSet(s *State, p Peer, known int) {
	i, there := findPeerState(s.Peers[:known], p.Key)
	if !there {
		i = len(s.Peers)
		s.Peers = append(s.Peers, PeerState{Key: p.Key, Endpoint: p.Endpoint})
	}
	h := &s.Peers[i]
	h.Preshared, h.Keepalive = p.Preshared, p.Keepalive
	h.AllowedIPs = slices.Clone(p.AllowedIPs)
}

func believeConfigure(s *State, f Fields, i Interface) {
	i = i.clone()
	s.Exists = true
	for _, c := range []struct {
		field Fields
		make  func()
	}{
		{FieldKey, func() { s.Interface.Key = i.Key }},
		{FieldPort, func() { s.Interface.Port = i.Port }},
		{FieldMark, func() { s.Interface.Mark = i.Mark }},
		{FieldMTU, func() { s.Interface.MTU = i.MTU }},
		{FieldAddrs, func() { s.Interface.Addrs = i.Addrs }},
		{FieldFilter, func() {
			s.Interface.Masquerade, s.Interface.Destinations = i.Masquerade, i.Destinations
			s.Interface.Isolated, s.Interface.Inner, s.Filtered = i.Isolated, i.Inner, true
		}},
		{FieldForwarding, func() { s.Forwarding = true }},
		{FieldUp, func() { s.Up = true }},
		{FieldSource, func() {
			s.Interface.Floating, s.Sourced = i.Floating, true
			s.Owned = slices.DeleteFunc(s.Owned, func(a netip.Addr) bool { return !slices.Contains(i.Floating, a) })
		}},
	} {
		if f&c.field != 0 {
			c.make()
		}
	}
}
