package gateway

import (
	"context"
	"time"
)

const (
	// remembered is how much time there is between two calls of Remember at least.
	remembered = 5 * time.Second
	// jump is by how much the wall clock has to be set for what was seen to move
	// with it; what it drifts adds up to that too.
	jump = time.Second
)

// recall takes in what an earlier process heard since the machine started.
func (r *Reconciler) recall(ctx context.Context) {
	if r.c.Memory == nil {
		return
	}
	m, err := r.c.Memory.Recall(ctx, r.c.Location)
	if err != nil {
		r.log.Warn("what an earlier process heard is lost, and peers count as heard at their last handshakes", "err", err)
		return
	}
	if m.Boot != r.c.Boot.Boot() || m.At > r.c.Boot.Since() {
		return // it says nothing of this run of the machine
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steady()
	r.activity.Recall(m, r.origin)
}

// steady makes what was seen as old as it is, whatever the wall clock was set to
// meanwhile. The caller holds mu.
func (r *Reconciler) steady() {
	if r.c.Boot == nil {
		return
	}
	is := r.c.Now().Round(0).Add(-r.c.Boot.Since()) // both at once, or waiting looks like a jump
	by := is.Sub(r.origin)
	switch {
	case r.origin.IsZero():
		r.origin = is
	case by.Abs() >= jump:
		r.log.Warn("the clock was set; when peers were heard is moved with it", "by", by)
		r.activity.Shift(by)
		r.sib.shift(by)
		r.origin = is
	}
}

// steadied is what the wall clock shows, once what was seen is as old as it is.
func (r *Reconciler) steadied() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steady()
	return r.c.Now().Round(0)
}

// remember has what was heard remembered when it changed, until ctx ends.
func (r *Reconciler) remember(ctx context.Context) {
	if r.c.Memory == nil {
		return
	}
	timer := time.NewTimer(remembered)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		within, cancel := context.WithTimeout(ctx, patient)
		took := r.save(within, false)
		cancel()
		timer.Reset(max(remembered, grants*took))
	}
}

// last has remembered what was heard up to the end.
func (r *Reconciler) last(ctx context.Context) {
	if r.c.Memory == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	r.save(ctx, true)
}

// save calls Remember if there is something new, or always, but not before the
// first sample, and says how long it took.
func (r *Reconciler) save(ctx context.Context, always bool) time.Duration {
	began := r.c.Boot.Since()
	r.mu.Lock()
	edits := r.activity.edits
	if r.activity.clock == 0 || !always && edits == r.saved {
		r.mu.Unlock()
		return 0
	}
	m := r.activity.Remember(r.origin)
	r.mu.Unlock()
	m.Location, m.Boot = r.c.Location, r.c.Boot.Boot()
	err := r.c.Memory.Remember(ctx, m)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.saved = edits
		if r.amnesia {
			r.log.Info("what is heard is remembered again")
		}
	case ctx.Err() != nil && !always: // the process ends, and it is tried once more
		return 0
	case !r.amnesia:
		r.log.Warn("cannot remember what is heard: should this process start again, it knows less of when peers were heard", "err", err)
	}
	r.amnesia = err != nil
	return r.c.Boot.Since() - began
}
