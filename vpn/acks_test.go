package vpn_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn"
)

// report sends a full report for the office.
func (r *rig) report(core *vpn.Core, id gateway.ID, edit func(*gateway.Status)) {
	r.t.Helper()
	s := gateway.Status{Epoch: 1, Full: true, Ready: true, Backend: "memory"}
	if edit != nil {
		edit(&s)
	}
	require.NoError(r.t, core.Report(r.ctx, id, gateway.LocationID(r.office.ID), s))
}

// beat reports every two seconds, as a Reconciler does, until it is stopped.
func (r *rig) beat(core *vpn.Core, id gateway.ID, edit func(*gateway.Status)) (stop func()) {
	ctx, cancel := context.WithCancel(r.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			r.report(core, id, edit)
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// gw is what a core's Overview says of a gateway.
func (r *rig) gw(core *vpn.Core, id gateway.ID) vpn.GatewayOverview {
	r.t.Helper()
	o, err := core.Overview(r.ctx)
	require.NoError(r.t, err)
	for _, g := range o.Locations[0].Gateways {
		if g.ID == id {
			return g
		}
	}
	require.Fail(r.t, "the gateway is not in the overview")
	return vpn.GatewayOverview{}
}

func TestReportsBuildOnFullOnes(t *testing.T) {
	bubble(t, func(r *rig) {
		gw, at := r.gateway("gw1"), gateway.LocationID(r.office.ID)
		r.add(1)
		r.add(2)
		report := func(s gateway.Status) error { return r.core.Report(r.ctx, gw, at, s) }
		seen := func(n int, rx uint64) []gateway.Sighting {
			return []gateway.Sighting{{Key: key(n), By: "somebody else", Rx: rx, Heard: time.Now(), Handshake: time.Now()}}
		}
		require.ErrorIs(r.t, report(gateway.Status{Epoch: 3, Seen: seen(1, 1)}), gateway.ErrGap)
		require.Equal(r.t, vpn.Never, r.gw(r.core, gw).Heard, "what builds on nothing is not taken")
		require.NoError(r.t, report(gateway.Status{Epoch: 3, Full: true, Seen: seen(1, 10)}))
		require.NoError(r.t, report(gateway.Status{Epoch: 3, Seen: seen(2, 20)}))
		o, err := r.core.Overview(r.ctx)
		require.NoError(r.t, err)
		require.Equal(r.t, uint64(30), o.Locations[0].Rx, "it adds up")
		require.Equal(r.t, gw, o.Locations[0].Peers[0].Carrier, "a gateway speaks for itself only")

		require.NoError(r.t, report(gateway.Status{Epoch: 2, Full: true, Seen: seen(1, 99)}), "of a process that was")
		require.ErrorIs(r.t, report(gateway.Status{Epoch: 4}), gateway.ErrGap, "of a process that has not said everything")
		o, err = r.core.Overview(r.ctx)
		require.NoError(r.t, err)
		require.Equal(r.t, uint64(30), o.Locations[0].Rx)
		require.NoError(r.t, report(gateway.Status{Epoch: 4, Full: true, Seen: seen(1, 7)}))
		o, err = r.core.Overview(r.ctx)
		require.NoError(r.t, err)
		require.Equal(r.t, uint64(7), o.Locations[0].Rx, "a full report replaces")
	})
}

func TestReportsAreCopied(t *testing.T) {
	bubble(t, func(r *rig) {
		gw := r.gateway("gw1")
		failed := []gateway.Problem{{What: "broken"}}
		seen := []gateway.Sighting{{Key: key(1), Rx: 5}}
		r.report(r.core, gw, func(s *gateway.Status) { s.Failed, s.Seen = failed, seen })
		failed[0].What, seen[0].Rx = "changed", 6
		require.Equal(r.t, []string{"broken"}, r.gw(r.core, gw).Failed)
	})
}

func TestWaitIsForEveryConnectedGateway(t *testing.T) {
	bubble(t, func(r *rig) {
		one, two, away := r.gateway("gw1"), r.gateway("gw2"), r.gateway("gw3")
		r.add(1)
		rev := r.revision()
		before := vpn.Revision{Epoch: rev.Epoch, Number: rev.Number - 1}
		wait := func() error {
			ctx, cancel := context.WithTimeout(r.ctx, 3*time.Second)
			defer cancel()
			return r.core.Wait(ctx, r.office.ID, rev)
		}
		r.report(r.core, away, func(s *gateway.Status) { s.Applied = before }) // it reports, but does not watch
		err := wait()
		require.ErrorIs(r.t, err, context.DeadlineExceeded)
		require.ErrorContains(r.t, err, "no gateway is connected")

		r.watch(r.core, one, gateway.Config{})
		r.watch(r.core, two, gateway.Config{})
		defer r.beat(r.core, one, func(s *gateway.Status) { s.Applied = rev })()
		stop := r.beat(r.core, two, func(s *gateway.Status) { s.Applied = before })
		err = wait()
		require.ErrorIs(r.t, err, context.DeadlineExceeded)
		require.ErrorContains(r.t, err, `gateway "gw2" has `+before.String())
		require.NotContains(r.t, err.Error(), "gw1")
		require.NotContains(r.t, err.Error(), "gw3")

		waited := make(chan error, 1)
		go func() { waited <- wait() }()
		synctest.Wait()
		r.report(r.core, two, func(s *gateway.Status) { s.Applied = rev })
		synctest.Wait()
		require.NoError(r.t, <-waited, "at once")

		stop()
		rev.Number++
		r.report(r.core, one, func(s *gateway.Status) { s.Applied, s.Epoch = rev, 2 })
		go func() { waited <- wait() }()
		synctest.Wait()
		require.Empty(r.t, waited)
	})
}

// A gateway that has gone is not waited for, once it counts as gone.
func TestWaitEndsWhenTheLateOneHasGone(t *testing.T) {
	bubble(t, func(r *rig) {
		one, two := r.gateway("gw1"), r.gateway("gw2")
		rev := r.revision()
		r.watch(r.core, one, gateway.Config{})
		w := r.watch(r.core, two, gateway.Config{})
		defer r.beat(r.core, one, func(s *gateway.Status) { s.Applied = rev })()
		waited := make(chan error, 1)
		began := time.Now()
		go func() { waited <- r.core.Wait(r.ctx, r.office.ID, rev) }()
		time.Sleep(time.Second)
		w.cancel()
		require.NoError(r.t, <-waited)
		require.LessOrEqual(r.t, time.Since(began), 1300*time.Millisecond)
	})
}

func TestConnectedMeansWatchingAndHeard(t *testing.T) {
	bubble(t, func(r *rig) {
		gw := r.gateway("gw1")
		require.False(r.t, r.gw(r.core, gw).Connected)
		w := r.watch(r.core, gw, gateway.Config{})
		require.True(r.t, r.gw(r.core, gw).Connected, "it has just come")
		time.Sleep(vpn.ConnectedFor + time.Second)
		require.False(r.t, r.gw(r.core, gw).Connected, "it says nothing")
		stop := r.beat(r.core, gw, nil)
		synctest.Wait()
		require.True(r.t, r.gw(r.core, gw).Connected)
		time.Sleep(time.Minute)
		g := r.gw(r.core, gw)
		require.True(r.t, g.Connected)
		require.InDelta(r.t, 66, time.Duration(g.Since).Seconds(), 0.1)
		w.cancel()
		synctest.Wait()
		g = r.gw(r.core, gw)
		require.False(r.t, g.Connected, "it reports, but hears nothing")
		require.Equal(r.t, vpn.Never, g.Since)
		stop()
	})
}

// What gateways tell one core only is known at the others, with the right ages,
// even though no clock is compared.
func TestAcknowledgementsAreShared(t *testing.T) {
	for name, deaf := range map[string]bool{"with hints": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.stores.deaf = deaf
				r.add(1)
				r.run(r.core)
				other := r.newCore("core2", r.stores)
				r.run(other)
				gw := r.gateway("gw1")
				rev := r.revision()
				r.watch(r.core, gw, gateway.Config{})
				heard := time.Now()
				stop := r.beat(r.core, gw, func(s *gateway.Status) {
					s.Applied, s.Verified, s.Version, s.Drifts = rev, rev, "1.2.3", 4
					s.Failed = []gateway.Problem{{Key: key(1), What: "no room", At: heard}}
					s.Seen = []gateway.Sighting{{Key: key(1), Heard: heard, Handshake: heard, Rx: 7, Tx: 8}}
				})
				time.Sleep(20 * time.Second)
				near, far := r.gw(r.core, gw), r.gw(other, gw)
				require.True(t, far.Connected)
				require.InDelta(t, time.Duration(near.Since).Seconds(), time.Duration(far.Since).Seconds(), 1.1)
				require.InDelta(t, time.Duration(near.Heard).Seconds(), time.Duration(far.Heard).Seconds(), 4.1)
				require.Len(t, far.Failed, 1)
				require.True(t, strings.HasPrefix(far.Failed[0], "peer laptop 1: no room ("), far.Failed[0])
				far.Since, far.Heard, far.Failed = near.Since, near.Heard, near.Failed
				require.Equal(t, near, far)
				require.NoError(t, other.Wait(r.ctx, r.office.ID, rev))
				o, err := other.Overview(r.ctx)
				require.NoError(t, err)
				p := o.Locations[0].Peers[0]
				require.Equal(t, gw, p.Carrier)
				require.InDelta(t, 20, time.Duration(p.Handshake).Seconds(), 1.1)
				require.Equal(t, uint64(7), p.Rx)

				// A third core comes late: what it finds may be old, until it moves.
				third := r.newCore("core3", r.stores)
				r.run(third)
				require.False(t, r.gw(third, gw).Connected)
				require.Equal(t, vpn.Never, r.gw(third, gw).Heard)
				time.Sleep(4 * time.Second)
				require.True(t, r.gw(third, gw).Connected)

				stop()
				time.Sleep(8 * time.Second)
				require.False(t, r.gw(other, gw).Connected)
				require.Equal(t, rev, r.gw(other, gw).Applied, "what it applied is still known")
				time.Sleep(5 * time.Second)
				list, err := r.stores.Records().List(r.ctx, "ack/", "", 0)
				require.NoError(t, err)
				require.Empty(t, list, "nothing is written for who says nothing")
			})
		})
	}
}

// Of two reports of a gateway that of the newer process counts, even if one of
// the older is still coming in elsewhere.
func TestTheNewerProcessCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		other := r.newCore("core2", r.stores)
		r.run(r.core)
		r.run(other)
		gw := r.gateway("gw1")
		defer r.beat(r.core, gw, func(s *gateway.Status) { s.Epoch, s.Version = 6, "new" })()
		time.Sleep(5*time.Second + time.Millisecond)
		defer r.beat(other, gw, func(s *gateway.Status) { s.Epoch, s.Version = 5, "old" })()
		time.Sleep(5 * time.Second)
		require.Equal(t, "new", r.gw(r.core, gw).Version)
		require.Equal(t, "new", r.gw(other, gw).Version)
	})
}

// A core that dies takes what it was told with it, after a moment.
func TestTheWordOfADeadCoreGrowsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		mine := &flaky{Stores: r.stores.Stores}
		first := r.newCore("first", mine)
		stop := r.run(first)
		r.run(r.core)
		gw := r.gateway("gw1")
		r.watch(first, gw, gateway.Config{})
		end := r.beat(first, gw, nil)
		time.Sleep(10 * time.Second)
		require.True(t, r.gw(r.core, gw).Connected)
		mine.fail(errDisk) // as good as dead: kill -9
		end()
		time.Sleep(10 * time.Second)
		require.False(t, r.gw(r.core, gw).Connected)
		require.InDelta(t, 11, time.Duration(r.gw(r.core, gw).Heard).Seconds(), 2)
		stop()
		list, err := r.stores.Records().List(r.ctx, "ack/", "", 0)
		require.NoError(t, err)
		require.Len(t, list, 1, "it could not take its record away")
		time.Sleep(11 * time.Minute)
		list, err = r.stores.Records().List(r.ctx, "ack/", "", 0)
		require.NoError(t, err)
		require.Empty(t, list, "so another core did")
	})
}

func TestACoreThatStopsTakesItsRecordsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		stop := r.run(r.core)
		defer r.beat(r.core, r.gateway("gw1"), nil)()
		time.Sleep(5 * time.Second)
		list, err := r.stores.Records().List(r.ctx, "ack/", "", 0)
		require.NoError(t, err)
		require.Len(t, list, 1)
		r.t = t
		go stop()
		time.Sleep(time.Millisecond)
		list, err = r.stores.Records().List(r.ctx, "ack/", "", 0)
		require.NoError(t, err)
		require.Empty(t, list)
	})
}

// Sharing costs a write a second at most, however often gateways report.
func TestSharingIsCoalesced(t *testing.T) {
	bubble(t, func(r *rig) {
		gw := r.gateway("gw1")
		writes := 0
		ctx, cancel := context.WithCancel(r.ctx)
		hints := r.stores.Feed().Hints(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for h := range hints {
				if strings.HasPrefix(h.Record, "ack/") {
					writes++
				}
			}
		}()
		for n := range 1000 {
			r.report(r.core, gw, func(s *gateway.Status) { s.Applied = vpn.Revision{Epoch: 1, Number: uint64(n)} })
			time.Sleep(20 * time.Millisecond)
		}
		cancel()
		<-done
		require.LessOrEqual(r.t, writes, 21)
		require.GreaterOrEqual(r.t, writes, 15)
	})
}

// Many peers do not make a record large.
func TestSharedSightingsAreTheLatest(t *testing.T) {
	bubble(t, func(r *rig) {
		gw := r.gateway("gw1")
		r.report(r.core, gw, func(s *gateway.Status) {
			for n := range 5000 {
				s.Seen = append(s.Seen, gateway.Sighting{Key: key(n), Heard: time.Now().Add(-time.Duration(n) * time.Second)})
			}
		})
		time.Sleep(3 * time.Second)
		list, err := r.stores.Records().List(r.ctx, "ack/", "", 0)
		require.NoError(r.t, err)
		require.Less(r.t, len(list[0].Value), 200_000)
		require.Contains(r.t, string(list[0].Value), key(0).String())
		require.Contains(r.t, string(list[0].Value), key(999).String())
		require.NotContains(r.t, string(list[0].Value), key(1000).String())
	})
}

func TestADamagedRecordOfAnotherCoreIsLeftOut(t *testing.T) {
	bubble(t, func(r *rig) {
		gw := r.gateway("gw1")
		require.NoError(r.t, r.stores.Records().Update(r.ctx, "ack/"+string(r.office.ID)+"/core9", func([]byte) ([]byte, error) {
			return []byte(`{"from_the_future": true}`), nil
		}))
		r.watch(r.core, gw, gateway.Config{})
		defer r.beat(r.core, gw, nil)()
		time.Sleep(3 * time.Second)
		require.True(r.t, r.gw(r.core, gw).Connected)
	})
}
