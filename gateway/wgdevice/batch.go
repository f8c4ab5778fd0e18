package wgdevice

import (
	"net/netip"
	"slices"

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
// Remove or all Set, never both, and no key twice, because of a key that comes
// again the kernel would not be told everything. It is 0 if p does not start
// with one of them.
func batch(p gateway.Plan) int {
	var prefixes int
	var keys [batchPeers]wgkey.Public
	for n, s := range p {
		if n == batchPeers || s.Verb != p[0].Verb || s.Verb != gateway.Remove && s.Verb != gateway.Set {
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

// change works out what to do for one Remove or Set.
func (p present) change(s gateway.Step) change {
	c := change{peer: s.Peer, remove: s.Verb == gateway.Remove}
	if _, there := p[s.Peer.Key]; there {
		c.peer.Endpoint = netip.AddrPort{}
	}
	return c
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
