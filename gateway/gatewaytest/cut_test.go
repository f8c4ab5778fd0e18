package gatewaytest_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/internal/planted"
)

// cuttable is a link of the kind that RunWire wants, with a fault when it is cut.
type cuttable struct {
	gateway.ControlPlane

	blind   bool  // streams at the other end go on
	forgets bool  // who comes again gets everything
	dulls   bool  // a cut looks like the stream's end
	says    error // instead of "it is cut"
	cracks  bool  // half of what is large is told, and then the cut

	mu      sync.Mutex
	cut     bool
	changed chan struct{}
}

var errCut = errors.New("cut")

func (c *cuttable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *cuttable) state() (bool, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut, c.changed
}

// until ends with a cut.
func (c *cuttable) until(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	why := errCut
	if c.says != nil {
		why = c.says
	}
	cut, changed := c.state()
	if cut {
		cancel(why)
	}
	go func() {
		select {
		case <-changed:
			cancel(why)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

func (c *cuttable) Assigned(ctx context.Context, id gateway.ID) assignments {
	return func(yield func([]gateway.Assignment, error) bool) {
		inner, end := c.until(ctx)
		defer end()
		if inner.Err() != nil {
			yield(nil, context.Cause(inner))
			return
		}
		for at, err := range c.ControlPlane.Assigned(inner, id) {
			if !yield(at, err) {
				return
			}
		}
	}
}

func (c *cuttable) Report(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error {
	inner, end := c.until(ctx)
	defer end()
	if inner.Err() != nil {
		return context.Cause(inner)
	}
	return c.ControlPlane.Report(inner, id, at, s)
}

func (c *cuttable) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
	return func(yield func(gateway.Update, error) bool) {
		inner, end := c.until(ctx)
		defer end()
		if inner.Err() != nil {
			yield(gateway.Update{}, context.Cause(inner))
			return
		}
		far := inner
		if c.blind {
			far = ctx
		}
		if c.forgets {
			have = gateway.Revision{}
		}
		said := make(chan gateway.Update)
		ended := make(chan error, 1)
		go func() {
			for u, err := range c.ControlPlane.Watch(far, id, at, have) {
				if err != nil {
					ended <- err
					return
				}
				select {
				case said <- u:
				case <-inner.Done():
				}
			}
		}()
		for {
			select {
			case u := <-said:
				if c.cracks && len(u.Set) > 1000 {
					u.Set = u.Set[:1000]
				}
				if !yield(u.Clone(), nil) {
					return
				}
			case err := <-ended:
				yield(gateway.Update{}, err)
				return
			case <-inner.Done():
				if ctx.Err() == nil && !c.dulls {
					yield(gateway.Update{}, context.Cause(inner))
				}
				return
			}
		}
	}
}

func TestWireSuiteFindsFaults(t *testing.T) {
	const (
		ends     = "a cut ends everything, and is no reason of the plane"
		noticed  = "a cut is noticed at the other end"
		resumes  = "after a cut a reader goes on from where it was"
		middle   = "of an update that breaks off nothing is told"
		replaces = "who comes again after a cut takes over"
	)
	for _, c := range []struct {
		sin    string
		fault  *cuttable
		notice []string
	}{
		{"the other end is not told", &cuttable{blind: true}, []string{noticed}},
		{"what the reader has is forgotten", &cuttable{forgets: true}, []string{resumes}},
		{"a stream that was cut just ends", &cuttable{dulls: true}, []string{ends, resumes, middle}},
		{"a cut looks like a revocation", &cuttable{says: gateway.ErrRevoked}, []string{ends, resumes, middle, replaces}},
		{"a part is told", &cuttable{cracks: true}, []string{middle}},
	} {
		t.Run(c.sin, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				planted.Exactly(t, gatewaytest.CutCases(func(_ testing.TB, o gateway.ControlPlane) gatewaytest.Wire {
					w := &cuttable{
						ControlPlane: o, changed: make(chan struct{}), blind: c.fault.blind, forgets: c.fault.forgets,
						dulls: c.fault.dulls, says: c.fault.says, cracks: c.fault.cracks,
					}
					return gatewaytest.Wire{ControlPlane: w, Cut: func() { w.set(true) }, Heal: func() { w.set(false) }}
				}), c.notice...)
			})
		})
	}
}
