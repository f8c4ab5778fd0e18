package vpn

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Projection keeps what Project would say of one location, by change: what an
// Apply costs depends on the View that it gets, not on how many peers there are.
// Project is the specification, and a test holds the two together. It is not
// safe for concurrent use.
type Projection struct {
	at   location.ID
	keys *seal.Keyring

	rev  Revision
	face gateway.Interface // zero: nothing is granted
	err  error             // what Project would say

	// What the location's devices get while face is not zero.
	rows map[wgkey.Public]gateway.Peer
	held map[peer.DeviceID]wgkey.Public // whose row it is
}

// NewProjection begins with nothing, for a location.
func NewProjection(at location.ID, keys *seal.Keyring) *Projection {
	return &Projection{
		at: at, keys: keys,
		rows: map[wgkey.Public]gateway.Peer{},
		held: map[peer.DeviceID]wgkey.Public{},
	}
}

// Revision is that of the last View.
func (p *Projection) Revision() Revision { return p.rev }

// Err is what could not be read, as Project says it.
func (p *Projection) Err() error { return p.err }

// Apply takes in the next View, a whole one or one that goes on where the last
// one ended, and returns how the Config differs from the one before. From is
// the revision before; the first Update, and each into another epoch, is not a
// difference for anybody else and has From zero and everything. Apply fails and
// changes nothing if the View is of another location, or does not fit.
func (p *Projection) Apply(v View, now time.Time) (gateway.Update, error) {
	whole := v.Since.IsZero()
	if v.ID != p.at {
		return gateway.Update{}, fmt.Errorf("vpn: a View of location %q for the Projection of %q", v.ID, p.at)
	}
	if !whole && v.Since != p.rev {
		return gateway.Update{}, fmt.Errorf("vpn: project location %q: %w: the View goes on from %v, the Projection is at %v",
			p.at, gateway.ErrGap, v.Since, p.rev)
	}
	if whole && p.rev.Epoch != v.Rev.Epoch { // nothing before has anything to do with it
		*p = *NewProjection(p.at, p.keys)
	}
	u := gateway.Update{From: p.rev, To: v.Rev}
	before := p.on()
	p.rev = v.Rev
	if p.enter(v) || u.From.IsZero() {
		face := p.face
		u.Interface = &face
	}
	old, next := p.take(v, now)
	switch after := p.on(); {
	case before && after:
	case before: // everybody loses
		for k, r := range p.rows {
			if _, was := old[k]; !was && !next[k] {
				old[k] = r
			}
		}
		next = nil
	case after: // everybody gains
		old = nil
		next = map[wgkey.Public]bool{}
		for k := range p.rows {
			next[k] = true
		}
	default: // nobody has anything
		old, next = nil, nil
	}
	p.compare(&u, old, next)
	return finish(u), nil
}

// on says whether the location grants anything.
func (p *Projection) on() bool { return !p.face.Key.IsZero() }

// enter takes in the location, and says whether its Interface is another one.
func (p *Projection) enter(v View) bool {
	if v.Location == nil && !v.Since.IsZero() {
		return false
	}
	var l location.Location
	if v.Location != nil {
		l = *v.Location
	}
	face, err := project(l, p.keys)
	same := face.Equal(p.face)
	p.face, p.err = face, err
	return !same
}

// take takes in the devices of a View. It returns the rows that they had, by
// key, and the keys that they have.
func (p *Projection) take(v View, now time.Time) (old map[wgkey.Public]gateway.Peer, next map[wgkey.Public]bool) {
	old, next = map[wgkey.Public]gateway.Peer{}, map[wgkey.Public]bool{}
	if v.Since.IsZero() {
		old, p.rows = p.rows, make(map[wgkey.Public]gateway.Peer, len(v.Devices))
		p.held = make(map[peer.DeviceID]wgkey.Public, len(v.Devices))
	}
	for _, d := range v.Devices {
		if k, had := p.held[d.ID]; had {
			old[k] = p.rows[k]
			delete(p.rows, k)
			delete(p.held, d.ID)
		}
	}
	for _, d := range v.Devices {
		if r, granted := grant(p.at, d, now); granted {
			p.rows[r.Key], p.held[d.ID] = r, r.Key
			next[r.Key] = true
		}
	}
	return old, next
}

// compare adds to u how the rows named by next differ from the old ones. A key
// that went from one device to another is in both, and so is set, not removed.
func (p *Projection) compare(u *gateway.Update, old map[wgkey.Public]gateway.Peer, next map[wgkey.Public]bool) {
	for k := range old {
		if !next[k] {
			u.Remove = append(u.Remove, k)
		}
	}
	for k := range next {
		if was, had := old[k]; !had || !was.Equal(p.rows[k]) {
			u.Set = append(u.Set, p.rows[k])
		}
	}
}

// Config returns what Project would for the same history. It shares no memory
// with the Projection.
func (p *Projection) Config() gateway.Config { return finished(p.draft()) }

// draft is Config in no order, and sharing memory with p, of which only whole
// rows are ever replaced: what has to be done while p stands still.
func (p *Projection) draft() gateway.Update {
	u := gateway.Update{To: p.rev, Interface: &gateway.Interface{}}
	if !p.on() {
		return u
	}
	*u.Interface = p.face
	u.Set = slices.AppendSeq(make([]gateway.Peer, 0, len(p.rows)), maps.Values(p.rows))
	return u
}

// finished makes a Config of a draft.
func finished(draft gateway.Update) gateway.Config {
	u := finish(draft)
	return gateway.Config{Revision: u.To, Interface: *u.Interface, Peers: u.Set}
}

// finish puts a draft in order, and gives it memory of its own.
func finish(u gateway.Update) gateway.Update {
	u = u.Clone()
	slices.SortFunc(u.Remove, wgkey.Public.Compare)
	slices.SortFunc(u.Set, byKey)
	return u
}

// peer returns the row with a key, unless nothing is granted to it.
func (p *Projection) peer(k wgkey.Public) (gateway.Peer, bool) {
	r, granted := p.rows[k]
	return r, granted && p.on()
}
