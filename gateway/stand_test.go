package gateway_test

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

// ready watches for so long, and requires that houses are ready all the time.
func (s *street) ready(d time.Duration, who ...int) {
	s.t.Helper()
	for began := time.Now(); time.Since(began) < d; s.houses[0].after(500 * time.Millisecond) {
		for _, i := range who {
			require.NoError(s.t, s.houses[i].Ready(), "gateway %d after %v", i+1, time.Since(began))
			require.True(s.t, s.houses[i].Status().Ready)
		}
	}
}

// A gateway that hears no core steps aside for a sibling that does, and only then.
func TestWhoIsIsolatedStepsAside(t *testing.T) {
	onStreet(t, 3, func(t *testing.T, s *street) {
		s.ready(25*time.Second, 0, 1)
		s.houses[0].link.Cut()
		s.ready(25*time.Second, 0, 1)
		require.True(t, s.houses[0].Status().Isolated)
		require.False(t, s.houses[1].Status().Isolated)
		s.ready(8*time.Second, 1)
		require.ErrorContains(t, s.houses[0].Ready(), "gateway gw2 hears one")
		require.False(t, s.houses[0].Status().Ready)
		s.houses[0].converged() // and does its work
		s.ready(time.Minute, 1)
		s.houses[0].link.Heal()
		s.ready(25*time.Second, 1)
		s.ready(time.Minute, 0, 1)
		require.False(t, s.houses[0].Status().Isolated)
	})
}

// A core that starts anew, and one that is away from all, are no reason to send
// anybody's clients elsewhere, in whichever order gateways find back to it.
func TestAnOutageOfTheCoreEjectsNobody(t *testing.T) {
	onStreet(t, 3, func(t *testing.T, s *street) {
		s.ready(25*time.Second, 0, 1)
		for _, away := range []time.Duration{5 * time.Second, 12 * time.Second, 30 * time.Second, time.Hour} {
			s.houses[0].link.Cut()
			s.houses[1].after(time.Second)
			s.houses[1].link.Stall()
			s.ready(away, 0, 1)
			if away > 15*time.Second {
				require.True(t, s.houses[0].Status().Isolated)
				require.True(t, s.houses[1].Status().Isolated)
			}
			s.houses[1].link.Heal()
			s.ready(5*time.Second, 0, 1)
			s.houses[0].link.Heal()
			s.ready(time.Minute, 0, 1)
		}
	})
}

// Who hears no sibling stays ready.
func TestWhoIsAloneStays(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		b.link.Cut()
		b.after(time.Hour)
		require.True(t, b.Status().Isolated)
		require.NoError(t, b.Ready())
	})
}

// A gateway that cannot keep up says so, and steps aside for a sibling that can.
func TestWhoIsStalledStepsAside(t *testing.T) {
	onStreet(t, 3, func(t *testing.T, s *street) {
		s.ready(25*time.Second, 0, 1)
		release := s.houses[0].device.Block()
		s.ready(20*time.Second, 0, 1) // there was nothing to apply
		s.plane.SetPeer(office, gatewaytest.Peer(9))
		s.houses[0].after(900 * time.Millisecond)
		require.False(t, s.houses[0].Status().Stalled)
		s.ready(18*time.Second, 0, 1)
		require.True(t, s.houses[0].Status().Stalled)
		require.False(t, s.houses[1].Status().Stalled)
		s.ready(5*time.Second, 1)
		require.ErrorContains(t, s.houses[0].Ready(), "to apply what a core says")
		release()
		s.ready(7*time.Second, 1)
		s.ready(time.Minute, 0, 1)
		require.False(t, s.houses[0].Status().Stalled)
	})
}

// forgetful is a core that takes reports, and has lost its store while it is stale.
type forgetful struct {
	gateway.ControlPlane
	stale *atomic.Bool
}

func (f forgetful) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) iter.Seq2[gateway.Update, error] {
	return func(yield func(gateway.Update, error) bool) {
		if f.stale.Load() {
			yield(gateway.Update{}, gateway.ErrStale)
			return
		}
		for u, err := range f.ControlPlane.Watch(ctx, id, at, have) {
			if !yield(u, err) {
				return
			}
		}
	}
}

// That a core answers is not enough: it has to know what is so.
func TestAStaleCoreIsNotHeard(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		b.stop()
		f := forgetful{b.plane, &atomic.Bool{}}
		link := memtransport.New(f)
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{ID: "gw1", Location: office, Device: memdevice.New(), Plane: link})
		require.NoError(t, err)
		b.Reconciler = r
		b.start()
		b.after(time.Minute)
		require.False(t, b.Status().Isolated)
		f.stale.Store(true)
		link.Cut()
		link.Heal()
		b.after(11 * time.Second)
		require.True(t, b.Status().Isolated)
		b.after(time.Hour)
		require.True(t, b.Status().Isolated)
		f.stale.Store(false)
		b.after(15 * time.Second)
		require.False(t, b.Status().Isolated)
	})
}
