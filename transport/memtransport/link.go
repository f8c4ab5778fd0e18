// Package memtransport carries a gateway.ControlPlane within one process, over a
// link that tests and examples can cut, stall and slow. It is what "the network"
// is in a program without one: an update crosses it as a copy, a cut ends the
// streams on it, and a stalled one says nothing at all.
package memtransport

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
)

// ErrCut is what streams on a link end with when it is cut, and what everything
// on it fails with until it is healed.
var ErrCut = errors.New("memtransport: the link is cut")

var _ gateway.ControlPlane = (*Link)(nil)

// Link is a gateway.ControlPlane that reaches another one. It is safe for
// concurrent use.
type Link struct {
	origin gateway.ControlPlane

	mu      sync.Mutex
	cut     bool
	stalled bool
	delay   time.Duration
	changed chan struct{} // closed and replaced when any of these changes
	streams map[*context.CancelCauseFunc]bool
}

// New returns a link to origin, healed and without delay.
func New(origin gateway.ControlPlane) *Link {
	return &Link{
		origin:  origin,
		changed: make(chan struct{}),
		streams: map[*context.CancelCauseFunc]bool{},
	}
}

// Cut ends all streams and calls with ErrCut, and fails new ones until Heal. A
// gateway notices at once, as when a connection is reset.
func (l *Link) Cut() {
	l.change(func() {
		l.cut = true
		for cancel := range l.streams {
			(*cancel)(ErrCut)
		}
	})
}

// Stall lets nothing pass until Heal, and nobody notices: as when packets are
// dropped.
func (l *Link) Stall() { l.change(func() { l.stalled = true }) }

// Heal ends what Cut and Stall did. Streams that were stalled go on.
func (l *Link) Heal() { l.change(func() { l.cut, l.stalled = false, false }) }

// Slow makes everything take d to cross the link, either way; 0 is at once.
func (l *Link) Slow(d time.Duration) { l.change(func() { l.delay = d }) }

func (l *Link) change(edit func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	edit()
	close(l.changed)
	l.changed = make(chan struct{})
}

// open begins a stream or call: its context also ends with a cut, and end ends
// it.
func (l *Link) open(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams[&cancel] = true
	if l.cut {
		cancel(ErrCut)
	}
	return ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.streams, &cancel)
		cancel(nil)
	}
}

// cross waits until something may cross the link once.
func (l *Link) cross(ctx context.Context) error {
	for slowed := false; ; {
		l.mu.Lock()
		stalled, delay, changed := l.stalled, l.delay, l.changed
		l.mu.Unlock()
		if err := context.Cause(ctx); err != nil {
			return err
		}
		var wait <-chan time.Time
		switch {
		case stalled:
		case delay > 0 && !slowed:
			t := time.NewTimer(delay)
			defer t.Stop()
			wait, changed, slowed = t.C, nil, true
		default:
			return nil
		}
		select {
		case <-changed:
		case <-wait:
		case <-ctx.Done():
		}
	}
}

// Watch implements gateway.ControlPlane.
func (l *Link) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision,
) iter.Seq2[gateway.Update, error] {
	return stream(ctx, l, "watch", gateway.Update.Clone, func(ctx context.Context) iter.Seq2[gateway.Update, error] {
		return l.origin.Watch(ctx, id, at, have)
	})
}

// Assigned implements gateway.ControlPlane.
func (l *Link) Assigned(ctx context.Context, id gateway.ID) iter.Seq2[[]gateway.LocationID, error] {
	clone := func(at []gateway.LocationID) []gateway.LocationID { return append([]gateway.LocationID{}, at...) }
	return stream(ctx, l, "assigned", clone, func(ctx context.Context) iter.Seq2[[]gateway.LocationID, error] {
		return l.origin.Assigned(ctx, id)
	})
}

// Report implements gateway.ControlPlane.
func (l *Link) Report(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error {
	ctx, end := l.open(ctx)
	defer end()
	err := l.cross(ctx)
	if err == nil {
		err = l.origin.Report(ctx, id, at, s.Clone())
		if back := l.cross(ctx); back != nil {
			err = back // it may have arrived, but nobody knows
		}
	}
	if err != nil {
		return fmt.Errorf("memtransport: report: %w", err)
	}
	return nil
}

// stream carries what a stream of the origin yields, as copies.
func stream[T any](ctx context.Context, l *Link, what string, clone func(T) T,
	open func(context.Context) iter.Seq2[T, error],
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		inner, end := l.open(ctx)
		defer end()
		err := l.cross(inner)
		if err == nil {
			for v, bad := range open(inner) {
				if err = l.cross(inner); err == nil {
					err = bad
				}
				if err != nil {
					break
				}
				if !yield(clone(v), nil) {
					return
				}
			}
		}
		if err == nil {
			err = context.Cause(inner) // the origin saw its context end, and said nothing
		}
		if err != nil && ctx.Err() == nil {
			yield(none, fmt.Errorf("memtransport: %s: %w", what, err))
		}
	}
}
