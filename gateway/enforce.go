package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// enforcing is what belongs to whoever has the turn.
type enforcing struct {
	have    State  // as last observed, and changed by what was applied since
	sure    bool   // have is true as far as we know
	spare   State  // memory for the next look
	want    Config // what was applied last
	applied bool   // want was
	failing map[failure]Problem
	astray  astray // who does not answer, and may have another gateway
}

// failure names a thing that can fail, so that its problem keeps the time of
// when it was found first.
type failure struct {
	what  string // the verb, "observe", "apply", or the words of the device
	key   wgkey.Public
	route netip.Prefix
}

// enforce looks at the device regularly, and acts whenever the desired state
// changes, until ctx ends.
func (r *Reconciler) enforce(ctx context.Context) {
	var changes <-chan struct{}
	if r.notifier != nil {
		changes = r.notifier.Changes(ctx)
	}
	due := r.c.Now()
	poll := time.NewTimer(0)
	defer poll.Stop()
	for {
		look := false
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-changes:
			if at := r.soonest(); at.Before(due) {
				due = at
				poll.Reset(at.Sub(r.c.Now()))
			}
			continue
		case <-poll.C:
			look = true
		}
		_, _ = r.round(ctx, look) // errors are in the status, and are tried again
		if look {
			wait := max(r.c.Poll, r.pace())
			due = r.c.Now().Add(wait)
			poll.Reset(wait)
		}
	}
}

// pace is how long to leave the device alone after a look that took a while.
func (r *Reconciler) pace() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return min(19*r.took, 30*time.Second)
}

// soonest is when to look because somebody changed something. Our own changes
// ask for it too; so after a round that failed, which may have made and undone
// something, only the poll tries again, or each try would be the reason for the
// next one.
func (r *Reconciler) soonest() time.Time {
	const together = 50 * time.Millisecond // changes seldom come alone
	pace, now := r.pace(), r.c.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hurt {
		pace = max(pace, r.c.Poll)
	}
	if at := r.looked.Add(pace); at.After(now.Add(together)) {
		return at
	}
	return now.Add(together)
}

// round makes the device be as desired, after a look at it if look says so or
// if what is there is not known. When the look was cut short it lets those pass who
// could not wait, and looks again.
func (r *Reconciler) round(ctx context.Context, look bool) (Plan, error) {
	for {
		p, err := r.roundOnce(ctx, look)
		if !errors.Is(err, errCut) {
			return p, err
		}
	}
}

func (r *Reconciler) roundOnce(ctx context.Context, look bool) (Plan, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("gateway: reconcile %s: %w", r.c.Location, ctx.Err())
	}
	d := &r.dev
	if look || !d.sure {
		if err := r.look(ctx); err != nil {
			return nil, err
		}
	}
	want, ok := r.want()
	if !ok {
		r.fail(map[failure]Problem{}, d.have.Problems)
		return nil, nil
	}
	p := Diff(want, d.have)
	err := r.apply(ctx, want, p)
	return p, err
}

// want is what the device is to be, if that is known.
func (r *Reconciler) want() (Config, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	want := r.fitting.Config
	if r.fitting.keep {
		want.Interface = r.dev.have.Interface.clone()
		return want, r.known && r.dev.have.Exists
	}
	return want, r.known
}

// look observes the device, and finds out who was heard and what others changed.
func (r *Reconciler) look(ctx context.Context) error {
	d := &r.dev
	began := r.c.Now()
	err := r.observe(ctx, &d.spare)
	if errors.Is(err, errCut) {
		return err
	}
	now := r.c.Now()
	r.mu.Lock()
	r.looked, r.took = now, now.Sub(began)
	r.mu.Unlock()
	r.c.Trace.observed(now.Sub(began), len(d.spare.Peers), err)
	if err != nil {
		if ctx.Err() == nil {
			r.fail(map[failure]Problem{
				{what: "observe"}: {What: "cannot observe the interface: " + err.Error(), At: now},
			}, nil)
		}
		return fmt.Errorf("gateway: observe the interface of %s: %w", r.c.Location, err)
	}
	var changed []Problem
	verified := r.status.Verified
	if d.applied {
		found := Diff(d.want, d.spare)
		if len(found) == 0 {
			verified = d.want.Revision
		} else if d.sure {
			changed = drift(d.want, d.spare, found, Diff(d.want, d.have), now)
		}
	}
	d.have, d.spare, d.sure = d.spare, d.have, true
	r.resume(&d.have)
	for _, p := range changed {
		r.log.Warn("somebody changed the interface, it is repaired", "peer", p.Key.String(), "what", p.What)
		r.c.Trace.drifted(p)
	}

	defer r.mirror()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steady()
	if r.activity.Observe(&d.have, now) > 0 || r.status.Verified != verified {
		r.seen.set()
	}
	r.status.Verified = verified
	r.drifted(changed)
	r.settle()
	return nil
}

// drifted notes what others changed. The caller holds mu.
func (r *Reconciler) drifted(changed []Problem) {
	const kept = 16
	if len(changed) == 0 {
		return
	}
	r.status.Drifts += uint64(len(changed))
	all := slices.Concat(r.status.Drift, changed)
	r.status.Drift = all[max(0, len(all)-kept):]
	r.news.set()
}

// settle takes over what follows from what is there. The caller holds mu.
func (r *Reconciler) settle() {
	have := &r.dev.have
	r.laid = have.Exists && have.Up && !have.Interface.Key.IsZero()
	r.grade()
	if have.Backend != r.status.Backend {
		r.status.Backend = have.Backend
		r.news.set()
	}
}

// apply does the plan, and draws the conclusions.
func (r *Reconciler) apply(ctx context.Context, want Config, p Plan) error {
	d := &r.dev
	var err error
	if len(p) > 0 {
		began := r.c.Now()
		err = r.c.Device.Apply(ctx, p)
		took := r.c.Now().Sub(began)
		r.c.Trace.applied(p, took, err)
		r.log.Debug("applied", "rev", want.Revision.String(), "steps", len(p), "took", took, "err", err)
		if err != nil && ctx.Err() != nil {
			d.sure = false
			return fmt.Errorf("gateway: apply to the interface of %s: %w", r.c.Location, err)
		}
	}
	failed, partly := steps(p, err)
	if d.sure = partly; partly {
		for i, step := range p {
			if step.Verb == Remove && failed[i] == nil {
				r.removed(step.Peer.Key)
			}
		}
		believe(&d.have, p, failed)
		d.want, d.applied = want, true
	}
	r.mu.Lock()
	r.hurt = err != nil
	r.settle()
	if partly {
		r.place(want.Interface)
	}
	if partly && r.status.Applied != want.Revision {
		r.status.Applied = want.Revision
		r.news.set()
	}
	if partly {
		r.pay(want.Revision)
	}
	r.mu.Unlock()
	r.fail(problems(want, p, err, failed, r.c.Now()), d.have.Problems)
	if err != nil {
		return fmt.Errorf("gateway: apply to the interface of %s: %w", r.c.Location, err)
	}
	return nil
}

func (r *Reconciler) removed(key wgkey.Public) {
	r.sib.mu.Lock()
	r.sib.carry.Lost(key)
	r.sib.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.activity.Removed(key)
}

// steps tells which steps failed, and whether the others are known to be done.
func steps(p Plan, err error) (failed map[int]error, partly bool) {
	var some *ApplyError
	switch {
	case err == nil:
		return nil, true
	case !errors.As(err, &some):
		return nil, false
	}
	for i := range some.Failed {
		if i < 0 || i >= len(p) || p[i].Fields&FieldCreate != 0 || p[i].Verb == Destroy {
			return some.Failed, false
		}
	}
	return some.Failed, true
}

// problems puts what failed in words.
func problems(want Config, p Plan, err error, failed map[int]error, now time.Time) map[failure]Problem {
	found := map[failure]Problem{}
	if err != nil && failed == nil {
		found[failure{what: "apply"}] = Problem{What: "cannot change the interface: " + err.Error(), At: now}
	}
	var leads map[netip.Prefix]wgkey.Public
	for i, why := range failed {
		if i < 0 || i >= len(p) {
			continue
		}
		s, key := p[i], p[i].Peer.Key
		if s.Verb == Route {
			if leads == nil {
				leads = owners(want)
			}
			key = leads[s.Route]
		}
		what := strings.TrimSpace(s.Verb.String() + " " + words(s))
		found[failure{s.Verb.String(), s.Peer.Key, s.Route}] = Problem{Key: key, What: what + ": " + why.Error(), At: now}
	}
	return found
}

func words(s Step) string {
	switch s.Verb {
	case Configure:
		return s.Fields.String()
	case Route, Unroute:
		return s.Route.String()
	default:
		return ""
	}
}

// owners tells for each prefix which peer it leads to.
func owners(c Config) map[netip.Prefix]wgkey.Public {
	out := map[netip.Prefix]wgkey.Public{}
	for _, p := range c.Peers {
		for _, a := range p.AllowedIPs {
			out[a] = p.Key
		}
	}
	return out
}

// fail makes Status.Failed be what fails now, in a steady order: the interface
// first, each with the time when it was found first.
func (r *Reconciler) fail(found map[failure]Problem, device []string) {
	const logged = 10 // problems of one round
	d := &r.dev
	now := r.c.Now()
	for _, what := range device {
		found[failure{what: what}] = Problem{What: what, At: now}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.fitting.unfit {
		found[failure{what: p.What, key: p.Key}] = p
	}
	list, fresh := make([]Problem, 0, len(found)), 0
	for f, p := range found {
		if before, ok := d.failing[f]; ok {
			p.At = before.At
		} else if fresh++; fresh <= logged {
			r.log.Warn("not as it should be", "peer", p.Key.String(), "what", p.What)
		}
		found[f] = p
		list = append(list, p)
	}
	if fresh > logged {
		r.log.Warn("more is not as it should be", "count", fresh-logged)
	}
	d.failing = found
	slices.SortFunc(list, func(a, b Problem) int {
		if c := a.Key.Compare(b.Key); c != 0 {
			return c
		}
		return strings.Compare(a.What, b.What)
	})
	if !slices.Equal(list, r.status.Failed) {
		r.status.Failed = list
		r.news.set()
	}
}
