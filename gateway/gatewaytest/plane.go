package gatewaytest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

var _ gateway.ControlPlane = (*Plane)(nil)

// Plane is a control plane in memory that tests drive. It passes RunOrigin. It
// is safe for concurrent use, and what it gives and takes are copies.
type Plane struct {
	*store

	failing error
	watches map[seat]*int // the latest of each; the pointer names it
	reports map[seat][]gateway.Status
}

// store is what planes that are twins share.
type store struct {
	mu       sync.Mutex    // also for what is not shared
	changed  chan struct{} // closed and replaced after every change
	gateways map[gateway.ID]*member
	places   map[gateway.LocationID]*history
}

// seat is a gateway at a location.
type seat struct {
	id gateway.ID
	at gateway.LocationID
}

// member is one gateway.
type member struct {
	err  error // it is refused with that
	at   []gateway.LocationID
	addr string // where it is dialled
}

// history is what a location was, by number.
type history struct {
	epoch  uint64
	states []gateway.Config // states[n-1] is number n
}

// NewPlane returns a Plane that knows no gateway and no location.
func NewPlane() *Plane {
	s := &store{
		changed:  make(chan struct{}),
		gateways: map[gateway.ID]*member{},
		places:   map[gateway.LocationID]*history{},
	}
	return s.plane()
}

func (s *store) plane() *Plane {
	return &Plane{store: s, watches: map[seat]*int{}, reports: map[seat][]gateway.Status{}}
}

// Twin returns another plane with the same gateways and locations, as a second
// core on one store. What Fail does, who watches and what was reported is each
// one's own.
func (p *Plane) Twin() *Plane { return p.plane() }

func (s *store) change(edit func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	edit()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Assign makes a gateway known, and assigns it exactly these locations. Gateways
// of one location are siblings.
func (p *Plane) Assign(id gateway.ID, at ...gateway.LocationID) {
	p.change(func() {
		m := p.gateways[id]
		if m == nil {
			m = &member{}
			p.gateways[id] = m
		}
		m.err, m.at = nil, slices.Sorted(slices.Values(at))
	})
}

// Move says where a gateway that is known is dialled; "" is nowhere, as at first.
func (p *Plane) Move(id gateway.ID, addr string) {
	p.change(func() { p.gateways[id].addr = addr })
}

// Refuse refuses a gateway that was known, with ErrRevoked or another reason.
func (p *Plane) Refuse(id gateway.ID, err error) {
	p.change(func() { p.gateways[id].err = err })
}

// Fail ends all streams with err and fails everything with it; nil ends that.
func (p *Plane) Fail(err error) {
	p.change(func() { p.failing = err })
}

// Put makes a location be as c says, at the next revision, which it returns.
// Nothing is validated.
func (p *Plane) Put(at gateway.LocationID, c gateway.Config) (r gateway.Revision) {
	p.change(func() { r = p.put(at, c) })
	return r
}

func (p *Plane) put(at gateway.LocationID, c gateway.Config) gateway.Revision {
	h := p.places[at]
	if h == nil {
		h = &history{epoch: rand.Uint64() | 1}
		p.places[at] = h
	}
	c = c.Clone()
	c.Revision = gateway.Revision{Epoch: h.epoch, Number: uint64(len(h.states) + 1)}
	h.states = append(h.states, c)
	return c.Revision
}

// Edit changes a location, and returns the new revision.
func (p *Plane) Edit(at gateway.LocationID, edit func(*gateway.Config)) (r gateway.Revision) {
	p.change(func() {
		c := p.config(at).Clone()
		edit(&c)
		r = p.put(at, c)
	})
	return r
}

// SetPeer adds or replaces a peer, and returns the new revision.
func (p *Plane) SetPeer(at gateway.LocationID, peer gateway.Peer) gateway.Revision {
	return p.Edit(at, func(c *gateway.Config) {
		c.Peers = slices.DeleteFunc(c.Peers, func(q gateway.Peer) bool { return q.Key == peer.Key })
		c.Peers = append(c.Peers, peer)
		slices.SortFunc(c.Peers, func(a, b gateway.Peer) int { return a.Key.Compare(b.Key) })
	})
}

// RemovePeer removes a peer, and returns the new revision.
func (p *Plane) RemovePeer(at gateway.LocationID, key wgkey.Public) gateway.Revision {
	return p.Edit(at, func(c *gateway.Config) {
		c.Peers = slices.DeleteFunc(c.Peers, func(q gateway.Peer) bool { return q.Key == key })
	})
}

// End ends a location, and returns the new revision.
func (p *Plane) End(at gateway.LocationID) gateway.Revision {
	return p.Put(at, gateway.Config{})
}

// Forget starts another history of a location, as a restored backup does. What
// it is stays the same.
func (p *Plane) Forget(at gateway.LocationID) (r gateway.Revision) {
	p.change(func() {
		c := p.config(at)
		delete(p.places, at)
		r = p.put(at, c)
	})
	return r
}

// Config returns what a location is now; zero if it never was.
func (p *Plane) Config(at gateway.LocationID) gateway.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.config(at).Clone()
}

func (p *Plane) config(at gateway.LocationID) gateway.Config {
	if h := p.places[at]; h != nil {
		return h.states[len(h.states)-1]
	}
	return gateway.Config{}
}

// Reports returns what a gateway reported of a location and was accepted, in
// order.
func (p *Plane) Reports(id gateway.ID, at gateway.LocationID) []gateway.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.reports[seat{id, at}])
}

// Last returns the last of Reports, and the zero Status if there is none.
func (p *Plane) Last(id gateway.ID, at gateway.LocationID) gateway.Status {
	if all := p.Reports(id, at); len(all) > 0 {
		return all[len(all)-1]
	}
	return gateway.Status{}
}

// member returns a gateway, or why it is refused. The caller holds mu.
func (p *Plane) member(id gateway.ID) (*member, error) {
	m := p.gateways[id]
	switch {
	case p.failing != nil:
		return nil, p.failing
	case m == nil:
		return nil, gateway.ErrUnknown
	}
	return m, m.err
}

// Assigned implements gateway.ControlPlane.
func (p *Plane) Assigned(ctx context.Context, id gateway.ID) iter.Seq2[[]gateway.Assignment, error] {
	return func(yield func([]gateway.Assignment, error) bool) {
		var last []gateway.Assignment
		for first := true; ctx.Err() == nil; {
			p.mu.Lock()
			changed := p.changed
			m, err := p.member(id)
			var list []gateway.Assignment
			if err == nil {
				list = p.assignments(id, m)
			}
			p.mu.Unlock()
			switch {
			case err != nil:
				yield(nil, fmt.Errorf("gatewaytest: assigned to %q: %w", id, err))
				return
			case first || !same(list, last):
				first, last = false, nil
				for _, a := range list {
					last = append(last, a.Clone())
				}
				if !yield(list, nil) {
					return
				}
				continue
			}
			await(ctx, changed)
		}
	}
}

// assignments returns what a gateway is told, and never nil. The caller holds mu.
func (p *Plane) assignments(id gateway.ID, m *member) []gateway.Assignment {
	list := make([]gateway.Assignment, 0, len(m.at))
	for _, at := range m.at {
		a := gateway.Assignment{Location: at}
		for _, other := range slices.Sorted(maps.Keys(p.gateways)) {
			if o := p.gateways[other]; other != id && o.err == nil && slices.Contains(o.at, at) {
				a.Siblings = append(a.Siblings, gateway.Sibling{ID: other, Addr: o.addr})
			}
		}
		list = append(list, a)
	}
	return list
}

// Watch implements gateway.ControlPlane.
func (p *Plane) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision,
) iter.Seq2[gateway.Update, error] {
	return func(yield func(gateway.Update, error) bool) {
		p.mu.Lock()
		me := new(int)
		p.watches[seat{id, at}] = me
		close(p.changed) // the watch before this one has to notice
		p.changed = make(chan struct{})
		p.mu.Unlock()
		for ctx.Err() == nil {
			p.mu.Lock()
			changed := p.changed
			u, err := p.next(id, at, have, me)
			p.mu.Unlock()
			switch {
			case err != nil:
				yield(gateway.Update{}, fmt.Errorf("gatewaytest: watch %q for %q: %w", at, id, err))
				return
			case u.To != have:
				have = u.To
				if !yield(u, nil) {
					return
				}
				continue
			}
			await(ctx, changed)
		}
	}
}

// next works out what a watch has to say; nothing if To is have.
func (p *Plane) next(id gateway.ID, at gateway.LocationID, have gateway.Revision, me *int) (gateway.Update, error) {
	m, err := p.member(id)
	switch {
	case err != nil:
		return gateway.Update{}, err
	case p.watches[seat{id, at}] != me:
		return gateway.Update{}, gateway.ErrReplaced
	case !slices.Contains(m.at, at):
		return gateway.Update{}, gateway.ErrUnknown
	}
	h := p.places[at]
	if h == nil {
		return gateway.Update{To: have}, nil // it is not there yet
	}
	now := h.states[len(h.states)-1]
	var old gateway.Config
	if have.Epoch == h.epoch && have.Number > 0 && have.Number <= now.Revision.Number {
		old = h.states[have.Number-1]
	}
	return now.Since(old).Clone(), nil
}

// Report implements gateway.ControlPlane.
func (p *Plane) Report(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := ctx.Err()
	if err == nil {
		_, err = p.member(id)
	}
	if err != nil {
		return fmt.Errorf("gatewaytest: report of %q at %q: %w", id, at, err)
	}
	me := seat{id, at}
	switch all := p.reports[me]; {
	case len(all) > 0 && s.Epoch < all[len(all)-1].Epoch: // of a process that was
	case !s.Full && (len(all) == 0 || s.Epoch != all[len(all)-1].Epoch):
		return fmt.Errorf("gatewaytest: report of %q at %q: %w", id, at, gateway.ErrGap)
	default:
		p.reports[me] = append(all, s.Clone())
	}
	return nil
}

func await(ctx context.Context, changed <-chan struct{}) {
	select {
	case <-changed:
	case <-ctx.Done():
	}
}
