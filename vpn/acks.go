package vpn

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// ConnectedFor is how long after its last report a gateway that watches counts
// as connected.
const ConnectedFor = 5 * time.Second

// acks is what gateways told this core, and what other cores say that they were
// told. The zero value knows nothing.
type acks struct {
	changed bell // something that others wait for
	news    bell // something that other cores should know soon

	mu     sync.Mutex
	own    map[link]*ack
	others map[string]told // by record key
}

// ack is what a gateway told of itself for a location.
type ack struct {
	status gateway.Status // but for Seen
	seen   map[wgkey.Public]gateway.Sighting
	at     time.Time // when it told last; zero: unknown
}

// member is what is known of a gateway's place in a location, from wherever.
type member struct {
	ack

	watching bool
	since    time.Time // when the Watch began
}

// connected says whether the gateway watches some core and was heard lately.
func (m member) connected(now time.Time) bool {
	heard := m.at
	if m.since.After(heard) {
		heard = m.since
	}
	return m.watching && now.Sub(heard) <= ConnectedFor
}

// take accepts a report. It is ErrGap when the report builds on one that is not
// here; a report from an earlier process of the gateway is ignored.
func (a *acks) take(at link, s gateway.Status, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.own[at]
	switch {
	case old != nil && s.Epoch < old.status.Epoch:
		return nil
	case !s.Full && (old == nil || s.Epoch != old.status.Epoch):
		return fmt.Errorf("%w: this core has no full report of that process", gateway.ErrGap)
	}
	next := &ack{status: s.Clone(), at: now}
	next.status.Seen = nil
	if old != nil && old.status.Epoch == s.Epoch && old.status.Restored {
		next.status.Restored = true // it says so until somebody has heard it
	}
	if s.Full {
		next.seen = make(map[wgkey.Public]gateway.Sighting, len(s.Seen))
	} else {
		next.seen = old.seen
	}
	for _, seen := range s.Seen {
		seen.By = at.gateway
		next.seen[seen.Key] = seen
	}
	if a.own == nil {
		a.own = map[link]*ack{}
	}
	a.own[at] = next
	if old == nil || old.status.Applied != s.Applied || old.status.Ready != s.Ready || old.status.Stalled != s.Stalled || len(old.status.Failed) != len(s.Failed) {
		a.news.ring()
	}
	a.changed.ring()
	return nil
}

// prune forgets gateways that are known not to serve a location any more.
func (a *acks) prune(registered func(gateway.ID) (gatewayRow, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.own, func(l link, _ *ack) bool {
		row, err := registered(l.gateway)
		return err == nil && row.bad == nil && !slices.Contains(row.Locations, l.location)
	})
}

// members merges what is known of a location's gateways: of two reports of one
// gateway the newer one counts, by process and then by age. Sightings are in it
// when asked for; they cost a copy.
func (a *acks) members(at location.ID, seen bool) map[gateway.ID]member {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := map[gateway.ID]member{}
	add := func(id gateway.ID, m member) {
		if !seen {
			m.seen = nil
		}
		old, known := all[id]
		if known && !newer(m.ack, old.ack) {
			m.ack = old.ack
		}
		if old.watching && (!m.watching || old.since.Before(m.since)) {
			m.watching, m.since = true, old.since
		}
		all[id] = m
	}
	for l, own := range a.own {
		if l.location == at {
			m := member{ack: *own}
			if seen {
				m.seen = maps.Clone(m.seen) // the next report changes it
			}
			add(l.gateway, m)
		}
	}
	for _, t := range a.others {
		if t.location == at {
			for id, m := range t.members {
				add(id, m)
			}
		}
	}
	return all
}

func newer(a, b ack) bool {
	if a.status.Epoch != b.status.Epoch {
		return a.status.Epoch > b.status.Epoch
	}
	return a.at.After(b.at)
}
