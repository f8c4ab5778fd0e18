package gateway

import (
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// recent is how long ago a core may have been heard for what it says of siblings to
// hold: it takes a report each 2 s.
const recent = 5 * time.Second

// loss is a sibling that is lost, and who survives it.
type loss struct {
	id        ID
	owned     []netip.Addr // what it had
	survivors []ID
}

// losses finds who is lost now and was not before.
func (s *siblings) losses(core bool, now time.Time) []ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]account, 0, len(s.known))
	for _, one := range s.known {
		list = append(list, one.account)
	}
	ids := gone(list, core, now)
	for _, id := range ids {
		s.known[id].lost = true
	}
	return ids
}

// missing are the siblings that were heard once and are not now, in order.
func (s *siblings) missing(now time.Time) (ids []ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, one := range s.known {
		if one.silent(now) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// survive returns what a lost sibling had, and who is left that has any of it. It is
// false if the sibling is there again.
func (s *siblings) survive(id, self ID, now time.Time) (l loss, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.known[id]
	if one == nil || !one.lost {
		return l, false
	}
	l = loss{id: id, owned: one.last.Owns, survivors: []ID{self}}
	for other, o := range s.known {
		some := slices.ContainsFunc(o.last.Owns, func(a netip.Addr) bool { return slices.Contains(l.owned, a) })
		if other != id && o.heard(now) && some {
			l.survivors = append(l.survivors, other)
		}
	}
	return l, true
}

// carrier says who carries a peer; "": nobody does.
func (s *siblings) carrier(key wgkey.Public) ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, _ := s.carry.Carrier(key)
	return c.By
}

// lose looks whether a sibling is lost.
func (r *Reconciler) lose(now time.Time) {
	r.mu.Lock()
	core := !r.footing.heard.IsZero() && now.Sub(r.footing.heard) < recent
	r.mu.Unlock()
	ids := r.sib.losses(core, now)
	if len(ids) == 0 {
		return
	}
	r.mu.Lock()
	r.bereft = append(r.bereft, ids...)
	r.mu.Unlock()
	r.lost.set()
}

// succeed finds whom the lost siblings leave behind to this gateway and others: the
// clients of an address that it and they have, as behind a balancer. An address that
// moves brings its clients when it comes.
func (r *Reconciler) succeed(left *legacy) {
	r.mu.Lock()
	ids, owned := r.bereft, slices.Clone(r.owned)
	r.bereft = nil
	r.mu.Unlock()
	now := r.steadied()
	for _, id := range ids {
		l, ok := r.sib.survive(id, r.c.ID, time.Now())
		if !ok {
			continue
		}
		r.sib.mu.Lock()
		targets := r.sib.carry.Targets(now, func(by ID, at netip.AddrPort) bool { return by == id && shares(owned, l.owned, at) })
		r.sib.mu.Unlock()
		r.log.Warn("a sibling is lost", "sibling", string(id), "survivors", len(l.survivors), "count", len(targets))
		left.leave(id, r.c.ID, l.survivors, targets, time.Now())
	}
}

// share adds to a takeover those left behind whose turn it is, and takes those out of it
// who have gone elsewhere.
func (r *Reconciler) share(take *Takeover, left *legacy) *Takeover {
	due := left.due(time.Now(), r.sib.carrier)
	if take == nil && len(due) > 0 {
		take = NewTakeover(nil)
	}
	if take != nil {
		take.Add(due)
		take.Leave(func(k wgkey.Public) bool { return left.theirs(k, r.c.ID, r.sib.carrier) })
	}
	return take
}
