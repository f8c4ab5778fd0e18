package vpn

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
)

// witness makes events of what the gateways that watch this core go through. Of
// several cores the one that a gateway watched last tells of it.
type witness struct {
	c     *Core
	known map[link]testimony
}

// testimony is what was told of a gateway's place last.
type testimony struct {
	connected bool
	away      time.Time // since then it is not connected; zero: it is
	failing   bool
	restored  bool
	epoch     uint64
	drifts    uint64
}

// witness looks until ctx ends.
func (c *Core) witness(ctx context.Context) {
	const often = 250 * time.Millisecond
	w := &witness{c: c, known: map[link]testimony{}}
	for sleep(ctx, often, nil) {
		w.look(ctx)
	}
}

// look compares what is with what was told, and tells the difference.
func (w *witness) look(ctx context.Context) {
	now := w.c.now()
	for _, at := range w.places() {
		old := w.known[at]
		m := w.c.members(at.location, false)[at.gateway]
		_, here := w.c.links.since(at)
		next := old
		if next.epoch = m.status.Epoch; next.epoch != old.epoch {
			next.drifts, next.restored = 0, false
		}
		switch connected := m.connected(now); {
		case connected:
			next.connected, next.away = true, time.Time{}
		case old.away.IsZero():
			next.away = now
		case now.Sub(old.away) >= ConnectedFor: // not for each short break
			next.connected = false
		}
		tell := func(what, text string) { w.tell(ctx, at, what, text) }
		switch {
		case next.connected && !old.connected && here:
			tell(GatewayConnected, fmt.Sprintf("%s, WireGuard of the %s", m.status.Version, m.status.Backend))
		case old.connected && !next.connected:
			tell(GatewayLost, fmt.Sprintf("last heard %v ago", now.Sub(m.at).Round(time.Second)))
		}
		if here && next.connected && next.away.IsZero() {
			if m.status.Restored && !next.restored {
				tell(GatewayRestored, "it started without a core, from what it was told last")
				next.restored = true
			}
			if n := m.status.Drifts; n > next.drifts {
				tell(GatewayDrifted, fmt.Sprintf("%d changes by others were repaired: %s", n-next.drifts, texts(m.status.Drift, n-next.drifts)))
				next.drifts = n
			}
			switch failing := len(m.status.Failed) > 0; {
			case failing && !old.failing:
				tell(GatewayFailing, texts(m.status.Failed, uint64(len(m.status.Failed))))
				next.failing = true
			case !failing && old.failing:
				tell(GatewayRecovered, "")
				next.failing = false
			}
		}
		if !here && (next.away.IsZero() || !next.connected) { // another core tells, or nobody has to
			delete(w.known, at)
			continue
		}
		w.known[at] = next
	}
}

// places are those where gateways watch this core, or did.
func (w *witness) places() []link {
	var all []link
	for at := range w.known {
		all = append(all, at)
	}
	for _, at := range w.c.links.all() {
		if _, known := w.known[at]; !known {
			all = append(all, at)
		}
	}
	return all
}

func (w *witness) tell(ctx context.Context, at link, what, text string) {
	row, err := w.c.registry.get(at.gateway)
	if err != nil {
		return // removed: that was told
	}
	w.c.events.note(ctx, Event{
		What: what, Subject: string(at.gateway), Name: row.Name, Locations: []location.ID{at.location}, Text: text,
	})
}

// texts are the last n problems, in words.
func texts(list []gateway.Problem, n uint64) string {
	if uint64(len(list)) > n {
		list = list[uint64(len(list))-n:]
	}
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.What
	}
	return strings.Join(out, "; ")
}
