package gateway

import (
	"context"
	"errors"
	"time"
)

// errEnded is for planes that end a stream without a reason.
var errEnded = errors.New("gateway: the control plane ended the stream without saying why")

// follow watches the plane until ctx ends.
func (r *Reconciler) follow(ctx context.Context) {
	persist(ctx, r.c.Now, r.watch, r.unlink)
}

// watch takes in updates until the stream ends, and says why it did.
func (r *Reconciler) watch(ctx context.Context) error {
	r.mu.Lock()
	have := r.desired.Revision
	if r.anew {
		have = Revision{}
	}
	r.since = time.Now() // for a span: see stand
	r.mu.Unlock()
	for u, err := range r.c.Plane.Watch(ctx, r.c.ID, r.c.Location, have) {
		if err == nil {
			err = r.take(u)
		}
		if err != nil {
			return err
		}
	}
	return errEnded
}

// fetch asks once for everything.
func (r *Reconciler) fetch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for u, err := range r.c.Plane.Watch(ctx, r.c.ID, r.c.Location, Revision{}) {
		if err == nil {
			err = r.take(u)
		}
		return err
	}
	return errEnded
}

// take makes the desired state be as u says. An error ends the stream, and the
// next one begins with everything.
func (r *Reconciler) take(u Update) error {
	fresh := Config{Peers: u.Set}
	if u.Interface != nil {
		fresh.Interface = *u.Interface
	}
	fresh = fresh.Canonical()
	if u.Set = fresh.Peers; u.Interface != nil {
		u.Interface = &fresh.Interface
	}

	r.taking.Lock()
	defer r.taking.Unlock()
	r.mu.Lock()
	old, last := r.desired, r.fitting.Interface
	r.mu.Unlock()
	if behind(old.Revision, u.To) {
		r.log.Warn("an older configuration was offered, and is ignored",
			"rev", u.To.String(), "have", old.Revision.String())
		return nil
	}
	next, err := old.Apply(u)
	if err != nil {
		r.mu.Lock()
		r.anew = true
		r.mu.Unlock()
		return err
	}
	fitting := fit(next, last, r.c.Now())

	r.mu.Lock()
	r.desired, r.fitting, r.known, r.anew, r.kept = next, fitting, true, false, nil
	r.relink()
	r.word(true)
	if next.Revision != r.status.Applied {
		r.owe()
	}
	r.mu.Unlock()
	r.wake.set()
	r.sib.dismiss(u, next)
	r.keep.put(r.c.Location, next, len(u.Remove) > 0 || u.Interface != nil)
	r.c.Trace.updated(u.From, u.To)
	return nil
}

// behind says that next is of the same history as have, and before it.
func behind(have, next Revision) bool {
	return have.Epoch == next.Epoch && next.Number < have.Number
}

// unlink notes why the stream ended. It changes nothing else: no error and no
// silence takes access from anybody.
func (r *Reconciler) unlink(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	again := r.link != nil && r.link.Error() == err.Error()
	r.link, r.since = err, time.Time{}
	if !again {
		r.log.Warn("the control plane is away; everything stays as it is", "err", err)
	}
	r.c.Trace.linked(err)
}

// relink notes that the plane answers. The caller holds mu.
func (r *Reconciler) relink() {
	if r.link == nil {
		return
	}
	r.link = nil
	r.log.Info("connected to the control plane", "rev", r.desired.Revision.String())
	r.c.Trace.linked(nil)
}
