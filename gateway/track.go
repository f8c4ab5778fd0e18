package gateway

import (
	"context"
	"sync"
	"time"
)

// Flows says what is known of connections at the location's inner addresses.
func (r *Reconciler) Flows() FlowCount { return r.sib.flows.counts(time.Now()) }

// track follows the connections of peers, until ctx ends, so that siblings are told of
// them; when an inner address comes, those that siblings told go on here.
func (r *Reconciler) track(ctx context.Context) {
	tracker, able := r.c.Device.(Tracker)
	if !able {
		return
	}
	for ctx.Err() == nil {
		inner, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		face := r.sib.flows.seen()
		if !face.IsZero() {
			wg.Go(func() {
				for c := range tracker.Flows(inner, face) {
					r.adopt(inner, tracker, face, r.sib.flows.change(c, time.Now()))
					r.sib.tell()
				}
			})
		}
		for faced := false; !faced && ctx.Err() == nil; {
			select {
			case <-ctx.Done():
			case <-r.sib.flows.faced:
				faced = true
			case <-r.sib.flows.late:
				r.adopt(inner, tracker, face, r.sib.flows.lately())
			}
		}
		stop()
		wg.Wait()
	}
}

// adopt makes the device know connections that others knew.
func (r *Reconciler) adopt(ctx context.Context, by Tracker, face Interface, flows []Flow) {
	if len(flows) == 0 {
		return
	}
	began := time.Now()
	err := by.Adopt(ctx, face, flows)
	if err != nil && ctx.Err() == nil {
		r.log.Warn("connections may hang that came with an inner address", "err", err)
		return
	}
	r.sib.flows.adopted(len(flows))
	r.log.Info("connections came with an inner address", "count", len(flows), "took", time.Since(began))
}
