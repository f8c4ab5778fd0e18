package gateway_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

// sluggish is a device that takes long to be looked at.
type sluggish struct {
	owner

	looks chan struct{} // gets a value when a look begins, if anybody waits for it
}

func (d sluggish) Observe(ctx context.Context, s *gateway.State) error {
	select {
	case d.looks <- struct{}{}:
	default:
	}
	select {
	case <-time.After(time.Second):
		return d.owner.Observe(ctx, s)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// proves P13: however long it takes to look at a device, clients do not wait for a look
// that is under way when the address comes, and that this is cut short is no failure.
func TestATakeoverCutsALookShort(t *testing.T) {
	onStreet(t, 10, func(t *testing.T, s *street) {
		for _, p := range s.all() {
			s.session(0, p.Key)
		}
		s.houses[0].after(3 * time.Second)
		h := s.houses[1]
		h.stop()
		slow := sluggish{owner{h.device, h.owns}, make(chan struct{})}
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
			ID: h.id, Location: office, Device: slow, Plane: h.link, Trace: h.steps.trace(),
			Now: s.clocks[1].now, Boot: s.clocks[1], Synced: s.clocks[1].synced,
		})
		require.NoError(t, err)
		h.Reconciler = r
		h.start()
		end := s.converse()
		defer end()
		h.after(5 * time.Second)
		require.NoError(t, r.Ready())

		<-slow.looks
		h.after(500 * time.Millisecond) // in the middle of it
		kicked := time.Time{}
		h.device.OnKick(func(p gateway.Peer) {
			if kicked.IsZero() {
				kicked = time.Now()
			}
			s.kicked(1, p)
		})
		began := time.Now()
		s.at.Store(1)
		s.houses[0].owns <- nil
		h.owns <- []netip.Addr{floating}
		h.after(rtt + time.Millisecond)
		require.Equal(t, 10, s.sessions()[1])
		synctest.Wait()
		require.Equal(t, began, kicked, "it waited for a look")
		h.after(10 * time.Second)
		require.Empty(t, r.Status().Failed)
		h.converged()
	})
}
