package gatewaytest_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/internal/planted"
)

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
		siblings  = "siblings come with the assignment"
		anew      = "a change of siblings alone is told"
		inOrder   = "siblings are in order"
		others    = "a gateway is no sibling of itself"
		stolen    = "who is revoked is nobody's sibling"
		owned     = "siblings that a reader gets are its own"
		once      = "assignments are not told again"
		fields    = "every field of an assignment crosses"
		crowdOf   = "an assignment of any size crosses as one"
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
				return onReports(o, func(s gateway.Status, tell func(gateway.Status) error) error {
					if err := tell(s); err != nil {
						return fmt.Errorf("%w: %s", gateway.ErrStale, err.Error())
					}
					return nil
				})
			}, []string{nobody, revoked, full, reasons},
		},
		{
			"a field of a report is lost", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return onReports(o, func(s gateway.Status, tell func(gateway.Status) error) error {
					s = s.Clone()
					for i := range s.Seen {
						s.Seen[i].Tx = 0
					}
					return tell(s)
				})
			}, []string{report},
		},
		{
			"a field of an update is lost", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return onUpdates(o, func(u gateway.Update, err error) (gateway.Update, error) {
					u = u.Clone()
					for i := range u.Set {
						u.Set[i].Preshared = gatewaytest.Peers(1)[0].Preshared
					}
					return u, err
				})
			}, []string{update, crowd},
		},
		{
			"the end of a location looks like no change", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return onUpdates(o, func(u gateway.Update, err error) (gateway.Update, error) {
					if u.Interface != nil && u.Interface.IsZero() {
						u.Interface = nil
					}
					return u, err
				})
			}, []string{ends, update},
		},
		{
			"some updates are lost", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return onWatches(o, func(_ context.Context, in updates, yield func(gateway.Update, error) bool) {
					n := 0
					for u, err := range in {
						if n++; n%3 == 0 && err == nil {
							continue
						}
						if !yield(u, err) {
							return
						}
					}
				})
			}, []string{deltas, addUp, slow, replaced, update, crowd, history},
		},
		{
			"an update comes twice", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return onWatches(o, func(_ context.Context, in updates, yield func(gateway.Update, error) bool) {
					for u, err := range in {
						if !yield(u, err) || !u.From.IsZero() && !yield(u, err) {
							return
						}
					}
				})
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
				return onWatches(o, func(_ context.Context, in updates, yield func(gateway.Update, error) bool) {
					for u, err := range in {
						turn <- struct{}{}
						more := yield(u, err)
						<-turn
						if !more {
							return
						}
					}
				})
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
					return func(yield func([]gateway.Assignment, error) bool) {
						for at, err := range o.Assigned(ctx, id) {
							if !yield(at, err) || err != nil {
								return
							}
							<-ctx.Done()
							return
						}
					}
				}}
			}, []string{assigned, revoked, anew, stolen, owned, once, fields, crowdOf},
		},
		{
			"assignments are in no order", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o, assigned: func(ctx context.Context, id gateway.ID) assignments {
					return mapped(o.Assigned(ctx, id), func(at []gateway.Assignment, err error) ([]gateway.Assignment, error) {
						at = slices.Clone(at)
						slices.Reverse(at)
						return at, err
					})
				}}
			}, []string{assigned, fields, crowdOf},
		},
		{
			"siblings are not told", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return onSiblings(o, func(seat, []gateway.Sibling) []gateway.Sibling { return nil })
			}, []string{siblings, anew, inOrder, others, stolen, owned, once, fields, crowdOf},
		},
		{
			"siblings are in no order", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return onSiblings(o, func(_ seat, s []gateway.Sibling) []gateway.Sibling {
					slices.Reverse(s)
					return s
				})
			}, []string{siblings, inOrder, owned, fields, crowdOf},
		},
		{
			"a gateway is a sibling of its own", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return onSiblings(o, func(me seat, s []gateway.Sibling) []gateway.Sibling {
					s = append(s, gateway.Sibling{ID: me.id})
					slices.SortFunc(s, func(a, b gateway.Sibling) int { return cmp.Compare(a.ID, b.ID) })
					return s
				})
			}, []string{siblings, anew, others, stolen, owned, once, fields, crowdOf},
		},
		{
			"where siblings are dialled is lost", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return onSiblings(o, func(_ seat, s []gateway.Sibling) []gateway.Sibling {
					for i := range s {
						s[i].Addr = ""
					}
					return s
				})
			}, []string{siblings, anew, fields, crowdOf},
		},
		{
			"siblings are as they were when the location was assigned", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o, assigned: func(ctx context.Context, id gateway.ID) assignments {
					return func(yield func([]gateway.Assignment, error) bool) {
						var last []gateway.LocationID
						for list, err := range o.Assigned(ctx, id) {
							now := places(list)
							if err == nil && last != nil && slices.Equal(now, last) {
								continue
							}
							if last = now; !yield(list, err) {
								return
							}
						}
					}
				}}
			}, []string{anew, stolen, owned, once},
		},
		{
			"who was a sibling stays one", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				var mu sync.Mutex
				ever := map[seat][]gateway.Sibling{}
				return onSiblings(o, func(me seat, s []gateway.Sibling) []gateway.Sibling {
					mu.Lock()
					defer mu.Unlock()
					if len(s) < len(ever[me]) {
						return slices.Clone(ever[me])
					}
					ever[me] = slices.Clone(s)
					return s
				})
			}, []string{anew, stolen},
		},
		{
			"the lists of siblings are shared", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				var mu sync.Mutex
				said := map[string][]gateway.Sibling{}
				return onSiblings(o, func(me seat, s []gateway.Sibling) []gateway.Sibling {
					mu.Lock()
					defer mu.Unlock()
					name := fmt.Sprint(me, s)
					if said[name] == nil {
						said[name] = s
					}
					return said[name]
				})
			}, []string{owned},
		},
		{
			"assignments are told twice", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return distorted{ControlPlane: o, assigned: func(ctx context.Context, id gateway.ID) assignments {
					return func(yield func([]gateway.Assignment, error) bool) {
						for list, err := range o.Assigned(ctx, id) {
							for range 2 {
								if !yield(list, err) {
									return
								}
							}
						}
					}
				}}
			}, []string{once, fields, crowdOf},
		},
		{
			"a stream ends without a reason", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return onWatches(o, func(_ context.Context, in updates, yield func(gateway.Update, error) bool) {
					for u, err := range in {
						if err != nil || !yield(u, nil) {
							return
						}
					}
				})
			}, []string{replaced, elsewhere, nobody, revoked, reasons, stale},
		},
		{
			"memory is shared", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				var mu sync.Mutex
				said := map[gateway.Revision]gateway.Update{}
				return onUpdates(o, func(u gateway.Update, err error) (gateway.Update, error) {
					mu.Lock()
					defer mu.Unlock()
					if old, ok := said[u.To]; ok && err == nil && u.From.IsZero() {
						return old, nil
					}
					if u.From.IsZero() {
						said[u.To] = u
					}
					return u, err
				})
			}, []string{copies, update},
		},
		{
			"reports need not be full", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return onReports(o, func(s gateway.Status, tell func(gateway.Status) error) error {
					err := tell(s)
					if errors.Is(err, gateway.ErrGap) {
						return nil
					}
					return err
				})
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
				return onReports(o, func(s gateway.Status, tell func(gateway.Status) error) error {
					s.Failed = s.Failed[:min(most, len(s.Failed))]
					return tell(s)
				})
			}, []string{crowded},
		},
		{
			"a stale plane is waited for in silence", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return onWatches(o, func(ctx context.Context, in updates, yield func(gateway.Update, error) bool) {
					for u, err := range in {
						if errors.Is(err, gateway.ErrStale) {
							<-ctx.Done()
							return
						}
						if !yield(u, err) {
							return
						}
					}
				})
			}, []string{reasons, stale},
		},
		{
			"of two histories the first is believed", func(o gateway.ControlPlane, _ <-chan struct{}) gateway.ControlPlane {
				return onWatches(o, func(_ context.Context, in updates, yield func(gateway.Update, error) bool) {
					var epoch uint64
					for u, err := range in {
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
				})
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
