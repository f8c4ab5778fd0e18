package memdevice

import (
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// peers are the peers of an interface, and who of them has which prefix.
type peers struct {
	byKey map[wgkey.Public]*gateway.PeerState
	owner map[netip.Prefix]*gateway.PeerState
}

// set adds a peer, or makes one that is there be as asked for, without touching
// its session, its endpoint and its counters.
func (ps *peers) set(p gateway.Peer) {
	if ps.byKey == nil {
		ps.byKey = map[wgkey.Public]*gateway.PeerState{}
		ps.owner = map[netip.Prefix]*gateway.PeerState{}
	}
	have := ps.byKey[p.Key]
	if have == nil {
		have = &gateway.PeerState{Key: p.Key, Endpoint: p.Endpoint}
		ps.byKey[p.Key] = have
	}
	have.Preshared = p.Preshared
	have.Keepalive = p.Keepalive.Truncate(time.Second)
	ps.release(have)
	for _, prefix := range p.AllowedIPs {
		if other := ps.owner[prefix]; other != nil {
			other.AllowedIPs = slices.DeleteFunc(other.AllowedIPs, func(q netip.Prefix) bool { return q == prefix })
		}
		ps.owner[prefix] = have
		have.AllowedIPs = append(have.AllowedIPs, prefix)
	}
	slices.SortFunc(have.AllowedIPs, netip.Prefix.Compare)
}

// kick moves the endpoint of a peer, and says whether the peer is there.
func (ps *peers) kick(p gateway.Peer) bool {
	have := ps.byKey[p.Key]
	if have != nil {
		have.Endpoint, have.Keepalive = p.Endpoint, p.Keepalive.Truncate(time.Second)
	}
	return have != nil
}

func (ps *peers) release(p *gateway.PeerState) {
	for _, prefix := range p.AllowedIPs {
		delete(ps.owner, prefix)
	}
	p.AllowedIPs = nil
}

// remove ends a peer, session and all.
func (ps *peers) remove(key wgkey.Public) {
	if p := ps.byKey[key]; p != nil {
		ps.release(p)
		delete(ps.byKey, key)
	}
}

// observe writes all peers over list in key order, and reuses its memory.
func (ps *peers) observe(list []gateway.PeerState) []gateway.PeerState {
	list = slices.Grow(list, len(ps.byKey))
	for _, p := range ps.byKey {
		n := len(list)
		list = list[:n+1]
		allowed := list[n].AllowedIPs[:0]
		allowed = append(allowed, p.AllowedIPs...)
		list[n] = *p
		list[n].AllowedIPs = allowed
	}
	slices.SortFunc(list, func(a, b gateway.PeerState) int { return a.Key.Compare(b.Key) })
	return list
}
