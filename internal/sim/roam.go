package sim

import (
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const (
	// settled is how long things have to have been as they are for a takeover to be
	// held to its promise.
	settled = 7 * time.Second
	// soon is how long a takeover may take, for a client that was heard lately: three
	// tries, and a question.
	soon = time.Second + asks
	// stuck is how long a client may be without an answer at most, by WireGuard's own
	// timers: 15.6 s until it begins a handshake, and one more try.
	stuck = 22 * time.Second
	// astray is how long another gateway than the one that carries a talking client may
	// know where that is: 5 s, what is told each 5 s, and what a look takes.
	astray = 20 * time.Second
	// waning is how long a kick's keepalive may be on.
	waning = 3 * time.Second
	// apart is by how much clocks that are right differ at most, and warned how long a
	// gateway has to have talked with one whose clock is right to know that its own is
	// not.
	apart  = 500 * time.Millisecond
	warned = 4 * time.Second
	// idle is how long a client has to have said nothing not to be kicked.
	idle = 190 * time.Second
)

// view is what the driver sees of all seats at once.
type view map[*seat]gateway.State

func (v view) peer(s *seat, key wgkey.Public) (gateway.PeerState, bool) {
	peers := v[s].Peers
	i, ok := slices.BinarySearchFunc(peers, key, func(p gateway.PeerState, k wgkey.Public) int { return p.Key.Compare(k) })
	if !ok {
		return gateway.PeerState{}, false
	}
	return peers[i], true
}

// watch looks at all clients.
func (w *world) watch() {
	now, v := w.log.now(), view{}
	for _, m := range w.machines {
		for _, s := range m.seats {
			v[s] = s.state()
			w.waning(s, v[s], now)
			switch {
			case !v[s].Exists:
				s.there = time.Time{}
			case s.there.IsZero():
				s.there = now
			}
		}
	}
	for _, m := range w.machines {
		w.warn(m, now.Add(-warned))
	}
	for _, c := range w.clients {
		w.follow(c, v, now)
	}
}

// warn notes whether a gateway has to know that its clock is ahead.
func (w *world) warn(m *machine, since time.Time) {
	aware := time.Duration(0)
	for _, o := range w.machines {
		if o != m && o.wrong == 0 && w.hears(m, o, since) {
			aware = max(0, m.wrong)
		}
	}
	m.aware.Store(int64(aware))
}

// waning checks that no gateway's keepalive stays on.
func (w *world) waning(s *seat, have gateway.State, now time.Time) {
	for _, p := range have.Peers {
		switch since, on := s.keeps[p.Key]; {
		case p.Keepalive == 0:
			delete(s.keeps, p.Key)
		case !on:
			s.keeps[p.Key] = now
		case now.Sub(since) > waning && s.m.alive.Load() && s.m.well.before(since) && s.well.before(since):
			w.log.violatef("P13", "%s left a keepalive on for %s", s.m.name, w.called(subject{s.at, p.Key}))
		}
	}
}

// follow looks at one client.
func (w *world) follow(c *client, v view, now time.Time) {
	at := c.sub.at
	switch place := c.Place(); {
	case place == public(at):
		c.drawn = false
	case !c.drawn && w.held(c, place):
		w.log.violatef("P13", "%s was drawn to %v", c.name, place)
		return
	default:
		c.drawn = true
	}
	all, gets := w.holders(at)
	session := c.Session()
	var carrier *machine
	for _, m := range w.machines {
		if session != 0 && m.seats[at].dev.Session(c.sub.key) == session {
			carrier = m
		}
	}
	if carrier != c.carrier {
		c.carrier, c.since = carrier, now
	}
	w.astray(c, v, now)

	version := len(w.story(c.sub))
	ok := len(all) == 1 && c.each > 0 && !c.drawn && w.living()
	if ok {
		s := gets.seats[at]
		_, there := v.peer(s, c.sub.key)
		ok = there && v[s].Up && v[s].Exists
	}
	switch {
	case !ok || version != c.version:
		c.good, c.version = time.Time{}, version
	case c.good.IsZero():
		c.good = now
	default:
		w.model.mu.Lock()
		w.count.Reached++
		w.model.mu.Unlock()
		last, _ := c.Answered()
		if last.Before(c.good) {
			last = c.good
		}
		if c.host.LostSince(last) {
			c.good = time.Time{}
		} else if now.Sub(last) > stuck+c.each {
			w.log.violatef("P13", "%s has had no answer for %v, and %s has it and the address", c.name, now.Sub(last).Round(time.Millisecond), gets.name)
		}
	}
}

// held says whether a gateway is held to draw nobody away: its process runs and has had
// time to let go of what it found, and its device does what it is told at once. Whom
// nobody carries is better off there than nowhere, and so is whom one carries whose
// process says nothing.
func (w *world) held(c *client, place netip.AddrPort) bool {
	at := c.sub.at
	const (
		found  = 4 * time.Second
		moment = time.Second // a kick may have been under way when the address went
	)
	now := w.log.now()
	for _, m := range w.machines {
		if place.Addr() != ownAddr(m.n) {
			continue
		}
		s := m.seats[at]
		has, _ := m.host.Has(floatingAddr(at))
		prompt := s.well.before(now.Add(-idle)) || s.well.wrong == 0 && s.well.since.Equal(w.log.began)
		return prompt && c.carrier != nil && c.carrier != m && now.Sub(c.since) >= found && w.hears(m, c.carrier, now.Add(-found)) && m.alive.Load() && m.well.before(now.Add(-found)) && (has || now.Sub(w.lastMove(at)) >= moment)
	}
	return true
}

// living says that no machine has power and no process: its WireGuard would go on by
// itself, and keep clients busy with handshakes for 90 s.
func (w *world) living() bool {
	for _, m := range w.machines {
		if m.power.wrong == 0 && (m.proc == nil || !m.alive.Load()) {
			return false
		}
	}
	return true
}

// story is what its row was asked to be.
func (w *world) story(sub subject) []version {
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	return w.model.rows[sub].versions
}

// astray checks that only the gateway that carries a talking client knows where it is.
func (w *world) astray(c *client, v view, now time.Time) {
	for _, m := range w.machines {
		s := m.seats[c.sub.at]
		p, there := v.peer(s, c.sub.key)
		talks := c.carrier != nil && c.carrier != m && c.each == asks
		if !there || !p.Endpoint.IsValid() || !talks || !w.hears(m, c.carrier, now.Add(-astray)) || !s.well.before(now.Add(-astray)) || c.host.LostSince(now.Add(-astray)) {
			delete(c.strays, m)
			continue
		}
		if c.strays[m].IsZero() {
			c.strays[m] = now
		}
		if now.Sub(c.strays[m]) > astray && now.Sub(c.since) > astray {
			w.log.violatef("P13", "%s knows still where %s is, which %s carries", m.name, c.name, c.carrier.name)
		}
	}
}

// hears says whether a gateway has been told by another one all that it saw, since an
// instant or longer.
func (w *world) hears(m, o *machine, since time.Time) bool {
	b := w.bond(m, o)
	return b.well.before(since) && m.well.before(since) && o.well.before(since) && m.alive.Load() && o.power.before(since) && m.power.before(since)
}

// expect notes whom a gateway has to take over that is getting the address, and looks
// after that.
func (w *world) expect(at int, m *machine) {
	now := w.log.now()
	since := now.Add(-settled)
	w.model.mu.Lock()
	w.count.Moves++
	w.model.mu.Unlock()
	s := m.seats[at]
	if m.wrong != 0 || !m.well.before(since) || !s.serves(since) || !m.alive.Load() {
		return
	}
	have := view{s: s.state()}
	if !have[s].Exists || !have[s].Up {
		return
	}
	for _, c := range w.clients {
		last, _ := c.Answered()
		heard := now.Sub(last) < asks+2*c.delay+1500*time.Millisecond+now.Sub(w.lastMove(at))
		_, there := have.peer(s, c.sub.key)
		switch {
		case c.sub.at != at || c.each != asks || !heard || !there || c.carrier == nil || c.carrier == m,
			c.since.After(since) || c.good.IsZero() && now.Sub(c.since) < settled,
			c.drawn, c.Refuses() > apart, !w.heard(m, c.carrier, since), !c.carrier.seats[at].serves(since), c.host.LostSince(since) || c.strange.After(since):
			continue
		}
		rows := len(w.story(c.sub))
		w.later(soon+2*c.delay, func() { w.taken(at, m, c, now, rows) })
	}
}

// serves says whether it has been well and had an interface since an instant.
func (s *seat) serves(since time.Time) bool {
	return s.well.before(since) && !s.there.IsZero() && !s.there.After(since)
}

// heard is as hears, up to the moment when the other one may have died.
func (w *world) heard(m, o *machine, since time.Time) bool {
	b := w.bond(m, o)
	return b.heard(since) && m.well.before(since) && m.power.before(since)
}

// taken checks that a client came over.
func (w *world) taken(at int, m *machine, c *client, began time.Time, rows int) {
	all, gets := w.holders(at)
	s := m.seats[at]
	if len(all) != 1 || gets != m || !w.lastMove(at).Equal(began) || rows != len(w.story(c.sub)) || c.host.LostSince(began) ||
		!m.alive.Load() || // it died in the change that kicks: a process that is gone takes nobody over
		!m.well.before(began) || !s.well.before(began) || !m.power.before(began) || c.strange.After(began) {
		return
	}
	if _, there := (view{s: s.state()}).peer(s, c.sub.key); !there {
		return
	}
	w.model.mu.Lock()
	w.count.Taken++
	w.model.mu.Unlock()
	if last, _ := c.Answered(); !last.After(began) {
		w.log.violatef("P13", "%s got the address %v ago, and %s, which it had heard of, is not back", m.name, w.log.now().Sub(began).Round(time.Millisecond), c.name)
	}
}

// carried says whose sessions it would be a loss to end: clients whose session is with
// this gateway, which has had their address for a while when it began. It also looks
// whom a plan kicks.
func (s *seat) carried(p gateway.Plan, began time.Time) map[wgkey.Public]bool {
	const grace = 3 * time.Second
	out := map[wgkey.Public]bool{}
	removed, said := map[wgkey.Public]bool{}, ""
	for _, step := range p {
		c := s.w.byKey[subject{s.at, step.Peer.Key}]
		switch {
		case c == nil:
		case step.Verb == gateway.Remove:
			removed[step.Peer.Key] = true
		case step.Verb == gateway.Set && removed[step.Peer.Key]:
			said += ", forgets " + c.device
		case step.Verb == gateway.Kick && step.Peer.Endpoint.Addr().IsLoopback():
			said += ", parks " + c.device // what is sent there reaches nobody
		case step.Verb == gateway.Kick:
			said += ", kicks " + c.device
			s.kicks(c)
		}
	}
	if said != "" {
		s.w.log.notef("    %s at location %d%s", s.m.name, s.at, said)
	}
	_, gets := s.m.host.Has(floatingAddr(s.at))
	if !gets || began.Sub(s.w.lastMove(s.at)) < grace || !s.well.before(began.Add(-stuck)) && !s.well.since.Equal(s.w.log.began) {
		return out // what it decided while its device was slow may come late
	}
	for sub, c := range s.w.byKey {
		if session := c.Session(); sub.at == s.at && session != 0 && s.dev.Session(sub.key) == session {
			out[sub.key] = true
		}
	}
	return out
}

// kicks checks that nobody is dialled who is idle.
func (s *seat) kicks(c *client) {
	s.w.model.mu.Lock()
	s.w.count.Kicks++
	s.w.model.mu.Unlock()
	if wrong := s.m.ahead(); wrong > 0 {
		s.w.log.violatef("P13", "%s kicks with a clock that is %v ahead, as others told it", s.m.name, wrong)
	}
	if c != nil && time.Since(c.Said()) > idle {
		s.w.log.violatef("P13", "%s dials %s, which has said nothing for %v", s.m.name, c.name, time.Since(c.Said()).Round(time.Second))
	}
}
