package gateway_test

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
)

// since returns the reports that came after the first n.
func (b *bench) since(n int) []gateway.Status { return b.plane.Reports("gw1", office)[n:] }

func TestAnIdleGatewayReportsThatItLives(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		b.after(time.Minute)
		before := len(b.since(0))
		b.after(time.Minute)
		require.Len(t, b.since(before), 30, "one each 2 s")
		for _, s := range b.since(before) {
			require.Equal(t, b.plane.Config(office).Revision, s.Verified)
			require.Empty(t, s.Seen)
			require.False(t, s.Full)
		}
	})
}

func TestWhoIsHeardIsReportedSoon(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		key := gatewaytest.Peer(1).Key
		at := netip.MustParseAddrPort("192.0.2.7:7")
		b.after(time.Minute + 300*time.Millisecond)
		before := len(b.since(0))
		shook := time.Now()
		b.device.Hear(key, memdevice.Traffic{Rx: 148 + 32, Tx: 92, Handshake: shook, Endpoint: at})
		b.after(2 * time.Second)
		var seen []gateway.Sighting
		for _, s := range b.since(before) {
			seen = append(seen, s.Seen...)
		}
		require.Len(t, seen, 1, "it is told once")
		require.Equal(t, gateway.Sighting{
			Key: key, By: "gw1", Heard: seen[0].Heard, Handshake: shook, Endpoint: at, Rx: 180, Tx: 92,
		}, seen[0])
		require.WithinRange(t, seen[0].Heard, shook, shook.Add(time.Second))

		// A peer that never stops talking does not make the gateway do so.
		before = len(b.since(0))
		for range 600 {
			b.device.Hear(key, memdevice.Traffic{Rx: 1400})
			b.after(100 * time.Millisecond)
		}
		require.InDelta(t, 60, len(b.since(before)), 3)
		var newest gateway.Sighting
		for _, s := range b.since(before) {
			for _, newest = range s.Seen {
				require.Equal(t, key, newest.Key)
			}
		}
		require.Greater(t, newest.Rx, uint64(180+570*1400))
	})
}

func TestWhatWasNotAcceptedIsToldAgainInFull(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		b.device.Hear(gatewaytest.Peer(1).Key, memdevice.Traffic{Rx: 32})
		b.after(10 * time.Second)
		b.link.Cut()
		b.device.Hear(gatewaytest.Peer(2).Key, memdevice.Traffic{Rx: 32})
		b.after(time.Minute)
		before := len(b.since(0))
		b.link.Heal()
		b.after(2 * time.Second) // no longer than between two heartbeats
		require.NotEmpty(t, b.since(before))
		b.after(5 * time.Second)
		s := b.since(before)
		require.True(t, s[0].Full)
		require.Len(t, s[0].Seen, 2)
		require.False(t, s[len(s)-1].Full)
	})
}

func TestAPlaneThatForgotIsToldEverything(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		b.device.Hear(gatewaytest.Peer(1).Key, memdevice.Traffic{Rx: 32})
		b.after(10 * time.Second)
		anew := gatewaytest.NewPlane() // as a core that was started again
		anew.Assign("gw1", office)
		anew.Put(office, b.plane.Config(office))
		b.stop()
		swapped := &swap{}
		swapped.now.Store(b.plane)
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
			ID: "gw1", Location: office, Device: b.device.Open(), Plane: swapped,
		})
		require.NoError(t, err)
		b.Reconciler = r
		b.start()
		b.after(10 * time.Second)
		b.device.Hear(gatewaytest.Peer(1).Key, memdevice.Traffic{Rx: 32})
		b.after(10 * time.Second)
		swapped.now.Store(anew)
		b.after(2 * time.Second)
		s := anew.Reports("gw1", office)
		require.NotEmpty(t, s)
		require.True(t, s[0].Full)
		require.Len(t, s[0].Seen, 1)
	})
}

// swap is a plane that is exchanged for another.
type swap struct {
	now atomic.Pointer[gatewaytest.Plane]
}

func (s *swap) Assigned(ctx context.Context, id gateway.ID) iter.Seq2[[]gateway.Assignment, error] {
	return s.now.Load().Assigned(ctx, id)
}

func (s *swap) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision,
) iter.Seq2[gateway.Update, error] {
	return s.now.Load().Watch(ctx, id, at, have)
}

func (s *swap) Report(ctx context.Context, id gateway.ID, at gateway.LocationID, st gateway.Status) error {
	return s.now.Load().Report(ctx, id, at, st)
}

func TestAReportThatNobodyAnswersIsGivenUp(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, b *bench) {
		var errs []error
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
			ID: "gw1", Location: office, Device: b.device.Open(), Plane: b.link,
			Trace: gateway.Trace{OnReport: func(_ gateway.Status, err error) { errs = append(errs, err) }},
		})
		require.NoError(t, err)
		b.stop()
		b.Reconciler = r
		b.link.Stall()
		b.start()
		b.after(time.Minute)
		require.InDelta(t, 5, len(errs), 1)
		for _, err := range errs {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
	})
}

func TestReportsThatFailAreSpread(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, b *bench) {
		b.stop()
		var tries atomic.Int64
		d := notifying{b.device, make(chan struct{}, 1)}
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
			ID: "gw1", Location: office, Device: d, Plane: b.link,
			Trace: gateway.Trace{OnReport: func(gateway.Status, error) { tries.Add(1) }},
		})
		require.NoError(t, err)
		b.Reconciler = r
		b.start()
		b.link.Cut()
		b.after(time.Second)
		tries.Store(0)
		for range 1000 { // there is something new to tell all the time
			b.device.Open().Meddle(func(s *gateway.State) { s.Up = false })
			d.changes <- struct{}{}
			b.after(60 * time.Millisecond)
		}
		require.Greater(t, b.Status().Drifts, uint64(900))
		require.Less(t, tries.Load(), int64(120), "in a minute")
		require.Greater(t, tries.Load(), int64(30), "in a minute")
	})
}

func TestEpochsGrow(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, b *bench) {
		first := b.Status().Epoch
		b.stop()
		b.after(time.Second)
		again := newBench(t, b.plane, "gw1", b.device)
		require.Greater(t, again.Status().Epoch, first)
	})
}

func TestARevokedGatewayDoesNotAskAllTheTime(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, b *bench) {
		b.plane.Refuse("gw1", gateway.ErrRevoked)
		b.after(5 * time.Second)
		require.ErrorIs(t, b.Connected(), gateway.ErrRevoked)
		var tries atomic.Int64
		b.stop()
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
			ID: "gw1", Location: office, Device: b.device, Plane: counting{b.plane, func() { tries.Add(1) }},
		})
		require.NoError(t, err)
		b.Reconciler = r
		b.start()
		b.after(10 * time.Minute)
		require.Less(t, tries.Load(), int64(120))
		b.plane.Assign("gw1", office)
		b.after(16 * time.Second)
		require.NoError(t, b.Connected())
	})
}

// A peer that is set anew counts from nothing, even if it received more since
// than it had before: else initiations would pass for life.
func TestASessionThatWasReplacedIsNotHeard(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		p := gatewaytest.Peer(1)
		b.device.Hear(p.Key, memdevice.Traffic{Rx: 32})
		b.after(3 * time.Second)
		heard := b.Status().Seen[0].Heard
		p.Preshared = gatewaytest.PresharedKey(1)
		b.plane.SetPeer(office, p)
		synctest.Wait()
		b.device.Hear(p.Key, memdevice.Traffic{Rx: 148})
		b.after(5 * time.Second)
		require.Equal(t, heard, b.Status().Seen[0].Heard)
		require.Equal(t, uint64(180), b.Status().Seen[0].Rx)
	})
}

func TestTraceTellsOfTheLink(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, b *bench) {
		var said []error
		b.stop()
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
			ID: "gw1", Location: office, Device: b.device, Plane: b.plane,
			Trace: gateway.Trace{OnLink: func(err error) { said = append(said, err) }},
		})
		require.NoError(t, err)
		b.Reconciler = r
		b.start()
		b.after(time.Minute)
		broken := errors.New("broken")
		b.plane.Fail(broken)
		b.after(time.Second)
		require.NoError(t, said[0])
		require.ErrorIs(t, said[1], broken)
		b.plane.Fail(nil)
		b.after(11 * time.Second) // it has nothing new to tell
		require.NoError(t, said[len(said)-1], "the plane is back, and nobody says so")
		require.Error(t, said[len(said)-2], "it is said again and again")
	})
}
