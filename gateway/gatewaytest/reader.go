package gatewaytest

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

// soon is how long a case waits for something that has to happen.
const soon = 10 * time.Second

// reader reads a stream, one value for each call of next: it is as slow as the
// test.
type reader[T any] struct {
	tb     testing.TB
	values chan T
	cancel context.CancelFunc
	done   chan struct{}
	err    error // after done
}

// read opens a stream and starts to read it.
func read[T any](tb testing.TB, open func(context.Context) iter.Seq2[T, error]) *reader[T] {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	r := &reader[T]{tb: tb, values: make(chan T), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for v, err := range open(ctx) {
			if err != nil {
				r.err = err
				return
			}
			select {
			case r.values <- v:
			case <-ctx.Done():
				return
			}
		}
	}()
	tb.Cleanup(cancel)
	return r
}

// next returns the next value.
func (r *reader[T]) next() T {
	r.tb.Helper()
	t := time.NewTimer(soon)
	defer t.Stop()
	var v T
	select {
	case v = <-r.values:
	case <-r.done:
		r.tb.Fatalf("the stream ended: %v", r.err)
	case <-t.C:
		r.tb.Fatalf("nothing came within %v", soon)
	}
	return v
}

// end waits until the stream has ended, and returns why. Values that still come
// are thrown away.
func (r *reader[T]) end() error {
	r.tb.Helper()
	t := time.NewTimer(soon)
	defer t.Stop()
	for {
		select {
		case <-r.values:
		case <-r.done:
			return r.err
		case <-t.C:
			r.tb.Fatalf("the stream did not end within %v", soon)
		}
	}
}

// follower reads updates and adds them up.
type follower struct {
	*reader[gateway.Update]

	have    gateway.Config
	updates int
}

func follow(tb testing.TB, plane gateway.ControlPlane, id gateway.ID, at gateway.LocationID, have gateway.Config) *follower {
	tb.Helper()
	return &follower{have: have, reader: read(tb, func(ctx context.Context) iter.Seq2[gateway.Update, error] {
		return plane.Watch(ctx, id, at, have.Revision)
	})}
}

// step reads the next update and adds it, and requires that it starts where the
// last one ended and does not go back.
func (f *follower) step() gateway.Update {
	f.tb.Helper()
	u := f.next()
	if !f.have.Revision.IsZero() && !u.From.IsZero() {
		require.Equal(f.tb, f.have.Revision, u.From, "there is a gap")
	}
	if u.To.Epoch == f.have.Revision.Epoch {
		require.Greater(f.tb, u.To.Number, f.have.Revision.Number, "the order went back")
	}
	next, err := f.have.Apply(u)
	require.NoError(f.tb, err)
	f.have = next.Canonical()
	f.updates++
	return u
}

// reach reads until the location is as the origin says now.
func (f *follower) reach(want gateway.Config) {
	f.tb.Helper()
	for !f.have.Revision.Reached(want.Revision) {
		f.step()
	}
	if f.have.Revision == want.Revision {
		require.True(f.tb, f.have.Equal(want.Canonical()), "have %v\nwant %v", f.have, want)
	}
}
