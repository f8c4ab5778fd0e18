package vpn_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/seal"
)

func TestNewSaysWhatIsMissing(t *testing.T) {
	for want, c := range map[string]vpn.Config{
		"Config.Stores is missing": {Keys: seal.Ephemeral()},
		"Config.Keys is missing":   {Stores: memstore.New()},
		"are 1 ms or more":         {Stores: memstore.New(), Keys: seal.Ephemeral(), Poll: -1},
	} {
		_, err := vpn.New(c)
		require.ErrorContains(t, err, want)
	}
	a, err := vpn.New(vpn.Config{Stores: memstore.New(), Keys: seal.Ephemeral()})
	require.NoError(t, err)
	b, err := vpn.New(vpn.Config{Stores: memstore.New(), Keys: seal.Ephemeral()})
	require.NoError(t, err)
	require.Len(t, a.ID(), 26)
	require.NotEqual(t, a.ID(), b.ID())
}

func TestWithoutRunWatchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.watch(r.core, r.gateway("gw1"), gateway.Config{})
		time.Sleep(time.Hour)
		updates, _, err := w.take()
		require.NoError(t, err)
		require.Empty(t, updates)
		r.run(r.core)
		require.Len(t, r.has(w), 1)
	})
}

func TestRunIsCalledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		stop := r.run(r.core)
		gw := r.gateway("gw1")
		w := r.watch(r.core, gw, gateway.Config{})
		require.ErrorContains(t, r.core.Run(r.ctx), "was called before")
		stop()
		_, config, err := w.take()
		require.ErrorContains(t, err, "this core has stopped")
		require.NotErrorIs(t, err, gateway.ErrRevoked)
		_, _, err = r.watch(r.core, gw, config).take()
		require.ErrorContains(t, err, "this core has stopped")
		require.ErrorContains(t, r.core.Report(r.ctx, gw, gateway.LocationID(r.office.ID), gateway.Status{Full: true}), "has stopped")
		for _, err := range r.core.Assigned(r.ctx, gw) {
			require.ErrorContains(t, err, "this core has stopped")
		}
		require.ErrorContains(t, r.core.Run(r.ctx), "was called before")
	})
}

func TestWatchTellsEverythingAndThenWhatChanges(t *testing.T) {
	bubble(t, func(r *rig) {
		began := time.Now()
		r.add(1)
		w := r.watch(r.core, r.gateway("gw1"), gateway.Config{})
		updates := r.has(w)
		require.Len(r.t, updates, 1)
		require.True(r.t, updates[0].From.IsZero())
		require.Len(r.t, updates[0].Set, 1)

		r.add(2)
		updates = r.has(w)
		require.Len(r.t, updates, 1)
		require.Nil(r.t, updates[0].Interface)
		require.Equal(r.t, key(2), updates[0].Set[0].Key)
		r.drop(1)
		updates = r.has(w)
		require.Len(r.t, updates, 1)
		require.Empty(r.t, updates[0].Set)
		require.Equal(r.t, key(1), updates[0].Remove[0])
		_, err := r.core.Locations().Update(r.ctx, r.office.ID, func(l *loc) error { l.MTU = 1300; return nil })
		require.NoError(r.t, err)
		updates = r.has(w)
		require.Len(r.t, updates, 1)
		require.Equal(r.t, 1300, updates[0].Interface.MTU)
		require.Empty(r.t, updates[0].Set)
		_, err = r.core.Locations().Update(r.ctx, r.office.ID, func(l *loc) error { l.Name = "head office"; return nil })
		require.NoError(r.t, err)
		updates = r.has(w)
		require.Len(r.t, updates, 1, "the revision moves on, with nothing else")
		require.Equal(r.t, gateway.Update{From: updates[0].From, To: r.want().Revision}, updates[0])
		require.Equal(r.t, began, time.Now(), "hints make all that immediate")
		w.cancel()
		<-w.done
		_, _, err = w.take()
		require.NoError(r.t, err, "it ends with its context, without an error")
	})
}

// Hints are only hints.
//
// proves P9.
func TestLostHintsCostOnePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.stores.deaf = true
		r.run(r.core)
		w := r.watch(r.core, r.gateway("gw1"), gateway.Config{})
		r.has(w)
		for n := range 20 {
			time.Sleep(37 * time.Millisecond)
			r.add(n)
			time.Sleep(vpn.DefaultPoll)
			require.NotEmpty(t, r.has(w))
		}
	})
}

func TestALocationThatEndsIsSaid(t *testing.T) {
	bubble(t, func(r *rig) {
		r.add(1)
		w := r.watch(r.core, r.gateway("gw1"), gateway.Config{})
		r.has(w)
		r.editOffice(func(l *loc) { l.Disabled = true })
		updates := r.has(w)
		require.Equal(r.t, gateway.Interface{}, *updates[0].Interface)
		require.Equal(r.t, key(1), updates[0].Remove[0])
		r.add(2)
		require.Len(r.t, r.has(w), 1)
		r.editOffice(func(l *loc) { l.Disabled = false })
		updates = r.has(w)
		require.Len(r.t, updates[0].Set, 2)
		require.NoError(r.t, r.core.Locations().Delete(r.ctx, r.office.ID))
		updates = r.has(w)
		require.Equal(r.t, gateway.Interface{}, *updates[0].Interface)
		require.Len(r.t, updates[0].Remove, 2)
		late := r.watch(r.core, r.gatewayOf("gw2"), gateway.Config{})
		updates = r.has(late)
		require.Equal(r.t, gateway.Interface{}, *updates[0].Interface, "it is said to who comes later, too")
	})
}

// A core that lacks a key is no reason to take anybody's access.
//
// proves P2.
func TestAnUnreadableLocationTakesNothing(t *testing.T) {
	bubble(t, func(r *rig) {
		r.add(1)
		gw := r.gateway("gw1")
		w := r.watch(r.core, gw, gateway.Config{})
		r.has(w)
		_, had, _ := w.take()
		right := r.office.Key
		r.editOffice(func(l *loc) { l.Key = office(seal.Ephemeral()).Key })
		r.ended(w, gateway.ErrStale)
		_, config, err := w.take()
		require.ErrorContains(r.t, err, "seal: unreadable")
		require.True(r.t, had.Equal(config))
		again := r.watch(r.core, gw, config)
		r.ended(again, gateway.ErrStale)
		o, err := r.core.Overview(r.ctx)
		require.NoError(r.t, err)
		require.Len(r.t, o.Locations[0].Problems, 1)
		require.Contains(r.t, o.Locations[0].Problems[0], "gateways keep what they have: ")
		require.Contains(r.t, o.Locations[0].Problems[0], "unreadable")

		r.drop(1)
		r.add(2)
		r.editOffice(func(l *loc) { l.Key = right })
		w = r.watch(r.core, gw, config)
		r.has(w)
		r.editOffice(func(l *loc) { l.Key, l.Disabled = "rubbish", true })
		r.has(w)
		require.Empty(r.t, w.config.Peers, "to end a location takes no key")
	})
}

// A watcher that missed what happened while a location was unreadable gets all
// of it, wherever its revision is from.
func TestNothingIsMissedOverAnUnreadableTime(t *testing.T) {
	bubble(t, func(r *rig) {
		gw := r.gateway("gw1")
		r.add(1)
		w := r.watch(r.core, gw, gateway.Config{})
		r.has(w)
		right := r.office.Key
		r.editOffice(func(l *loc) { l.Key = "rubbish" })
		r.ended(w, gateway.ErrStale)
		// Another core can read it, and tells the gateway of device 2.
		r.add(2)
		_, elsewhere, _ := w.take()
		at := r.revision()
		elsewhere, err := elsewhere.Apply(gateway.Update{From: elsewhere.Revision, To: at, Set: []gateway.Peer{{Key: key(2)}}})
		require.NoError(r.t, err)
		r.drop(1)
		r.drop(2)
		r.editOffice(func(l *loc) { l.Disabled = true })
		r.add(3)
		w = r.watch(r.core, gw, elsewhere)
		r.has(w)
		r.editOffice(func(l *loc) { l.Disabled, l.Key = false, right })
		r.has(w)
	})
}
