package gateway_test

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
)

func TestUpdatesAreAppliedAtOnce(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		require.NoError(t, b.Ready())
		require.NoError(t, b.Connected())
		began := time.Now()
		gone := b.plane.Config(office).Peers[0].Key
		rev := b.plane.RemovePeer(office, gone)
		synctest.Wait()
		require.Equal(t, began, time.Now(), "it waited for a poll")
		require.Equal(t, "remove "+gone.String()+"\n", b.steps.take())
		require.Equal(t, rev, b.plane.Last("gw1", office).Applied, "it did not report at once")
		require.NotEqual(t, rev, b.plane.Last("gw1", office).Verified)

		b.after(3 * time.Second)
		last := b.plane.Last("gw1", office)
		require.Equal(t, rev, last.Verified)
		require.True(t, last.Ready)
		require.Equal(t, "memory", last.Backend)
		require.Equal(t, "test", last.Version)
		require.Empty(t, last.Failed)
		require.Zero(t, last.Drifts)
	})
}

// proves P2: no silence and no error of the plane takes access from anybody.
func TestAPlaneThatIsAwayTakesNothing(t *testing.T) {
	for name, away := range map[string]func(*bench){
		"cut":     func(b *bench) { b.link.Cut() },
		"stalled": func(b *bench) { b.link.Stall() },
		"stale":   func(b *bench) { b.plane.Fail(gateway.ErrStale) },
		"revoked": func(b *bench) { b.plane.Refuse("gw1", gateway.ErrRevoked) },
		"unknown": func(b *bench) { b.plane.Refuse("gw1", gateway.ErrUnknown) },
		"broken":  func(b *bench) { b.plane.Fail(errors.New("nonsense")) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 3, func(t *testing.T, b *bench) {
				before := b.state()
				away(b)
				b.after(6 * time.Hour)
				require.Equal(t, before, b.state())
				require.Empty(t, b.steps.take())
				require.NoError(t, b.Ready(), "a plane that is away makes nobody unready")
				if name != "stalled" { // nobody can know
					require.Error(t, b.Connected())
				}

				b.device.Open().Meddle(func(s *gateway.State) { s.Peers = s.Peers[1:] })
				b.after(2 * time.Second)
				b.converged() // and it is still enforced
			})
		})
	}
}

// proves P9: a gateway that was cut off goes on from where it was.
func TestReconnectResumes(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		var froms []gateway.Revision
		have := b.plane.Config(office).Revision
		spy, err := gateway.NewReconciler(gateway.ReconcilerConfig{
			ID: "gw2", Location: office, Device: memdevice.New(), Plane: b.link,
			Trace: gateway.Trace{OnUpdate: func(from, _ gateway.Revision) { froms = append(froms, from) }},
		})
		require.NoError(t, err)
		b.plane.Assign("gw2", office)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- spy.Run(ctx) }()
		b.after(time.Minute)

		b.link.Cut()
		rev := b.plane.RemovePeer(office, b.plane.Config(office).Peers[0].Key)
		b.after(time.Hour)
		require.NotEqual(t, rev, b.Status().Applied)
		b.link.Heal()
		b.after(10 * time.Second) // the longest wait between two attempts
		b.converged()
		b.after(heartbeats)
		require.Equal(t, rev, b.plane.Last("gw1", office).Applied)
		require.Equal(t, rev, b.plane.Last("gw2", office).Applied)
		require.NoError(t, b.Connected())
		cancel()
		require.NoError(t, <-done)
		require.Equal(t, []gateway.Revision{{}, have}, froms, "everything was sent again")
	})
}

const heartbeats = 3 * time.Second // more than one

func TestTheFirstReconnectIsAtOnce(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, b *bench) {
		b.after(time.Minute)
		b.plane.Fail(gateway.ErrStale)
		b.plane.Fail(nil) // the stream ended, and it works again
		rev := b.plane.RemovePeer(office, b.plane.Config(office).Peers[0].Key)
		synctest.Wait()
		require.Equal(t, rev, b.Status().Applied)
	})
}

func TestReconnectsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := gatewaytest.NewPlane()
		var asked []time.Time
		b := newBench(t, plane, "gw1", memdevice.New())
		counting := counting{b.link, func() { asked = append(asked, time.Now()) }}
		plane.Fail(errors.New("no"))
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
			ID: "gw1", Location: office, Device: b.device, Plane: counting,
		})
		require.NoError(t, err)
		b.Reconciler = r
		b.start()
		b.after(10 * time.Minute)
		b.stop()
		require.Equal(t, asked[0], asked[1], "the second attempt waited")
		require.Greater(t, len(asked), 80, "waits are too long")
		require.Less(t, len(asked), 250, "waits are too short")
		for i, at := range asked[1:] {
			require.LessOrEqual(t, at.Sub(asked[i]), 10*time.Second)
		}
	})
}

type counting struct {
	gateway.ControlPlane
	watched func()
}

func (c counting) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision,
) iter.Seq2[gateway.Update, error] {
	c.watched()
	return c.ControlPlane.Watch(ctx, id, at, have)
}

// proves P8: a Reconciler that starts anew on the same device does nothing to it.
func TestRestartChangesNothing(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, b *bench) {
		for i, k := range gatewaytest.Keys(5) {
			b.device.Hear(k, memdevice.Traffic{Rx: uint64(1000 * i), Handshake: time.Now(), Endpoint: netip.MustParseAddrPort("192.0.2.1:7")})
		}
		before := b.state()
		b.stop()
		require.Equal(t, before, b.state(), "stopping changed something")

		again := newBench(t, b.plane, "gw1", b.device.Open())
		again.start()
		again.after(10 * time.Second)
		require.Empty(t, again.steps.take())
		require.Equal(t, before, b.state())
		last := b.plane.Last("gw1", office)
		require.Equal(t, b.plane.Config(office).Revision, last.Verified)
		require.Zero(t, last.Drifts, "what was there before is no drift")
		again.stop()
	})
}

// proves P1: gateways of a location converge to the same revision, and are seen to.
func TestTwoGatewaysConverge(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, b *bench) {
		b.plane.Assign("gw2", office)
		other := newBench(t, b.plane, "gw2", memdevice.New())
		other.start()
		other.link.Slow(300 * time.Millisecond)
		keys := b.plane.Config(office).Peers
		for i := range 200 {
			switch i % 4 {
			case 0:
				b.plane.RemovePeer(office, keys[i/4%5].Key)
			case 2:
				b.plane.SetPeer(office, keys[i/4%5])
			case 3:
				b.link.Cut()
			default:
				b.link.Heal()
			}
			b.after(time.Duration(i%7) * 50 * time.Millisecond)
		}
		b.link.Heal()
		b.after(15 * time.Second)
		want := b.plane.Config(office)
		require.Empty(t, gateway.Diff(want, b.state()))
		require.Empty(t, gateway.Diff(want, other.state()))
		for _, id := range []gateway.ID{"gw1", "gw2"} {
			require.Equal(t, want.Revision, b.plane.Last(id, office).Applied)
			require.Equal(t, want.Revision, b.plane.Last(id, office).Verified)
		}
		other.stop()
	})
}

func TestOlderConfigurationsAreIgnored(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, b *bench) {
		b.stop()
		old := b.plane.Config(office)
		now := old.Clone()
		now.Revision.Number += 5
		now.Peers = now.Peers[:1]
		again := newBench(t, b.plane, "gw1", b.device)
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
			ID: "gw1", Location: office, Device: b.device,
			Plane: scripted{now.Since(gateway.Config{}), old.Since(gateway.Config{})},
		})
		require.NoError(t, err)
		again.Reconciler = r
		again.start()
		again.after(time.Minute)
		require.Empty(t, gateway.Diff(now, again.state()), "it went back")
		require.Equal(t, now.Revision, again.Status().Applied)
		again.stop()
	})
}

// scripted yields its updates, one after another, and then nothing.
type scripted []gateway.Update

func (s scripted) Assigned(context.Context, gateway.ID) iter.Seq2[[]gateway.Assignment, error] {
	return func(func([]gateway.Assignment, error) bool) {}
}

func (s scripted) Watch(ctx context.Context, _ gateway.ID, _ gateway.LocationID, _ gateway.Revision) iter.Seq2[gateway.Update, error] {
	return func(yield func(gateway.Update, error) bool) {
		for _, u := range s {
			if !yield(u, nil) {
				return
			}
		}
		<-ctx.Done()
	}
}

func (s scripted) Report(context.Context, gateway.ID, gateway.LocationID, gateway.Status) error {
	return nil
}

func TestAGapIsFilledWithEverything(t *testing.T) {
	for name, bad := range map[string]gateway.Update{
		"starts elsewhere":       {From: gateway.Revision{Epoch: 9, Number: 9}, To: gateway.Revision{Epoch: 9, Number: 10}},
		"says nothing of itself": {To: gateway.Revision{Epoch: 9, Number: 10}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 2, func(t *testing.T, b *bench) {
				b.stop()
				now := b.plane.Config(office)
				var asked []gateway.Revision
				r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
					ID: "gw1", Location: office, Device: b.device,
					Plane: gappy{scripted{now.Since(gateway.Config{}), bad}, func(have gateway.Revision) {
						asked = append(asked, have)
					}},
				})
				require.NoError(t, err)
				b.Reconciler = r
				b.start()
				b.after(time.Second)
				require.Equal(t, now.Revision, r.Status().Applied)
				b.stop()
				require.Greater(t, len(asked), 1, "it goes on as if nothing were missing")
				for _, have := range asked {
					require.True(t, have.IsZero(), "it asks for the rest of what it does not have")
				}
				require.Empty(t, gateway.Diff(now, b.state()))
			})
		})
	}
}

// gappy tells with which revision it is watched.
type gappy struct {
	scripted

	watched func(gateway.Revision)
}

func (g gappy) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision,
) iter.Seq2[gateway.Update, error] {
	g.watched(have)
	return g.scripted.Watch(ctx, id, at, have)
}

func TestAnotherHistoryIsTakenAsItIs(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, b *bench) {
		rev := b.plane.Forget(office)
		b.after(time.Second)
		require.Empty(t, b.steps.take())
		require.Equal(t, rev, b.Status().Applied)
	})
}

func TestTheEndOfALocation(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, b *bench) {
		rev := b.plane.End(office)
		synctest.Wait()
		require.False(t, b.state().Exists)
		require.Equal(t, rev, b.plane.Last("gw1", office).Applied)
		require.False(t, b.plane.Last("gw1", office).Ready)
		require.ErrorContains(t, b.Ready(), "ended")
		b.plane.Put(office, gatewaytest.Config(1))
		b.converged()
		require.NoError(t, b.Ready())
	})
}

func TestANewReconcilerWaitsForTheFirstWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := memdevice.New()
		round(t, d, gatewaytest.Config(3))
		before := observe(t, d)
		plane := gatewaytest.NewPlane()
		plane.Assign("gw1", office)
		b := newBench(t, plane, "gw1", d)
		require.ErrorContains(t, b.Ready(), "no configuration yet")
		b.start()
		b.after(time.Hour)
		require.Equal(t, before, b.state())
		require.NoError(t, b.Ready(), "tunnels that are there carry traffic")
		require.True(t, plane.Last("gw1", office).Applied.IsZero())
		b.stop()
	})
}

func TestReconcile(t *testing.T) {
	plane := gatewaytest.NewPlane()
	d := memdevice.New()
	r, err := gateway.NewReconciler(gateway.ReconcilerConfig{ID: "gw1", Location: office, Device: d, Plane: plane})
	require.NoError(t, err)
	_, err = r.Reconcile(t.Context())
	require.ErrorIs(t, err, gateway.ErrUnknown)

	plane.Assign("gw1", office)
	want := gatewaytest.Config(2)
	rev := plane.Put(office, want)
	p, err := r.Reconcile(t.Context())
	require.NoError(t, err)
	require.Equal(t, gateway.Diff(want, gateway.State{}).String(), p.String())
	require.NoError(t, r.Ready())
	require.Equal(t, rev, r.Status().Applied)

	p, err = r.Reconcile(t.Context())
	require.NoError(t, err)
	require.Empty(t, p)
	require.Equal(t, rev, r.Status().Verified)

	plane.Fail(errors.New("away")) // what it knew is enough
	d.Meddle(func(s *gateway.State) { s.Up = false })
	p, err = r.Reconcile(t.Context())
	require.NoError(t, err)
	require.Len(t, p, 1)

	d.FailObserve(errors.New("sick"))
	_, err = r.Reconcile(t.Context())
	require.ErrorContains(t, err, "sick")
	require.Contains(t, r.Status().Failed[0].What, "sick")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Reconcile(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestNewReconcilerNamesWhatIsMissing(t *testing.T) {
	whole := gateway.ReconcilerConfig{ID: "gw1", Location: office, Device: memdevice.New(), Plane: gatewaytest.NewPlane()}
	_, err := gateway.NewReconciler(whole)
	require.NoError(t, err)
	for field, change := range map[string]func(*gateway.ReconcilerConfig){
		"ID":       func(c *gateway.ReconcilerConfig) { c.ID = "" },
		"Location": func(c *gateway.ReconcilerConfig) { c.Location = "" },
		"Device":   func(c *gateway.ReconcilerConfig) { c.Device = nil },
		"Plane":    func(c *gateway.ReconcilerConfig) { c.Plane = nil },
		"Poll":     func(c *gateway.ReconcilerConfig) { c.Poll = -1 },
	} {
		c := whole
		change(&c)
		_, err := gateway.NewReconciler(c)
		require.ErrorContains(t, err, "ReconcilerConfig."+field)
	}
}

func TestRunRunsOnce(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, b *bench) {
		require.ErrorContains(t, b.Run(t.Context()), "running already")
	})
}
