package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// newBackoff spreads retries over time: the n-th waits somewhere between nothing
// and twice a growing interval, and never more than most.
func newBackoff(most time.Duration) *backoff.ExponentialBackOff {
	b := &backoff.ExponentialBackOff{
		InitialInterval:     min(250*time.Millisecond, most/2),
		RandomizationFactor: 1,
		Multiplier:          2,
		MaxInterval:         most / 2,
	}
	b.Reset()
	return b
}

// aside is how much longer to wait when the plane does not want us: trying
// often changes nothing.
func aside(err error) time.Duration {
	if errors.Is(err, ErrRevoked) || errors.Is(err, ErrUnknown) || errors.Is(err, ErrReplaced) {
		return 5 * time.Second
	}
	return 0
}

// persist calls stream again whenever it ends, until ctx does, and ended with the
// reason each time. The first time again is at once; then waits grow, and a
// stream that did not live long counts as a failure.
func persist(ctx context.Context, now func() time.Time, stream func(context.Context) error, ended func(error)) {
	const lived = 10 * time.Second
	b := newBackoff(10 * time.Second)
	for failures := 0; ; failures++ {
		began := now()
		err := stream(ctx)
		if ctx.Err() != nil {
			return
		}
		ended(err)
		if now().Sub(began) >= lived {
			failures = 0
			b.Reset()
		}
		wait := aside(err)
		if failures > 0 {
			wait += b.NextBackOff()
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// pause waits, and says whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// signal is a channel with room for one: set never waits, and many are one.
type signal chan struct{}

func (s signal) set() {
	select {
	case s <- struct{}{}:
	default:
	}
}
