package wgdevice

import (
	"net/netip"
	"slices"

	"github.com/holdfastvpn/holdfast/gateway"
)

// tidy puts peers in the order of their keys, their prefixes in order, and the
// parts of a peer that came in two together. Peers are swapped and never
// copied, so that no two of them ever share memory.
func tidy(peers []gateway.PeerState) []gateway.PeerState {
	slices.SortStableFunc(peers, func(a, b gateway.PeerState) int { return a.Key.Compare(b.Key) })
	last := -1
	for i := range peers {
		if last >= 0 && peers[last].Key == peers[i].Key {
			peers[last].AllowedIPs = append(peers[last].AllowedIPs, peers[i].AllowedIPs...)
			continue
		}
		last++
		peers[last], peers[i] = peers[i], peers[last]
	}
	peers = peers[:last+1]
	for i := range peers {
		p := &peers[i]
		slices.SortFunc(p.AllowedIPs, netip.Prefix.Compare)
		p.AllowedIPs = slices.Compact(p.AllowedIPs)
	}
	return peers
}
