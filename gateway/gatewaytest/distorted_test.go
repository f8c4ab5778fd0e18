package gatewaytest_test

import (
	"context"
	"iter"
	"sync"

	"github.com/holdfastvpn/holdfast/gateway"
)

type (
	updates     = iter.Seq2[gateway.Update, error]
	assignments = iter.Seq2[[]gateway.Assignment, error]
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

// onUpdates distorts each update and each reason of a watch, one by one.
func onUpdates(o gateway.ControlPlane, change func(gateway.Update, error) (gateway.Update, error)) gateway.ControlPlane {
	return distorted{ControlPlane: o,
		watch: func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
			return mapped(o.Watch(ctx, id, at, have), change)
		}}
}

// onWatches distorts each watch as a whole: change reads it, and yields what it will.
func onWatches(o gateway.ControlPlane, change func(ctx context.Context, in updates, yield func(gateway.Update, error) bool)) gateway.ControlPlane {
	return distorted{ControlPlane: o,
		watch: func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) updates {
			return func(yield func(gateway.Update, error) bool) { change(ctx, o.Watch(ctx, id, at, have), yield) }
		}}
}

// onReports distorts each report, and what is answered.
func onReports(o gateway.ControlPlane, change func(s gateway.Status, tell func(gateway.Status) error) error) gateway.ControlPlane {
	return distorted{ControlPlane: o,
		report: func(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error {
			return change(s, func(s gateway.Status) error { return o.Report(ctx, id, at, s) })
		}}
}

// seat is a gateway at a location.
type seat struct {
	id gateway.ID
	at gateway.LocationID
}

// places are the locations of assignments, and never nil.
func places(list []gateway.Assignment) []gateway.LocationID {
	at := []gateway.LocationID{}
	for _, a := range list {
		at = append(at, a.Location)
	}
	return at
}

// onSiblings distorts the siblings of each assignment.
func onSiblings(o gateway.ControlPlane, change func(seat, []gateway.Sibling) []gateway.Sibling) gateway.ControlPlane {
	return distorted{ControlPlane: o, assigned: func(ctx context.Context, id gateway.ID) assignments {
		return mapped(o.Assigned(ctx, id), func(list []gateway.Assignment, err error) ([]gateway.Assignment, error) {
			out := make([]gateway.Assignment, len(list))
			for i, a := range list {
				out[i] = a.Clone() // of a stub, what it says next
				out[i].Siblings = change(seat{id, a.Location}, out[i].Siblings)
			}
			return out, err
		})
	}}
}

// queued reads on whether or not somebody takes what it read. When the reader has gone,
// it calls cancel and waits for what it reads to end; with no cancel it leaves that to
// itself.
func queued[T any](seq iter.Seq2[T, error], cancel func()) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		type item struct {
			v   T
			err error
		}
		var (
			mu    sync.Mutex
			queue []item
			ended bool
			more  = make(chan struct{}, 1)
		)
		poke := func() {
			select {
			case more <- struct{}{}:
			default:
			}
		}
		var wg sync.WaitGroup
		if cancel != nil {
			defer wg.Wait()
			defer cancel()
		}
		wg.Go(func() {
			for v, err := range seq {
				mu.Lock()
				queue = append(queue, item{v, err})
				mu.Unlock()
				poke()
			}
			mu.Lock()
			ended = true
			mu.Unlock()
			poke()
		})
		for {
			mu.Lock()
			next, over := queue, ended
			queue = nil
			mu.Unlock()
			for _, i := range next {
				if !yield(i.v, i.err) {
					return
				}
			}
			switch {
			case len(next) > 0:
			case over:
				return
			default:
				<-more
			}
		}
	}
}
