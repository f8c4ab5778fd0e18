package vpn_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/seal"
)

// events are what happened since the event before, without what differs from run to run.
func (r *rig) events(core *vpn.Core, f vpn.EventFilter) []string {
	r.t.Helper()
	all, err := core.Events().List(r.ctx, f)
	require.NoError(r.t, err)
	out := make([]string, len(all))
	for i, e := range all {
		require.Equal(r.t, time.UTC, e.At.Location())
		require.NotEmpty(r.t, e.Core)
		out[i] = strings.TrimSpace(strings.Join([]string{e.By, e.What, e.Name, e.Text}, " "))
	}
	return out
}

// Every change is told with who made it, and secrets are not.
func TestChangesAreEvents(t *testing.T) {
	bubble(t, func(r *rig) {
		require.Len(t, r.events(r.core, vpn.EventFilter{What: vpn.LocationCreated}), 1)
		ctx := vpn.WithActor(r.ctx, vpn.Actor{Name: "alice", From: "192.0.2.7"})
		first, err := r.core.Events().List(ctx, vpn.EventFilter{})
		require.NoError(t, err)
		since := vpn.EventFilter{After: first[len(first)-1].ID}
		time.Sleep(time.Millisecond)

		_, err = r.core.Locations().Update(ctx, r.office.ID, func(l *location.Location) error {
			l.MTU, l.Name = 1300, "headquarters"
			return nil
		})
		require.NoError(t, err)
		_, err = r.core.Locations().Update(ctx, r.office.ID, func(*location.Location) error { return nil })
		require.NoError(t, err)
		d, err := r.core.Devices().Add(ctx, peer.NewDevice{Name: "laptop", Owner: "bob", Key: dev(1).Key})
		require.NoError(t, err)
		_, err = r.core.Devices().Place(ctx, d.ID, peer.Place{Location: r.office.ID})
		require.NoError(t, err)
		_, err = r.core.Devices().Disable(ctx, d.ID)
		require.NoError(t, err)
		for _, s := range []peer.Standing{{Disabled: true}, {Groups: []string{"staff"}}} {
			_, err = r.core.Devices().SetStanding(ctx, "bob", s)
			require.NoError(t, err)
		}
		_, err = r.core.Devices().Leave(ctx, d.ID, r.office.ID)
		require.NoError(t, err)
		require.NoError(t, r.core.Devices().Delete(ctx, d.ID))
		gw, err := r.core.Gateways().Add(ctx, vpn.Gateway{Name: "gw1"})
		require.NoError(t, err)
		for range 2 {
			_, err = r.core.Gateways().Update(ctx, gw.ID, func(g *vpn.Gateway) error { g.Disabled = true; return nil })
			require.NoError(t, err)
			require.NoError(t, r.core.Gateways().Remove(ctx, "nobody"))
		}
		require.NoError(t, r.core.Gateways().Remove(ctx, gw.ID))
		require.NoError(t, r.core.Gateways().Remove(ctx, gw.ID))
		_, err = r.core.Devices().Disable(ctx, "nobody")
		require.ErrorIs(t, err, peer.ErrNotFound)

		at := string(r.office.ID)
		key := dev(1).Key.String()
		require.Equal(t, []string{
			"alice location.changed headquarters Name office -> headquarters, MTU 1420 -> 1300",
			"alice device.added laptop Name laptop, Owner bob, Key " + key,
			"alice device.changed laptop joined " + at + " with Addrs [10.20.0.2]",
			"alice device.changed laptop Disabled true",
			"alice device.changed laptop its owner was disabled",
			"alice device.changed laptop its owner was enabled; groups of its owner [] -> [staff]",
			"alice device.changed laptop left " + at,
			"alice device.deleted laptop",
			"alice gateway.added gw1 Name gw1",
			"alice gateway.changed gw1 Disabled true",
			"alice gateway.removed gw1",
		}, r.events(r.core, since))

		require.Len(t, r.events(r.core, vpn.EventFilter{Subject: string(d.ID)}), 7)
		require.Len(t, r.events(r.core, vpn.EventFilter{What: "gateway", Limit: 2}), 2)
		require.Len(t, r.events(r.core, vpn.EventFilter{Location: r.office.ID, What: "device"}), 5)
		all, err := r.core.Events().List(r.ctx, vpn.EventFilter{What: vpn.LocationCreated})
		require.NoError(t, err)
		require.NotContains(t, all[0].Text, "hf1.", "a sealed key is nobody's business")
		require.Contains(t, all[0].Text, "Key")
		b, err := json.Marshal(all[0])
		require.NoError(t, err)
		require.NotContains(t, string(b), `"by"`, "nobody was named")
	})
}

// Who follows gets what others did on another core, once each.
func TestEventsAreFollowed(t *testing.T) {
	bubble(t, func(r *rig) {
		other := r.newCore("core2", r.stores)
		ctx, cancel := context.WithCancel(r.ctx)
		got := make(chan vpn.Event, 100)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for e := range other.Events().Follow(ctx, vpn.EventFilter{What: "test"}) {
				got <- e
			}
		}()
		synctest.Wait()
		for range 3 {
			require.NoError(t, r.core.Events().Note(r.ctx, vpn.Event{What: "test.one", Text: strings.Repeat("ä", 2000)}))
			require.NoError(t, r.core.Events().Note(r.ctx, vpn.Event{What: "other.one"}))
			// One of a core whose clock is late, or that took its time.
			require.NoError(t, r.core.Events().Note(r.ctx, vpn.Event{What: "test.late", At: time.Now().Add(-3 * time.Second)}))
			time.Sleep(5 * time.Second)
		}
		r.stores.fail(errDisk)
		time.Sleep(time.Minute)
		r.stores.fail(nil)
		require.NoError(t, r.core.Events().Note(r.ctx, vpn.Event{What: "test.last"}))
		time.Sleep(time.Second)
		cancel()
		<-done
		close(got)
		counts := map[string]int{}
		for e := range got {
			counts[e.What]++
			require.LessOrEqual(t, len(e.Text), 2048+len("…"))
		}
		require.Equal(t, map[string]int{"test.one": 3, "test.late": 3, "test.last": 1}, counts)
		require.ErrorContains(t, r.core.Events().Note(r.ctx, vpn.Event{}), "what happened")
	})
}

// Of too many the oldest go.
func TestEventsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		core, err := vpn.New(vpn.Config{Stores: r.stores, Keys: r.keys, Events: 5})
		require.NoError(t, err)
		r.run(core)
		for i := range 20 {
			require.NoError(t, core.Events().Note(r.ctx, vpn.Event{What: "test", Name: string(rune('a' + i))}))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * time.Minute)
		require.Equal(t, []string{"test p", "test q", "test r", "test s", "test t"}, r.events(core, vpn.EventFilter{}))
	})
	_, err := vpn.New(vpn.Config{Stores: newFlaky(), Keys: seal.Ephemeral(), Events: -1})
	require.ErrorContains(t, err, "Config.Events")
}

// A gateway's coming, troubles and going are told, by one core of two.
func TestGatewaysAreEvents(t *testing.T) {
	bubble(t, func(r *rig) {
		other := r.newCore("core2", r.stores)
		r.run(other)
		id := r.gateway("gw1")
		since := vpn.EventFilter{What: "gateway"}
		status := func(edit func(*gateway.Status)) gateway.Status {
			s := gateway.Status{Epoch: 1, Full: true, Backend: "kernel", Version: "0.1"}
			edit(&s)
			return s
		}
		report := func(s gateway.Status) {
			for range 3 {
				for _, c := range []*vpn.Core{r.core, other} {
					require.NoError(t, c.Report(r.ctx, id, gateway.LocationID(r.office.ID), s))
				}
				time.Sleep(time.Second)
			}
		}
		at := r.office.ID
		report(status(func(*gateway.Status) {}))
		w := r.watch(r.core, id, gateway.Config{})
		report(status(func(*gateway.Status) {}))
		drift := gateway.Problem{What: "the link was down"}
		report(status(func(s *gateway.Status) { s.Drift, s.Drifts = []gateway.Problem{{What: "older"}, drift}, 1 }))
		report(status(func(s *gateway.Status) {
			s.Drift, s.Drifts = []gateway.Problem{drift}, 1
			s.Failed = []gateway.Problem{{What: "no room"}}
		}))
		report(status(func(s *gateway.Status) { s.Drift, s.Drifts = []gateway.Problem{drift}, 1 }))
		report(status(func(s *gateway.Status) { s.Epoch, s.Restored = 2, true })) // a new process
		o, err := other.Overview(r.ctx)
		require.NoError(t, err)
		require.True(t, o.Locations[0].Gateways[0].Restored)
		// It says that once; the core remembers, until the next process.
		report(status(func(s *gateway.Status) { s.Epoch, s.Drift, s.Drifts = 2, []gateway.Problem{drift}, 1 }))
		w.cancel()
		<-w.done
		time.Sleep(2 * time.Second) // a short break is none
		w = r.watch(r.core, id, gateway.Config{})
		report(status(func(s *gateway.Status) { s.Epoch, s.Drifts = 2, 1 }))
		w.cancel()
		<-w.done
		time.Sleep(20 * time.Second)
		want := []string{
			"gateway.added gw1 Name gw1, Locations [" + string(at) + "]",
			"gateway.connected gw1 0.1, WireGuard of the kernel",
			"gateway.drifted gw1 1 changes by others were repaired: the link was down",
			"gateway.failing gw1 no room",
			"gateway.recovered gw1",
			"gateway.restored gw1 it started without a core, from what it was told last",
			"gateway.drifted gw1 1 changes by others were repaired: the link was down",
			"gateway.lost gw1 last heard 6s ago",
		}
		require.Equal(t, want, r.events(r.core, since))
	})
}

// A store that cannot keep events keeps nobody from anything.
func TestEventsThatCannotBeKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		stores := newFlaky()
		stores.Stores = r.stores.Stores
		core := r.newCore("core3", stores)
		stores.fail(errDisk) // records; locations and devices go around it
		_, err := core.Locations().Create(r.ctx, location.Location{
			Name: "home", Host: "vpn.example.org", Networks: []netip.Prefix{netip.MustParsePrefix("10.30.0.0/24")},
		})
		require.NoError(t, err)
	})
}
