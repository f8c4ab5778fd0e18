package gateway

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// up is the time by a clock that nobody sets.
func (r *Reconciler) up() time.Duration {
	if r.c.Boot != nil {
		return r.c.Boot.Since()
	}
	return r.c.Now().Sub(r.began) // of time.Now it is not set either
}

func (r *Reconciler) synced() bool { return r.c.Synced != nil && r.c.Synced() }

// Clocks returns how this machine's wall clock compares with those of its siblings, in
// order of ID: what starting handshakes is made dependent on.
func (r *Reconciler) Clocks() Clocks {
	c := Clocks{Synced: r.synced()}
	r.sib.mu.Lock()
	defer r.sib.mu.Unlock()
	now, up := r.c.Now(), r.up() // both at once, or waiting looks like a difference
	for id, one := range r.sib.known {
		if o, ok := one.clock.compare(id, now, up); ok {
			c.Others = append(c.Others, o)
		}
	}
	slices.SortFunc(c.Others, func(a, b OtherClock) int { return strings.Compare(string(a.By), string(b.By)) })
	return c
}

// Fit returns nil if this machine's clock is fit for starting handshakes, as
// ReconcilerConfig.Guard says.
func (r *Reconciler) Fit() error {
	if r.c.Guard != nil {
		return r.c.Guard(r.Clocks())
	}
	return r.Clocks().Fit()
}

// Refused is how many takeovers were not begun, or broken off, because the clock was
// not fit for them.
func (r *Reconciler) Refused() uint64 { return r.refused.Load() }

// mayKick says whether handshakes may be started now. If not, those that are under way
// are given up, or else WireGuard would repeat them by the clock that is wrong. If they
// may again, it begins with those who have not come by themselves meanwhile.
func (r *Reconciler) mayKick(ctx context.Context, take *Takeover) bool {
	err := r.Fit()
	switch {
	case err == nil && take.held.IsZero():
		return true
	case err == nil:
		r.log.Info("the clock is fit again: clients are taken over")
		r.withTurn(ctx, func() { _ = r.look(ctx) }) // for the sake of what it tells Carrying
		r.mu.Lock()
		owned := slices.Clone(r.owned)
		r.mu.Unlock()
		take.resume(r.targets(r.steadied(), r.sib.without(owned)))
		return true
	case take.held.IsZero():
		r.refused.Add(1)
		r.log.Warn("clients are not taken over, and have to come by themselves, which takes 15 s: correct the clock", "err", err)
		r.withTurn(ctx, func() {
			if r.look(ctx) != nil {
				return
			}
			if want, ok := r.want(); ok {
				r.do(ctx, forgetting(want, take.hold(&r.dev.have, r.c.Now())))
			}
		})
	}
	return false
}

// hold breaks it off until resume, and returns, in key order, those who were tried and
// have not answered.
func (t *Takeover) hold(s *State, now time.Time) (keys []wgkey.Public) {
	for _, f := range t.flying {
		if have, there := findState(s.Peers, f.Key); there && (have.Handshake.IsZero() || have.Handshake.Equal(f.before)) {
			keys = append(keys, f.Key)
		}
	}
	slices.SortFunc(keys, wgkey.Public.Compare)
	t.waiting, t.flying, t.silent, t.held = nil, nil, nil, now
	return keys
}

// still is the Takeover, unless it has been held for so long that nobody has a session
// left that could be taken over.
func (t *Takeover) still(now time.Time) *Takeover {
	if now.Sub(t.held) < alive {
		return t
	}
	return nil
}

// resume goes on after hold, with other targets.
func (t *Takeover) resume(targets []Target) {
	t.held = time.Time{}
	t.waiting = slices.Clone(targets)
}
