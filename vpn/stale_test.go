package vpn_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/kvstore"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
)

// A core that cannot read its store says so, and takes nothing.
//
// proves P9.
func TestAStoreThatFailsEndsStreams(t *testing.T) {
	bubble(t, func(r *rig) {
		r.add(1)
		gw := r.gateway("gw1")
		w := r.watch(r.core, gw, gateway.Config{})
		r.has(w)
		_, had, _ := w.take()
		assigned := make(chan error, 1)
		go func() {
			var last error
			for _, err := range r.core.Assigned(r.ctx, gw) {
				last = err
			}
			assigned <- last
		}()
		r.stores.fail(errDisk)
		began := time.Now()
		<-w.done
		require.GreaterOrEqual(r.t, time.Since(began), 500*time.Millisecond, "not at the first failure")
		require.LessOrEqual(r.t, time.Since(began), 900*time.Millisecond)
		r.ended(w, gateway.ErrStale)
		_, config, err := w.take()
		require.ErrorContains(r.t, err, "disk on fire")
		require.True(r.t, had.Equal(config))
		require.ErrorIs(r.t, <-assigned, gateway.ErrStale)

		r.ended(r.watch(r.core, gw, config), gateway.ErrStale)
		require.NoError(r.t, r.core.Report(r.ctx, gw, gateway.LocationID(r.office.ID), gateway.Status{Full: true}),
			"reports need no store")

		r.stores.fail(nil)
		r.add(2)
		time.Sleep(vpn.DefaultPoll)
		w = r.watch(r.core, gw, config)
		updates := r.has(w)
		require.Len(r.t, updates, 1)
		require.Equal(r.t, config.Revision, updates[0].From, "it goes on where it was")
		time.Sleep(time.Hour)
		r.stands(w)
	})
}

func TestAShortFailureEndsNobody(t *testing.T) {
	bubble(t, func(r *rig) {
		w := r.watch(r.core, r.gateway("gw1"), gateway.Config{})
		r.has(w)
		for n := range 20 {
			r.stores.fail(errDisk)
			r.add(n)
			time.Sleep(390 * time.Millisecond)
			r.stands(w)
			r.stores.fail(nil)
			time.Sleep(vpn.DefaultPoll)
			r.has(w)
		}
	})
}

func TestAStoreThatHangsEndsStreams(t *testing.T) {
	bubble(t, func(r *rig) {
		gw := r.gateway("gw1")
		w := r.watch(r.core, gw, gateway.Config{})
		r.has(w)
		_, had, _ := w.take()
		hung := make(chan struct{})
		r.stores.set(func(f *flaky) { f.hung = hung })
		began := time.Now()
		<-w.done
		require.LessOrEqual(r.t, time.Since(began), time.Second)
		r.ended(w, gateway.ErrStale)
		r.stores.set(func(f *flaky) { f.hung = nil })
		close(hung)
		r.add(1)
		time.Sleep(vpn.DefaultPoll)
		r.has(r.watch(r.core, gw, had))
	})
}

// Without the store from the beginning, streams are refused, and there is no
// snapshot of nothing.
func TestAStoreThatFailsFromTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		gw := r.gateway("gw1")
		r.add(1)
		early := r.watch(r.core, gw, gateway.Config{}) // before Run
		r.stores.fail(errDisk)
		r.run(r.core)
		time.Sleep(time.Second)
		r.ended(early, gateway.ErrStale)
		require.Empty(t, early.updates)
		r.ended(r.watch(r.core, gw, gateway.Config{}), gateway.ErrStale)
		r.stores.fail(nil)
		time.Sleep(time.Second)
		r.has(r.watch(r.core, gw, gateway.Config{}))
	})
}

// A Projection that went wrong, for whatever reason, is right again after a
// resync, and so is everybody who was told wrong things.
//
// proves P9.
func TestResyncRepairs(t *testing.T) {
	bubble(t, func(r *rig) {
		gw, other := r.gateway("gw1"), r.gateway("gw2")
		r.add(1)
		w := r.watch(r.core, gw, gateway.Config{})
		r.has(w)
		r.stores.set(func(f *flaky) {
			f.lie = func(v *vpn.View) { v.Devices = nil } // a bug loses a change
		})
		r.drop(1)
		r.add(2)
		synctest.Wait()
		r.stores.set(func(f *flaky) { f.lie = nil })
		updates, wrong, err := w.take()
		require.NoError(r.t, err)
		require.NotEmpty(r.t, updates)
		require.Equal(r.t, r.want().Revision, wrong.Revision)
		require.False(r.t, r.want().Equal(wrong), "it was told a lie")

		w.cancel()
		<-w.done
		back := r.watch(r.core, gw, wrong)
		waits := r.watch(r.core, other, gateway.Config{})
		time.Sleep(vpn.DefaultResync)
		for _, w := range []*reader{back, waits} {
			updates = r.has(w)
			require.True(r.t, updates[len(updates)-1].From.IsZero(), "what was told before is not built on")
		}
		elsewhere := r.watch(r.core, r.gateway("gw3"), wrong)
		r.has(elsewhere) // who comes with the same revision from before is told, too
		for _, w := range []*reader{back, waits, elsewhere} {
			updates, _, _ = w.take()
			require.Empty(r.t, updates, "and only once")
		}
		r.add(3)
		for _, w := range []*reader{back, waits, elsewhere} {
			updates = r.has(w)
			require.Len(r.t, updates, 1)
			require.False(r.t, updates[0].From.IsZero())
		}
	})
}

func TestResyncOfWhatIsRightSaysNothing(t *testing.T) {
	bubble(t, func(r *rig) {
		w := r.watch(r.core, r.gateway("gw1"), gateway.Config{})
		for n := range 100 {
			r.add(n)
			time.Sleep(700 * time.Millisecond)
		}
		updates := r.has(w)
		require.Len(r.t, updates, 101)
		for _, u := range updates[1:] {
			require.False(r.t, u.From.IsZero())
		}
		time.Sleep(10 * time.Minute)
		require.Empty(r.t, r.has(w))
	})
}

// A store with another history is told whole, even if its numbers look the same.
func TestAnotherEpochIsToldWhole(t *testing.T) {
	bubble(t, func(r *rig) {
		r.add(1)
		gw := r.gateway("gw1")
		w := r.watch(r.core, gw, gateway.Config{})
		r.has(w)
		before := newFlaky()
		require.NoError(r.t, move(r, before)) // a restored backup, without device 1
		r.stores.set(func(f *flaky) { f.Stores = before.Stores })
		time.Sleep(vpn.DefaultPoll)
		updates := r.has(w)
		require.Len(r.t, updates, 1)
		require.True(r.t, updates[0].From.IsZero())
		require.Empty(r.t, updates[0].Set)
		r.add(2)
		time.Sleep(vpn.DefaultPoll)
		updates = r.has(w)
		require.False(r.t, updates[0].From.IsZero())
	})
}

// A store that lost its last writes, and does not know it, is followed all the
// same.
func TestNumbersThatGoBack(t *testing.T) {
	bubble(t, func(r *rig) {
		r.add(1)
		gw := r.gateway("gw1")
		w := r.watch(r.core, gw, gateway.Config{})
		r.has(w)
		for range 5 {
			r.add(2)
			r.drop(2)
		}
		r.add(3)
		r.has(w)
		_, had, _ := w.take()
		db := memstore.NewDB()
		require.NoError(r.t, db.Update(r.ctx, func(tx kvstore.Tx) error {
			return tx.Put("head", fmt.Appendf(nil, "%016x", had.Revision.Epoch))
		}))
		before := &flaky{Stores: kvstore.New(db)}
		require.NoError(r.t, move(r, before))
		r.stores.set(func(f *flaky) { f.Stores = before.Stores })
		require.Less(r.t, r.revision().Number, had.Revision.Number)
		require.Equal(r.t, r.revision().Epoch, had.Revision.Epoch)
		late := r.watch(r.core, r.gateway("gw2"), had)
		time.Sleep(vpn.DefaultPoll)
		for _, w := range []*reader{w, late} {
			r.has(w)
		}
		for n := range 12 { // up to where it was before, and on
			r.add(n + 20)
			time.Sleep(vpn.DefaultPoll)
			for _, w := range []*reader{w, late} {
				r.has(w)
			}
		}
	})
}

func TestHealth(t *testing.T) {
	at := func(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }
	var h vpn.Health
	require.NoError(t, h.Stale(at(0)), "it has never looked")
	h.Look(at(0), at(10), errDisk)
	require.NoError(t, h.Stale(at(5000)), "one failure is none, however long ago")
	h.Look(at(900), at(999), errDisk)
	require.NoError(t, h.Stale(at(5000)))
	h.Look(at(990), at(1000), errDisk)
	require.ErrorIs(t, h.Stale(at(1000)), gateway.ErrStale)
	require.NotErrorIs(t, h.Stale(at(1000)), errDisk, "what ended the look did not end the stream")
	h.Look(at(1100), at(1110), nil)
	require.NoError(t, h.Stale(at(1110)))
	h.Hang(at(2000))
	require.NoError(t, h.Stale(at(2999)))
	require.ErrorIs(t, h.Stale(at(3000)), gateway.ErrStale)
}

// move writes the office and its gateways, but no devices, to another backend.
func move(r *rig, to *flaky) error {
	_, err := to.Locations().Update(r.ctx, r.office.ID, func(l *loc) error {
		*l = r.office
		return nil
	})
	if err != nil {
		return err
	}
	list, err := r.stores.Records().List(r.ctx, "", "", 0)
	if err != nil {
		return err
	}
	for _, rec := range list {
		err := to.Records().Update(r.ctx, rec.Key, func([]byte) ([]byte, error) { return rec.Value, nil })
		if err != nil {
			return err
		}
	}
	_, err = to.Devices().Update(r.ctx, "x", func(d *peer.Device) error {
		*d = dev(9, r.office.ID)
		d.ID = "x"
		d.Disabled = true
		return nil
	})
	return err
}
