package gateway_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
)

// fed is a plane whose updates come from a channel.
type fed struct{ updates chan gateway.Update }

func (f fed) Assigned(context.Context, gateway.ID) iter.Seq2[[]gateway.Assignment, error] {
	return func(func([]gateway.Assignment, error) bool) {}
}

func (f fed) Watch(ctx context.Context, _ gateway.ID, _ gateway.LocationID, _ gateway.Revision,
) iter.Seq2[gateway.Update, error] {
	return func(yield func(gateway.Update, error) bool) {
		for {
			select {
			case u := <-f.updates:
				if !yield(u, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (f fed) Report(context.Context, gateway.ID, gateway.LocationID, gateway.Status) error {
	return nil
}

// From an update that the plane sends to its step on the device, with many other
// peers there.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("%d peers", n), func(b *testing.B) {
			f, applied := fed{make(chan gateway.Update)}, make(chan struct{}, 1)
			r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
				ID: "gw1", Location: office, Device: memdevice.New(), Plane: f, Poll: time.Hour,
				Trace: gateway.Trace{OnApply: func(gateway.Plan, time.Duration, error) { applied <- struct{}{} }},
			})
			require.NoError(b, err)
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()
			c := gatewaytest.Config(n)
			f.updates <- c.Since(gateway.Config{})
			<-applied
			rev, login := c.Revision, gatewaytest.Peer(n+1)
			for there := false; b.Loop(); there = !there {
				u := gateway.Update{From: rev, To: gateway.Revision{Epoch: rev.Epoch, Number: rev.Number + 1}}
				if rev = u.To; there {
					u.Remove = append(u.Remove, login.Key)
				} else {
					u.Set = append(u.Set, login)
				}
				f.updates <- u
				<-applied
			}
			cancel()
			require.NoError(b, <-done)
		})
	}
}
