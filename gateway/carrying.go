package gateway

import (
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const (
	// alive is how long a session can be used at most (REJECT_AFTER_TIME of
	// WireGuard): who was not heard for so long has none that could be lost.
	alive = 180 * time.Second
	// stood is how long another gateway has to carry a peer before we let go of
	// our session with it, and newer how much newer its last sign of life has to be
	// than ours: packets that were under way when the client moved, and one sample
	// of each gateway, are no reason.
	stood = 5 * time.Second
	newer = 2 * time.Second
)

// Carrying works out from what the gateways of a location saw which of them
// carries a peer, where the peer is, and whom this gateway has to forget or to
// take over. The gateway with the newest confirmed handshake carries a peer:
// initiations, which anybody can send again who recorded one, confirm nothing.
//
// All times are by this machine's clock; who hears of others' sightings gets ages,
// and turns them into times.
//
// It is not safe for concurrent use.
type Carrying struct {
	by    ID
	away  bool
	peers map[wgkey.Public]*carried
	turns uint64 // how often the carrier of a peer changed
}

// carried is one peer.
type carried struct {
	seen   []Sighting        // the latest of each gateway
	places [2]netip.AddrPort // where it was when it was heard last, and before
	last   ID                // of the gateway that carries it; "": none does
	since  time.Time         // since when another gateway carries it; zero: none does
	looked bool              // Stray has seen it
	rx     uint64            // as it was then
	spoke  time.Time         // when Stray saw that it had grown
	lost   bool              // the session that this gateway saw last is gone here: see Lost
}

// grown says whether something came of the peer within the last 2 s, be it no more than
// an initiation, as far as Stray could see.
func (p *carried) grown(have *PeerState, now time.Time) bool {
	if p.looked && have.Rx > p.rx {
		p.spoke = now
	}
	p.looked, p.rx = true, have.Rx
	return !p.spoke.IsZero() && now.Sub(p.spoke) < newer
}

// NewCarrying returns a Carrying of the gateway by, which has heard of nobody.
func NewCarrying(by ID) *Carrying {
	return &Carrying{by: by, peers: map[wgkey.Public]*carried{}}
}

// Note takes in the latest sightings of gateways, this one included: each replaces
// what the same gateway said of the same peer.
func (c *Carrying) Note(now time.Time, seen ...Sighting) {
	for _, s := range seen {
		p := c.peers[s.Key]
		if p == nil {
			p = &carried{}
			c.peers[s.Key] = p
		}
		if s.By == c.by && s.Handshake.After(p.own(c.by).Handshake) {
			p.lost = false
		}
		if i := slices.IndexFunc(p.seen, func(o Sighting) bool { return o.By == s.By }); i >= 0 {
			p.seen[i] = s
		} else {
			p.seen = append(p.seen, s)
		}
		if newest, ok := p.carrier(); ok && newest.By == s.By && s.Endpoint.IsValid() && s.Endpoint != p.places[0] {
			p.places[0], p.places[1] = s.Endpoint, p.places[0]
		}
		c.follow(p, now)
	}
}

// follow notes who carries the peer, and since when another gateway does.
func (c *Carrying) follow(p *carried, now time.Time) {
	s, ok := p.carrier()
	if s.By != p.last {
		p.last = s.By
		c.turns++
	}
	switch {
	case !ok || s.By == c.by:
		p.since = time.Time{}
	case p.since.IsZero():
		p.since = now.Round(0)
	}
}

// carrier is the sighting with the newest confirmed handshake. Of two at the same
// instant it is that of the gateway whose name comes first.
func (p *carried) carrier() (newest Sighting, ok bool) {
	for _, s := range p.seen {
		switch {
		case s.Handshake.IsZero():
		case !ok, s.Handshake.After(newest.Handshake), s.Handshake.Equal(newest.Handshake) && s.By < newest.By:
			newest, ok = s, true
		}
	}
	return newest, ok
}

// heard is the last sign of life that any gateway saw.
func (p *carried) heard() (last time.Time) {
	for _, s := range p.seen {
		if s.Heard.After(last) {
			last = s.Heard
		}
	}
	return last
}

// own is what this gateway saw.
func (p *carried) own(by ID) Sighting {
	for _, s := range p.seen {
		if s.By == by {
			return s
		}
	}
	return Sighting{}
}

// Carrier returns the sighting of the gateway that carries the peer; false: nobody
// does, as far as is known.
func (c *Carrying) Carrier(key wgkey.Public) (Sighting, bool) {
	if p := c.peers[key]; p != nil {
		return p.carrier()
	}
	return Sighting{}, false
}

// Drop forgets what a gateway said that is none of the location's any more.
func (c *Carrying) Drop(by ID, now time.Time) { c.Replace(now, by) }

// Replace is Note for all that a gateway has to say: what it said before of other
// peers is forgotten, and nothing else is.
func (c *Carrying) Replace(now time.Time, by ID, seen ...Sighting) {
	still := make(map[wgkey.Public]bool, len(seen))
	for i := range seen {
		still[seen[i].Key] = true
	}
	for key, p := range c.peers {
		if still[key] {
			continue
		}
		p.seen = slices.DeleteFunc(p.seen, func(s Sighting) bool { return s.By == by })
		c.follow(p, now)
		if len(p.seen) == 0 {
			delete(c.peers, key)
		}
	}
	c.Note(now, seen...)
}

// Shift moves all instants with the wall clock, as Activity.Shift.
func (c *Carrying) Shift(by time.Duration) {
	for _, p := range c.peers {
		for i := range p.seen {
			shift(&p.seen[i].Heard, by)
			shift(&p.seen[i].Handshake, by)
		}
		shift(&p.since, by)
		shift(&p.spoke, by)
	}
}

// Remove forgets a peer.
func (c *Carrying) Remove(key wgkey.Public) { delete(c.peers, key) }

// Keep forgets all peers but those that keep wants.
func (c *Carrying) Keep(keep func(wgkey.Public) bool) {
	for key := range c.peers {
		if !keep(key) {
			delete(c.peers, key)
		}
	}
}

// Away says whether this machine has none of the location's floating addresses, although
// there are some: nobody comes here by them then, so that it is enough for Stray that
// another gateway carries a peer and heard of it later.
func (c *Carrying) Away(away bool) { c.away = away }

// Tried says that this gateway has done the steps of a plan, now: who is kicked is being
// taken over, so that another one has to have carried it for 5 s from now on for Stray to
// count; what is under way to an answer would be lost. Say it when they are done: that may
// take longer than 5 s.
func (c *Carrying) Tried(p Plan, now time.Time) {
	for _, s := range p {
		if o := c.peers[s.Peer.Key]; s.Verb == Kick && o != nil && !o.since.IsZero() {
			o.since = now
		}
	}
}

// Lost says that this gateway has no session with a peer any more, since it removed it:
// until there is a newer handshake it may be the last one to have carried the peer, and
// has to take it over like one of another gateway.
func (c *Carrying) Lost(key wgkey.Public) {
	if p := c.peers[key]; p != nil {
		p.lost = true
	}
}

// Stray returns, in key order, the peers of which this gateway has a session, or
// knows a place, although another one carries them: it has done so for 5 s (see Away),
// and was the last to hear of them, by 2 s; nor has anything come of them since Stray
// looked 2 s ago, since who comes by himself has a place before he has a session. They
// are to be removed and set again, or else a stray packet would have this gateway take
// the client back, and a client that comes back would wait for a session that it does
// not have. s is what the device has now: look at it just before, and tell Note what
// came of it.
func (c *Carrying) Stray(s *State, now time.Time) (keys []wgkey.Public) {
	stands, later := stood, newer
	if c.away {
		stands, later = 0, 1
	}
	now = now.Round(0)
	for i := range s.Peers {
		have := &s.Peers[i]
		p := c.peers[have.Key]
		if p == nil || p.grown(have, now) || p.since.IsZero() || now.Sub(p.since) < stands || have.Handshake.IsZero() && !have.Endpoint.IsValid() {
			continue
		}
		other, _ := p.carrier()
		if other.Heard.Sub(p.own(c.by).Heard) >= later && !have.Handshake.After(other.Handshake) {
			keys = append(keys, have.Key)
		}
	}
	return keys
}

// Target is a peer that is to be taken over.
type Target struct {
	Key wgkey.Public
	// Heard is when a gateway heard the peer last.
	Heard time.Time
	// Places are where it was then, and where before; the second one may be zero.
	Places [2]netip.AddrPort
}

// Targets returns whom to take over now, those heard last first: the peers that were
// heard within the last 180 s, where it is known where they are, and from is true for
// the gateway that carries them and the place where they are. Of those that this gateway
// carries it is asked only if their sessions are gone: see Lost.
func (c *Carrying) Targets(now time.Time, from func(ID, netip.AddrPort) bool) []Target {
	var out []Target
	for key, p := range c.peers {
		s, ok := p.carrier()
		if !ok || s.By == c.by && !p.lost || !p.places[0].IsValid() || !from(s.By, p.places[0]) {
			continue
		}
		if heard := p.heard(); now.Sub(heard) < alive {
			out = append(out, Target{key, heard, p.places})
		}
	}
	slices.SortFunc(out, func(a, b Target) int {
		if n := b.Heard.Compare(a.Heard); n != 0 {
			return n
		}
		return a.Key.Compare(b.Key)
	})
	return out
}
