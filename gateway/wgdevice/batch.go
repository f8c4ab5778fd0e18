package wgdevice

import (
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// What fits into one message to the kernel. With more, the client of the
// kernel's WireGuard falls back to a message for each peer.
const (
	batchPeers    = 32
	batchPrefixes = 256
)

// wipeFrom is from how many removals on it is worth looking whether no peer is
// left. The kernel takes milliseconds for each peer that is removed, since it
// waits for all its processors, and once that for all of them together.
const wipeFrom = 64

// batch returns how many steps at the start of p fit into one message: all
// Remove, all Set or all Kick, never mixed, and no key twice, because of a key
// that comes again the kernel would not be told everything. It is 0 if p does not
// start with one of them.
func batch(p gateway.Plan) int {
	var prefixes int
	var keys [batchPeers]wgkey.Public
	for n, s := range p {
		if n == batchPeers || s.Verb != p[0].Verb || !ofPeer(s.Verb) {
			return n
		}
		if s.Verb == gateway.Kick && !s.Peer.Endpoint.IsValid() {
			return n
		}
		if s.Verb == gateway.Set {
			prefixes += len(s.Peer.AllowedIPs)
		}
		if n > 0 && prefixes > batchPrefixes {
			return n
		}
		if slices.Contains(keys[:n], s.Peer.Key) {
			return n
		}
		keys[n] = s.Peer.Key
	}
	return len(p)
}

// ofPeer says whether a step with the verb is about a peer alone.
func ofPeer(v gateway.Verb) bool {
	return v == gateway.Remove || v == gateway.Set || v == gateway.Kick
}

// run returns how many steps at the start of p have the verb.
func run(p gateway.Plan, verb gateway.Verb) int {
	for n, s := range p {
		if s.Verb != verb {
			return n
		}
	}
	return len(p)
}

// present is the peers that a device has. Nil means that nobody needed to know.
type present map[wgkey.Public]struct{}

// needsPresent says whether p cannot be done well without knowing which peers
// there are: an endpoint is only for a peer that is new, and removing all of
// them goes faster at once.
func needsPresent(p gateway.Plan) bool {
	var removals int
	for _, s := range p {
		if s.Verb == gateway.Set && s.Peer.Endpoint.IsValid() {
			return true
		}
		if s.Verb == gateway.Remove {
			removals++
		}
	}
	return removals >= wipeFrom
}

// change works out what to do for one Remove, Set or Kick.
func (p present) change(s gateway.Step) change {
	c := change{peer: s.Peer, remove: s.Verb == gateway.Remove, kick: s.Verb == gateway.Kick}
	if _, there := p[s.Peer.Key]; there && !c.kick {
		c.peer.Endpoint = netip.AddrPort{}
	}
	return c
}

// nudge is any keepalive that is not the one that a peer is to have: that it is
// turned on makes WireGuard send one at once.
const nudge = 25 * time.Second

// kicks are the two messages of a batch of kicks. Turning the keepalive on has
// WireGuard send, and no timer of the first one outlives the second.
func kicks(c []change) (first, second []change) {
	first = slices.Clone(c)
	second = c
	for i := range first {
		if first[i].peer.Keepalive == 0 {
			first[i].peer.Keepalive = nudge
		} else { // it is turned off, and on by the second one
			first[i].peer.Keepalive = 0
		}
		second[i].peer.Endpoint = netip.AddrPort{}
	}
	return first, second
}

// did keeps p as the step left it.
func (p present) did(s gateway.Step) {
	switch {
	case p == nil:
	case s.Verb == gateway.Remove:
		delete(p, s.Peer.Key)
	case s.Verb == gateway.Set:
		p[s.Peer.Key] = struct{}{}
	}
}

// allIn says whether the removals at the start of the plan leave no peer.
func (p present) allIn(plan gateway.Plan) bool {
	if p == nil || len(plan) < len(p) {
		return false
	}
	left := len(p)
	seen := make(present, len(plan))
	for _, s := range plan {
		if _, again := seen[s.Peer.Key]; again {
			continue
		}
		seen[s.Peer.Key] = struct{}{}
		if _, there := p[s.Peer.Key]; there {
			left--
		}
	}
	return left == 0
}
