package gateway

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// glance is how often the device is looked at during a takeover: an answer that is
// seen late takes up a place in the window.
const glance = 20 * time.Millisecond

// landlord follows which floating addresses the machine has, until ctx ends. When
// the first one comes it takes over whom the others leave behind, and when the last
// one goes it forgets all sessions: the clients have them elsewhere now.
func (r *Reconciler) landlord(ctx context.Context) {
	owner, able := r.c.Device.(Owner)
	if !able {
		return
	}
	for ctx.Err() == nil {
		inner, stop := context.WithCancel(ctx)
		r.reside(inner, owner, r.floating())
		stop()
	}
}

// reside follows the addresses of one configuration, until there is another one.
func (r *Reconciler) reside(ctx context.Context, owner Owner, face Interface) {
	var owns <-chan []netip.Addr
	if len(face.Floating) > 0 {
		owns = owner.Own(ctx, face)
	} else { // that the location has none any more is no reason to forget anybody
		r.mu.Lock()
		r.owned = nil
		r.mu.Unlock()
		r.sib.away(false)
		r.hooks.set(nil)
		r.sib.tell()
	}
	var take *Takeover
	var left legacy
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for {
		var round <-chan time.Time
		if take != nil || len(left.waiting) > 0 {
			round = tick.C
		}
		select {
		case <-ctx.Done():
			return
		case <-r.moved:
			if !r.floating().Equal(face) {
				return
			}
		case now := <-owns:
			if take = r.own(ctx, take, now); len(now) == 0 {
				left = legacy{}
			}
			tick.Reset(glance) // a look right now would see nothing, and be in the way
		case <-r.sib.shed:
			take = r.inherit(ctx, take)
		case <-r.lost:
			r.succeed(&left)
		case <-round:
			if take = r.share(take, &left); take != nil {
				take = r.takeOver(ctx, take, true)
			}
			if take == nil && len(left.waiting) == 0 {
				left = legacy{}
			}
		}
	}
}

// floating is what an Owner has to know of the interface that the device was made to
// have: before that nothing would leave from its addresses.
func (r *Reconciler) floating() Interface {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.placed
}

// place notes what interface the device was made to have. The caller holds mu.
func (r *Reconciler) place(i Interface) {
	r.sib.flows.show(i)
	now := Interface{Floating: slices.Clone(i.Floating), Inner: slices.Clone(i.Inner), Mark: i.Mark, Port: i.Port}
	if !now.Equal(r.placed) {
		r.placed = now
		r.moved.set()
	}
}

// own takes note of what the machine owns now, and acts on it. It returns the takeover
// that is to go on, if there is one.
func (r *Reconciler) own(ctx context.Context, take *Takeover, now []netip.Addr) *Takeover {
	r.mu.Lock()
	before := r.owned
	r.owned = slices.Clone(now)
	r.mu.Unlock()
	r.sib.away(len(now) == 0)
	defer r.hooks.set(now) // after what follows from it is begun, or done
	r.sib.tell()
	switch {
	case len(now) == 0 && len(before) > 0:
		r.log.Info("the last floating address has gone: sessions are forgotten here")
		r.yield(ctx)
		return nil
	case !slices.ContainsFunc(now, func(a netip.Addr) bool { return !slices.Contains(before, a) }):
		return take
	}
	return r.gain(ctx, take, r.sib.without(now), false)
}

// inherit takes over whom a sibling leaves behind that had an address, as this machine
// has, and has let go of it: no address comes here then that would tell.
func (r *Reconciler) inherit(ctx context.Context, take *Takeover) *Takeover {
	r.mu.Lock()
	now := slices.Clone(r.owned)
	r.mu.Unlock()
	return r.gain(ctx, take, r.sib.with(now), true)
}

// gain takes over the clients of the siblings for which from is true.
func (r *Reconciler) gain(ctx context.Context, take *Takeover, from func(ID, netip.AddrPort) bool, look bool) *Takeover {
	targets := r.targets(r.steadied(), from)
	if len(targets) == 0 {
		return take
	}
	r.log.Info("a floating address has come: its clients are taken over", "count", len(targets))
	if take == nil {
		take = NewTakeover(nil)
	}
	take.Add(targets)
	return r.takeOver(ctx, take, look)
}

// yield forgets every session, as one who has just come: a client that comes back
// would wait for 15 s for an answer in a session that nobody else has, and what
// strays here from the network behind would have WireGuard take clients back.
func (r *Reconciler) yield(ctx context.Context) {
	r.withTurn(ctx, func() {
		if r.look(ctx) != nil {
			return
		}
		want, ok := r.want()
		if !ok {
			return
		}
		var keys []wgkey.Public
		for i := range r.dev.have.Peers {
			if p := &r.dev.have.Peers[i]; !p.Handshake.IsZero() || p.Endpoint.IsValid() {
				keys = append(keys, p.Key)
			}
		}
		r.do(ctx, forgetting(want, keys))
	})
}

// forgetting is the plan that makes the peers be as if they had never been heard.
func forgetting(want Config, keys []wgkey.Public) Plan {
	var removes, sets Plan
	for _, k := range keys {
		if row, ok := want.Peer(k); ok {
			removes = append(removes, Step{Verb: Remove, Peer: Peer{Key: k}})
			sets = append(sets, Step{Verb: Set, Peer: row})
		}
	}
	return append(removes, sets...)
}

// takeOver plays one round of a takeover, and returns it unless it is over. Before the
// first one what is known of the device has to do: looking takes time.
func (r *Reconciler) takeOver(ctx context.Context, take *Takeover, look bool) *Takeover {
	if !r.mayKick(ctx, take) {
		return take.still(r.c.Now())
	}
	if !take.Due(r.c.Now()) {
		return take
	}
	if !look {
		r.cutShort()
	}
	r.withTurn(ctx, func() {
		if (look || !r.dev.sure) && r.look(ctx) != nil {
			return
		}
		if want, ok := r.want(); ok {
			plan := take.Round(want, &r.dev.have, r.c.Now())
			for _, part := range inParts(plan) {
				r.do(ctx, part)
				r.sib.tried(part, r.steadied())
			}
			take.Tried(r.c.Now())
		}
	})
	if !take.Over() {
		return take
	}
	r.log.Info("taken over", "up", take.Up(), "left", take.Left())
	return nil
}

// mirror lets what was seen here count beside what siblings say.
func (r *Reconciler) mirror() {
	r.mu.Lock()
	r.steady()
	seen, next := r.activity.Since(r.mirrored)
	r.mirrored = next
	now := r.c.Now()
	r.mu.Unlock()
	if len(seen) == 0 {
		return
	}
	r.sib.mu.Lock()
	r.sib.carry.Note(now, seen...)
	r.sib.mu.Unlock()
	r.sib.tell()
}

// away notes whether the machine has none of the floating addresses. A process that
// begins without one finds sessions of before: the address went while nobody looked.
func (s *siblings) away(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.carry.Away(is)
}

// tried has those wait to be let go of whom a plan has kicked.
func (s *siblings) tried(p Plan, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.carry.Tried(p, now)
}

func (r *Reconciler) targets(now time.Time, from func(ID, netip.AddrPort) bool) []Target {
	r.sib.mu.Lock()
	defer r.sib.mu.Unlock()
	return r.sib.carry.Targets(now, from)
}

// stray forgets, now and then, whom other gateways carry, and leaves those alone who may
// be about to come to one.
func (r *Reconciler) stray(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r.withTurn(ctx, func() {
			want, ok := r.want()
			if !ok || !r.dev.sure {
				return
			}
			r.quiet(ctx)
			if len(r.strays()) == 0 {
				return
			}
			if r.look(ctx) == nil { // it may have come back since
				r.do(ctx, forgetting(want, r.strays()))
			}
		})
	}
}

func (r *Reconciler) strays() []wgkey.Public {
	now := r.steadied()
	r.sib.mu.Lock()
	defer r.sib.mu.Unlock()
	return r.sib.carry.Stray(&r.dev.have, now)
}

// withTurn does something with the device, unless ctx ends before it is its turn.
func (r *Reconciler) withTurn(ctx context.Context, do func()) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
		do()
	case <-ctx.Done():
	}
}

// do does steps that are no part of what is desired: what is applied stays as it was.
func (r *Reconciler) do(ctx context.Context, p Plan) {
	if len(p) == 0 {
		return
	}
	began := r.c.Now()
	err := r.c.Device.Apply(ctx, p)
	r.c.Trace.applied(p, r.c.Now().Sub(began), err)
	failed, partly := steps(p, err)
	if !partly || err != nil && ctx.Err() != nil {
		r.dev.sure = false
		r.wake.set()
		return
	}
	for i, step := range p {
		if step.Verb == Remove && failed[i] == nil {
			r.removed(step.Peer.Key)
		}
	}
	believe(&r.dev.have, p, failed)
	if err != nil && !errors.Is(err, context.Canceled) {
		r.log.Warn("not all could be done", "err", err)
		r.wake.set()
	}
}
