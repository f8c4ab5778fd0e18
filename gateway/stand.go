package gateway

import (
	"context"
	"time"
)

// What a footing and accounts count are spans, by a clock that nobody sets: time.Now,
// and not Config.Now.

// stand works out, until ctx ends, how this gateway stands beside its siblings.
func (r *Reconciler) stand(ctx context.Context) {
	const often = 500 * time.Millisecond
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := time.Now()
			r.judge(now)
			r.lose(now)
		}
	}
}

// judge does so once, and has it told if it is something else than before.
func (r *Reconciler) judge(now time.Time) {
	if r.weigh(now, better(r.sib.accounts(), now)) {
		r.sib.tell()
	}
}

func (r *Reconciler) weigh(now time.Time, other ID) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.footing
	if !r.footing.judge(now, other) {
		return false
	}
	f := &r.footing
	r.status.Isolated, r.status.Stalled = f.isolated, f.stalled
	r.news.set()
	r.grade()
	if f.isolated && !before.isolated {
		r.log.Warn("no core is heard; everything stays as it is")
	}
	if f.stalled && !before.stalled {
		r.log.Warn("what a core says is not applied in time", "rev", r.desired.Revision.String())
	}
	switch {
	case before.aside == "" && f.aside != "":
		r.log.Warn("not ready for a balancer, since a sibling is better off", "why", f.aside)
	case before.aside != "" && f.aside == "":
		r.log.Info("ready for a balancer again")
	}
	return true
}

// grade says whether clients may be sent here. The caller holds mu.
func (r *Reconciler) grade() {
	if ready := r.laid && r.footing.aside == ""; ready != r.status.Ready {
		r.status.Ready = ready
		r.news.set()
	}
}

// word notes that a core was heard which knows what is so: it has told something, or
// taken a report while its stream of updates has stood for a while. That of a core
// which has lost its store does not stand. The caller holds mu.
func (r *Reconciler) word(told bool) {
	if told || !r.since.IsZero() && time.Since(r.since) >= stands {
		r.footing.heard = time.Now()
	}
}

// owe notes that an update has come which is to be applied, and pay that a revision was.
// The caller holds mu.
func (r *Reconciler) owe() {
	if r.toldAt = time.Now(); r.footing.owed.IsZero() {
		r.footing.owed = r.toldAt
	}
}

func (r *Reconciler) pay(rev Revision) {
	if r.footing.owed = (time.Time{}); r.known && rev != r.desired.Revision {
		r.footing.owed = r.toldAt
	}
}
