// Package memtransport carries a gateway.ControlPlane ([Link]), and what gateways tell
// each other ([Pair]), within one process, over links that tests and examples can cut,
// stall and slow. It is what "the network" is in a program without one: an update
// crosses it as a copy, a cut ends the streams on it, and a stalled one says nothing at
// all.
package memtransport

import (
	"context"
	"errors"
	"fmt"
	"iter"
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
	line   *line
}

// New returns a link to origin, healed and without delay.
func New(origin gateway.ControlPlane) *Link { return &Link{origin: origin, line: newLine()} }

// Cut ends all streams and calls with ErrCut, and fails new ones until Heal. A
// gateway notices at once, as when a connection is reset.
func (l *Link) Cut() { l.line.sever() }

// Stall lets nothing pass until Heal, and nobody notices: as when packets are
// dropped.
func (l *Link) Stall() { l.line.change(func() { l.line.stalled = true }) }

// Heal ends what Cut and Stall did. Streams that were stalled go on.
func (l *Link) Heal() { l.line.change(func() { l.line.cut, l.line.stalled = false, false }) }

// Slow makes everything take d to cross the link, either way; 0 is at once.
func (l *Link) Slow(d time.Duration) { l.line.change(func() { l.line.delay = d }) }

// Watch implements gateway.ControlPlane.
func (l *Link) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision,
) iter.Seq2[gateway.Update, error] {
	return stream(ctx, l.line, "watch", gateway.Update.Clone, func(ctx context.Context) iter.Seq2[gateway.Update, error] {
		return l.origin.Watch(ctx, id, at, have)
	})
}

// Assigned implements gateway.ControlPlane.
func (l *Link) Assigned(ctx context.Context, id gateway.ID) iter.Seq2[[]gateway.Assignment, error] {
	clone := func(list []gateway.Assignment) []gateway.Assignment {
		out := make([]gateway.Assignment, len(list))
		for i, a := range list {
			out[i] = a.Clone()
		}
		return out
	}
	return stream(ctx, l.line, "assigned", clone, func(ctx context.Context) iter.Seq2[[]gateway.Assignment, error] {
		return l.origin.Assigned(ctx, id)
	})
}

// Report implements gateway.ControlPlane.
func (l *Link) Report(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error {
	ctx, end := l.line.open(ctx)
	defer end()
	err := l.line.cross(ctx)
	if err == nil {
		err = l.origin.Report(ctx, id, at, s.Clone())
		if back := l.line.cross(ctx); back != nil {
			err = back // it may have arrived, but nobody knows
		}
	}
	if err != nil {
		return fmt.Errorf("memtransport: report: %w", err)
	}
	return nil
}

// stream carries what a stream of the origin yields, as copies.
func stream[T any](ctx context.Context, l *line, what string, clone func(T) T,
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
