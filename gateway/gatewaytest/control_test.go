package gatewaytest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/internal/planted"
)

func TestPlane(t *testing.T) {
	gatewaytest.RunOrigin(t, func(testing.TB) gatewaytest.Origin { return gatewaytest.NewPlane().Origin() })
	gatewaytest.RunControlPlane(t, func(_ testing.TB, o gateway.ControlPlane) gateway.ControlPlane { return o })
}

type (
	updates     = iter.Seq2[gateway.Update, error]
	assignments = iter.Seq2[[]gateway.LocationID, error]
)

// distorted is a control plane that distorts what another one says.
type distorted struct {
	gateway.ControlPlane

	watch    func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates
	assigned func(ctx context.Context, id gateway.ID) assignments
	report   func(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error
}

func (d distorted) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
	if d.watch != nil {
		return d.watch(ctx, id, at, have)
	}
	return d.ControlPlane.Watch(ctx, id, at, have)
}

func (d distorted) Assigned(ctx context.Context, id gateway.ID) assignments {
	if d.assigned != nil {
		return d.assigned(ctx, id)
	}
	return d.ControlPlane.Assigned(ctx, id)
}

func (d distorted) Report(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error {
	if d.report != nil {
		return d.report(ctx, id, at, s)
	}
	return d.ControlPlane.Report(ctx, id, at, s)
}

// mapped distorts each update and each reason, one by one.
func mapped[T any](seq iter.Seq2[T, error], change func(T, error) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for v, err := range seq {
			if !yield(change(v, err)) {
				return
			}
		}
	}
}

func onUpdates(change func(gateway.Update, error) (gateway.Update, error)) func(gateway.ControlPlane) gateway.ControlPlane {
	return func(o gateway.ControlPlane) gateway.ControlPlane {
		return distorted{ControlPlane: o,
			watch: func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
				return mapped(o.Watch(ctx, id, at, have), change)
			}}
	}
}

func TestControlPlaneSuiteFindsFaults(t *testing.T) {
	const (
		deltas    = "then come differences"
		addUp     = "random changes add up"
		slow      = "a slow reader gets fewer updates and holds up nobody"
		resume    = "who knows a revision gets what changed since"
		unknown   = "a revision that nobody knows gets everything"
		ends      = "a location that ends says so"
		copies    = "what a reader gets is its own"
		endsCtx   = "a watch ends with its context"
		replaced  = "a second watch takes over from the first"
		assigned  = "assignments come at once, and after every change"
		elsewhere = "a location that is not assigned is not watched"
		nobody    = "an unknown gateway is refused"
		revoked   = "a revoked gateway is refused"
		full      = "the first report of a process has to be full"
		reasons   = "every reason crosses"
		update    = "every field of an update crosses"
		report    = "every field of a report crosses"
		question  = "who asks, where and with which revision crosses"
		gone      = "a reader who has gone is noticed at the other end"
		crowd     = "an update of any size crosses as one"
		crowded   = "a report of any size crosses as one"
		stale     = "a plane that is stale says so, and is gone on with later"
		history   = "another history begins in the middle of a stream"
	)
	for _, c := range []struct {
		sin    string
		fault  func(o gateway.ControlPlane, stop <-chan struct{}) gateway.ControlPlane
		notice []string
	}{
		{
			"reasons become words", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o,
					watch: func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
						return mapped(o.Watch(ctx, id, at, have), func(u gateway.Update, err error) (gateway.Update, error) {
							if err != nil {
								err = errors.New(err.Error())
							}
							return u, err
						})
					}}
			}, []string{replaced, nobody, revoked, reasons, stale},
		},
		{
			"every reason becomes stale", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o,
					report: func(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error {
						if err := o.Report(ctx, id, at, s); err != nil {
							return fmt.Errorf("%w: %s", gateway.ErrStale, err.Error())
						}
						return nil
					}}
			}, []string{nobody, revoked, full, reasons},
		},
		{
			"a field of a report is lost", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o,
					report: func(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error {
						s = s.Clone()
						for i := range s.Seen {
							s.Seen[i].Tx = 0
						}
						return o.Report(ctx, id, at, s)
					}}
			}, []string{report},
		},
		{
			"a field of an update is lost", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return onUpdates(func(u gateway.Update, err error) (gateway.Update, error) {
					u = u.Clone()
					for i := range u.Set {
						u.Set[i].Preshared = gatewaytest.Peers(1)[0].Preshared
					}
					return u, err
				})(o)
			}, []string{update, crowd},
		},
		{
			"the end of a location looks like no change", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return onUpdates(func(u gateway.Update, err error) (gateway.Update, error) {
					if u.Interface != nil && u.Interface.IsZero() {
						u.Interface = nil
					}
					return u, err
				})(o)
			}, []string{ends, update},
		},
		{
			"some updates are lost", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o,
					watch: func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
						return func(yield func(gateway.Update, error) bool) {
							n := 0
							for u, err := range o.Watch(ctx, id, at, have) {
								if n++; n%3 == 0 && err == nil {
									continue
								}
								if !yield(u, err) {
									return
								}
							}
						}
					}}
			}, []string{deltas, addUp, slow, replaced, update, crowd, history},
		},
		{
			"an update comes twice", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o,
					watch: func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
						return func(yield func(gateway.Update, error) bool) {
							for u, err := range o.Watch(ctx, id, at, have) {
								if !yield(u, err) || !u.From.IsZero() && !yield(u, err) {
									return
								}
							}
						}
					}}
			}, []string{deltas, addUp, slow, replaced, update, crowd},
		},
		{
			"every update is everything", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o,
					watch: func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
						return func(yield func(gateway.Update, error) bool) {
							var sum gateway.Config
							for u, err := range o.Watch(ctx, id, at, gateway.Revision{}) {
								if err == nil {
									sum, err = sum.Apply(u)
								}
								if !yield(sum.Since(gateway.Config{}), err) {
									return
								}
							}
						}
					}}
			}, []string{deltas, resume, update, question, gone, crowd, stale},
		},
		{
			"what the reader knows is forgotten", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o,
					watch: func(ctx context.Context, id gateway.ID, at gateway.LocationID, _ gateway.Revision) updates {
						return o.Watch(ctx, id, at, gateway.Revision{})
					}}
			}, []string{resume, question, stale},
		},
		{
			"updates wait in a queue without end", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o,
					watch: func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
						ctx, cancel := context.WithCancel(ctx)
						return queued(o.Watch(ctx, id, at, have), cancel)
					}}
			}, []string{slow},
		},
		{
			"one reader at a time", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				turn := make(chan struct{}, 1)
				return distorted{ControlPlane: o,
					watch: func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
						return func(yield func(gateway.Update, error) bool) {
							for u, err := range o.Watch(ctx, id, at, have) {
								turn <- struct{}{}
								more := yield(u, err)
								<-turn
								if !more {
									return
								}
							}
						}
					}}
			}, []string{slow, replaced},
		},
		{
			"the context is not looked at", func(o gateway.ControlPlane, stop <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o,
					watch: func(_ context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
						ctx, cancel := context.WithCancel(context.Background())
						go func() { <-stop; cancel() }()
						return o.Watch(ctx, id, at, have) //nolint:contextcheck // that is the fault
					}}
			}, []string{resume, unknown, ends, endsCtx, gone},
		},
		{
			"several watches live side by side", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o,
					watch: func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
						return func(yield func(gateway.Update, error) bool) {
							for ctx.Err() == nil {
								for u, err := range o.Watch(ctx, id, at, have) {
									if errors.Is(err, gateway.ErrReplaced) {
										<-ctx.Done()
										return
									}
									if have = u.To; !yield(u, err) || err != nil {
										return
									}
								}
							}
						}
					}}
			}, []string{replaced, reasons},
		},
		{
			"assignments are told once", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o, assigned: func(ctx context.Context, id gateway.ID) assignments {
					return func(yield func([]gateway.LocationID, error) bool) {
						for at, err := range o.Assigned(ctx, id) {
							if !yield(at, err) || err != nil {
								return
							}
							<-ctx.Done()
							return
						}
					}
				}}
			}, []string{assigned, revoked},
		},
		{
			"assignments are in no order", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o, assigned: func(ctx context.Context, id gateway.ID) assignments {
					return mapped(o.Assigned(ctx, id), func(at []gateway.LocationID, err error) ([]gateway.LocationID, error) {
						at = slices.Clone(at)
						slices.Reverse(at)
						return at, err
					})
				}}
			}, []string{assigned, update},
		},
		{
			"a stream ends without a reason", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o,
					watch: func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
						return func(yield func(gateway.Update, error) bool) {
							for u, err := range o.Watch(ctx, id, at, have) {
								if err != nil || !yield(u, nil) {
									return
								}
							}
						}
					}}
			}, []string{replaced, elsewhere, nobody, revoked, reasons, stale},
		},
		{
			"memory is shared", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				var mu sync.Mutex
				said := map[gateway.Revision]gateway.Update{}
				return onUpdates(func(u gateway.Update, err error) (gateway.Update, error) {
					mu.Lock()
					defer mu.Unlock()
					if old, ok := said[u.To]; ok && err == nil && u.From.IsZero() {
						return old, nil
					}
					if u.From.IsZero() {
						said[u.To] = u
					}
					return u, err
				})(o)
			}, []string{copies, update},
		},
		{
			"reports need not be full", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o,
					report: func(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error {
						err := o.Report(ctx, id, at, s)
						if errors.Is(err, gateway.ErrGap) {
							return nil
						}
						return err
					}}
			}, []string{full, reasons},
		},
		{
			"what is large comes in pieces", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				const most = 8_000
				return distorted{ControlPlane: o,
					watch: func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
						return func(yield func(gateway.Update, error) bool) {
							for u, err := range o.Watch(ctx, id, at, have) {
								for len(u.Set) > most && err == nil {
									part := u
									part.Set, u.Set = u.Set[:most], u.Set[most:]
									if !yield(part, nil) {
										return
									}
								}
								if !yield(u, err) {
									return
								}
							}
						}
					},
					report: func(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error {
						part := s
						part.Seen, s.Seen = s.Seen[:min(most, len(s.Seen))], s.Seen[min(most, len(s.Seen)):]
						err := o.Report(ctx, id, at, part)
						if err == nil && len(s.Seen) > 0 {
							err = o.Report(ctx, id, at, s)
						}
						return err
					},
				}
			}, []string{crowd, crowded},
		},
		{
			"what is large is cut", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				const most = 8_000
				return distorted{ControlPlane: o,
					report: func(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error {
						s.Failed = s.Failed[:min(most, len(s.Failed))]
						return o.Report(ctx, id, at, s)
					},
				}
			}, []string{crowded},
		},
		{
			"a stale plane is waited for in silence", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o,
					watch: func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
						return func(yield func(gateway.Update, error) bool) {
							for u, err := range o.Watch(ctx, id, at, have) {
								if errors.Is(err, gateway.ErrStale) {
									<-ctx.Done()
									return
								}
								if !yield(u, err) {
									return
								}
							}
						}
					}}
			}, []string{reasons, stale},
		},
		{
			"of two histories the first is believed", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o,
					watch: func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
						return func(yield func(gateway.Update, error) bool) {
							var epoch uint64
							for u, err := range o.Watch(ctx, id, at, have) {
								if epoch == 0 {
									epoch = u.To.Epoch
								}
								if err == nil && u.To.Epoch != epoch && u.From.IsZero() && len(u.Set) > 1 {
									continue
								}
								if !yield(u, err) {
									return
								}
							}
						}
					}}
			}, []string{history},
		},
	} {
		t.Run(c.sin, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stop := make(chan struct{})
				link := func(_ testing.TB, o gateway.ControlPlane) gateway.ControlPlane { return c.fault(o, stop) }
				planted.Exactly(t, gatewaytest.LinkCases(link), c.notice...)
				close(stop)
			})
		})
	}
}

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
	return func(yield func([]gateway.LocationID, error) bool) {
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

// queued reads on whether or not somebody takes what it read.
func queued(seq updates, cancel func()) updates {
	return func(yield func(gateway.Update, error) bool) {
		type item struct {
			u   gateway.Update
			err error
		}
		var (
			mu    sync.Mutex
			queue []item
			ended bool
			more  = make(chan struct{}, 1)
		)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		wg.Go(func() {
			for u, err := range seq {
				mu.Lock()
				queue = append(queue, item{u, err})
				mu.Unlock()
				select {
				case more <- struct{}{}:
				default:
				}
			}
			mu.Lock()
			ended = true
			mu.Unlock()
			select {
			case more <- struct{}{}:
			default:
			}
		})
		for {
			mu.Lock()
			var next []item
			next, queue = queue, nil
			over := ended && len(next) == 0
			mu.Unlock()
			for _, i := range next {
				if !yield(i.u, i.err) {
					return
				}
			}
			if over {
				return
			}
			if len(next) == 0 {
				<-more
			}
		}
	}
}

func TestPlaneTellsWhatWasReported(t *testing.T) {
	p := gatewaytest.NewPlane()
	require.Zero(t, p.Last("gw", "office"))
	p.Assign("gw", "office")
	s := gateway.Status{Epoch: 1, Full: true, Version: "7"}
	require.NoError(t, p.Report(t.Context(), "gw", "office", s))
	require.Equal(t, s, p.Last("gw", "office"))
	require.Len(t, p.Reports("gw", "office"), 1)
}
