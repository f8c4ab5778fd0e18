package vpn

import (
	"context"
	"maps"
	"time"

	"github.com/holdfastvpn/holdfast/location"
)

// watchOut notes, until ctx ends, which gateways no core hears any more, and has their
// siblings told.
func (c *Core) watchOut(ctx context.Context) {
	const often = 500 * time.Millisecond
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.registry.miss(c.notHeard(c.now()))
		}
	}
}

// notHeard are the gateways that reported to a core, as far as this one knows, but not in
// the last 3 s, and are connected to none. Of whom nothing was ever heard nothing can be
// lost.
func (c *Core) notHeard(now time.Time) map[link]bool {
	const lately = 3 * time.Second // they report each 2 s; to another core it may be known before that they watch
	out := map[link]bool{}
	members := map[location.ID]bool{}
	for _, row := range c.registry.all() {
		for _, at := range row.Locations {
			members[at] = true
		}
	}
	for at := range members {
		for id, m := range c.members(at, false) {
			if !m.at.IsZero() && !m.connected(now) && now.Sub(m.at) >= lately {
				out[link{id, at}] = true
			}
		}
	}
	return out
}

// miss takes in who is not heard.
func (r *registry) miss(now map[link]bool) {
	r.mu.Lock()
	same := maps.Equal(r.missing, now)
	if !same {
		r.missing, r.serving = now, nil
	}
	r.mu.Unlock()
	if !same {
		r.changed.ring()
	}
}
