package gateway

import (
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const (
	// coarse is how much newer a sign of life is told while a peer talks: what
	// siblings have to know at once is who carries it, and where it is.
	coarse = 5 * time.Second
	// quiet is how long a peer has to say nothing until the exact instant of its
	// last sign of life is told: the end of its session is counted from there.
	quiet = 2 * time.Second
)

// gossip chooses what to tell one sibling, so that peers who talk all the time are
// not told of all the time.
type gossip struct {
	told map[wgkey.Public]Sighting
}

// full returns all of seen that can matter to anybody, and begins anew.
func (g *gossip) full(seen []Sighting, now time.Time) []Sighting {
	g.told = make(map[wgkey.Public]Sighting, len(seen))
	return g.next(seen, now)
}

// next returns those of seen, which is all that the gateway saw, that the sibling
// has to know now. It reuses the memory of seen.
func (g *gossip) next(seen []Sighting, now time.Time) []Sighting {
	if len(g.told) > len(seen) { // who went is not remembered for ever
		still := make(map[wgkey.Public]Sighting, len(seen))
		for i := range seen {
			if old, ok := g.told[seen[i].Key]; ok {
				still[seen[i].Key] = old
			}
		}
		g.told = still
	}
	return slices.DeleteFunc(seen, func(s Sighting) bool {
		old, known := g.told[s.Key]
		if !g.worth(old, s, known, now) {
			return true
		}
		g.told[s.Key] = s
		return false
	})
}

func (g *gossip) worth(old, s Sighting, known bool, now time.Time) bool {
	switch {
	case !known:
		return now.Sub(s.Heard) < alive || now.Sub(s.Handshake) < alive
	case !s.Handshake.Equal(old.Handshake), s.Endpoint != old.Endpoint:
		return true
	case s.Heard.Equal(old.Heard):
		return false
	default:
		return s.Heard.Sub(old.Heard) >= coarse || now.Sub(s.Heard) >= quiet
	}
}
