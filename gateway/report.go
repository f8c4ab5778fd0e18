package gateway

import (
	"context"
	"errors"
	"slices"
	"time"
)

const (
	// heartbeat is how often a Report is sent when there is nothing to tell.
	heartbeat = 2 * time.Second
	// gather is how long sightings are gathered for one Report.
	gather = time.Second
	// answer is how long the plane may take to accept a Report.
	answer = 10 * time.Second
)

// report tells the plane what the gateway is and saw, until ctx ends: at once
// when it is something else than before, soon when somebody was heard, and now
// and then so that the plane knows that it lives.
func (r *Reconciler) report(ctx context.Context) {
	b := newBackoff(heartbeat)
	var (
		accepted uint64
		full     = true
		retry    = false // the last one failed: only the timer sends the next
		sent     = r.c.Now()
		next     = time.NewTimer(heartbeat)
	)
	defer next.Stop()
	for {
		news := r.news
		if retry {
			news = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-r.seen:
			if !retry {
				next.Reset(min(max(gather-r.c.Now().Sub(sent), 0), gather))
			}
			continue
		case <-news:
		case <-next.C:
		}
		s, upTo := r.compose(full, accepted)
		err := r.send(ctx, s)
		if errors.Is(err, ErrGap) && !full {
			s, upTo = r.compose(true, 0)
			err = r.send(ctx, s)
		}
		sent = r.c.Now()
		if err != nil {
			full, retry = true, true
			next.Reset(aside(err) + b.NextBackOff())
			continue
		}
		r.accepted(s)
		accepted, full, retry = upTo, false, false
		b.Reset()
		next.Reset(heartbeat)
	}
}

// send sends one Report.
func (r *Reconciler) send(ctx context.Context, s Status) error {
	ctx, cancel := context.WithTimeout(ctx, answer)
	context.AfterFunc(ctx, cancel) // not sooner: see Planes
	err := r.c.Plane.Report(ctx, r.c.ID, r.c.Location, s)
	r.c.Trace.reported(s, err)
	return err
}

// compose returns the Status that is to be told, and what Since counted.
func (r *Reconciler) compose(full bool, accepted uint64) (Status, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steady()
	s := r.status
	s.Epoch, s.Version, s.Full, s.Restored = r.epoch, r.c.Version, full, r.restored
	s.Failed, s.Drift = slices.Clone(s.Failed), slices.Clone(s.Drift)
	if p, ok := r.keep.problem(r.c.Location); ok {
		s.Failed = slices.Insert(s.Failed, 0, p)
	}
	if full {
		accepted = 0
	}
	var next uint64
	s.Seen, next = r.activity.Since(accepted)
	return s, next
}
