package gateway

import "context"

// restore looks at the device, if there is something to resume from, before the
// plane is asked: then it need tell only what changed.
func (r *Reconciler) restore(ctx context.Context) {
	r.mu.Lock()
	pending := r.kept != nil
	r.mu.Unlock()
	if !pending {
		return
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
		_ = r.look(ctx) // an error is in the status, and a later look resumes
	case <-ctx.Done():
	}
}

// resume makes what was kept the desired state, as far as have does not know
// better, unless the plane has told what it wants.
func (r *Reconciler) resume(have *State) {
	r.taking.Lock()
	defer r.taking.Unlock()
	r.mu.Lock()
	kept := r.kept
	r.mu.Unlock()
	if kept == nil {
		return
	}
	next := resume(*kept, have)
	fitting := fit(next, Interface{}, r.c.Now())
	r.mu.Lock()
	r.kept, r.desired, r.fitting, r.known, r.restored = nil, next, fitting, true, true
	r.mu.Unlock()
	r.log.Info("going on from what was told before", "rev", next.Revision.String(), "peers", len(next.Peers), "adopted", have.Exists)
	r.news.set()
}

// accepted notes that the plane took a Report, which is a sign of life. That the
// gateway was restored is said until a plane has heard it, even if its updates
// came first.
func (r *Reconciler) accepted(s Status) {
	r.keep.word(r.c.Location)
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.Restored {
		r.restored = false
		r.news.set()
	}
	// A stream that has nothing to tell is silent; that the plane took this says that
	// it is back.
	if r.known && !r.since.IsZero() {
		r.relink()
	}
	r.word(false)
}
