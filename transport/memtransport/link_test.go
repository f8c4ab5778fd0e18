package memtransport_test

import (
	"context"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

func TestControlPlane(t *testing.T) {
	gatewaytest.RunControlPlane(t, func(_ testing.TB, origin gateway.ControlPlane) gateway.ControlPlane {
		return memtransport.New(origin)
	})
}

func TestWire(t *testing.T) {
	gatewaytest.RunWire(t, func(_ testing.TB, origin gateway.ControlPlane) gatewaytest.Wire {
		l := memtransport.New(origin)
		return gatewaytest.Wire{ControlPlane: l, Cut: l.Cut, Heal: l.Heal}
	})
}

// A slow link is a link all the same.
func TestSlowControlPlane(t *testing.T) {
	gatewaytest.RunControlPlane(t, func(_ testing.TB, origin gateway.ControlPlane) gateway.ControlPlane {
		l := memtransport.New(origin)
		l.Slow(time.Millisecond)
		return l
	})
}

// wire is a link with a watch on it.
type wire struct {
	*memtransport.Link

	plane   *gatewaytest.Plane
	stop    context.CancelFunc
	started time.Time

	mu  sync.Mutex
	now heard
}

// heard is what came over a wire.
type heard struct {
	got   []time.Duration // when an update came, since the wire was made
	at    gateway.Revision
	err   error
	ended bool
}

func (w *wire) hear(edit func(*heard)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	edit(&w.now)
}

// heard waits until nothing moves, and tells what came.
func (w *wire) heard() heard {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// onWire runs test in a bubble, with a watch that has its first update.
func onWire(t *testing.T, test func(t *testing.T, w *wire)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		plane := gatewaytest.NewPlane()
		plane.Assign("gw", "office")
		plane.Put("office", gatewaytest.Config(1))
		w := &wire{Link: memtransport.New(plane), plane: plane, started: time.Now()}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w.stop = cancel
		go func() {
			for u, err := range w.Watch(ctx, "gw", "office", gateway.Revision{}) {
				w.hear(func(h *heard) {
					if h.err = err; err == nil {
						h.got, h.at = append(h.got, time.Since(w.started)), u.To
					}
				})
			}
			w.hear(func(h *heard) { h.ended = true })
		}()
		require.Len(t, w.heard().got, 1)
		test(t, w)
	})
}

func (w *wire) report(t *testing.T) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return w.Report(ctx, "gw", "office", gateway.Status{Full: true})
}

func TestCutEndsStreams(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		w.Cut()
		require.ErrorIs(t, w.heard().err, memtransport.ErrCut)
		require.True(t, w.heard().ended)
		require.ErrorIs(t, w.report(t), memtransport.ErrCut)
		for _, err := range w.Watch(t.Context(), "gw", "office", w.heard().at) {
			require.ErrorIs(t, err, memtransport.ErrCut)
		}
		for _, err := range w.Assigned(t.Context(), "gw") {
			require.ErrorIs(t, err, memtransport.ErrCut)
		}
		require.Empty(t, w.plane.Reports("gw", "office"))

		w.Heal()
		require.NoError(t, w.report(t))
		rev := w.plane.RemovePeer("office", gatewaytest.Peer(1).Key)
		for u, err := range w.Watch(t.Context(), "gw", "office", w.heard().at) {
			require.NoError(t, err)
			require.Equal(t, rev, u.To)
			require.Equal(t, w.heard().at, u.From)
			break
		}
	})
}

func TestCutEndsACallThatIsUnderWay(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		w.Slow(time.Second)
		go func() {
			time.Sleep(500 * time.Millisecond)
			w.Cut()
		}()
		require.ErrorIs(t, w.report(t), memtransport.ErrCut)
		require.Equal(t, 500*time.Millisecond, time.Since(w.started))
		require.Empty(t, w.plane.Reports("gw", "office"))
	})
}

func TestStallIsNotNoticed(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		w.Stall()
		rev := w.plane.RemovePeer("office", gatewaytest.Peer(1).Key)
		time.Sleep(time.Hour)
		require.Len(t, w.heard().got, 1)
		require.False(t, w.heard().ended)
		require.ErrorIs(t, w.report(t), context.DeadlineExceeded)
		w.Heal()
		require.Equal(t, rev, w.heard().at, "what was said meanwhile is lost")
		require.False(t, w.heard().ended)

		w.Stall()
		w.Cut()
		require.ErrorIs(t, w.heard().err, memtransport.ErrCut)
	})
}

func TestSlowTakesItsTime(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		w.Slow(time.Second)
		w.plane.SetPeer("office", gatewaytest.Peer(2))
		time.Sleep(999 * time.Millisecond)
		require.Len(t, w.heard().got, 1)
		time.Sleep(time.Millisecond)
		require.Equal(t, []time.Duration{0, time.Second}, w.heard().got)
		began := time.Now()
		require.NoError(t, w.report(t))
		require.Equal(t, 2*time.Second, time.Since(began), "there and back")
		w.Slow(0)
		w.plane.SetPeer("office", gatewaytest.Peer(3))
		require.Len(t, w.heard().got, 3)
		w.stop()
		require.True(t, w.heard().ended)
		require.NoError(t, w.heard().err, "a reader that leaves is told no reason")
	})
}

// shared says the same memory to everybody.
type shared struct {
	gateway.ControlPlane

	list []gateway.Assignment
}

func (s shared) Assigned(context.Context, gateway.ID) iter.Seq2[[]gateway.Assignment, error] {
	return func(yield func([]gateway.Assignment, error) bool) { yield(s.list, nil) }
}

func TestAssignmentsCrossAsCopies(t *testing.T) {
	want := gateway.Assignment{Location: "office", Siblings: []gateway.Sibling{{ID: "gw2", Addr: "192.0.2.2:7946"}}}
	origin := shared{list: []gateway.Assignment{want.Clone()}}
	for list, err := range memtransport.New(origin).Assigned(t.Context(), "gw") {
		if err != nil {
			break // it just ends
		}
		list[0].Siblings[0] = gateway.Sibling{}
		list[0].Location = "spoilt"
	}
	require.Equal(t, []gateway.Assignment{want}, origin.list)
}
