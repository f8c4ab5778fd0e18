package vpn_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn"
)

func TestWhoIsNotRegisteredIsRefused(t *testing.T) {
	bubble(t, func(r *rig) {
		at := gateway.LocationID(r.office.ID)
		none := gateway.Config{}
		r.ended(r.watch(r.core, "nobody", none), gateway.ErrUnknown)
		require.ErrorIs(r.t, r.core.Report(r.ctx, "nobody", at, gateway.Status{Full: true}), gateway.ErrUnknown)
		for _, err := range r.core.Assigned(r.ctx, "nobody") {
			require.ErrorIs(r.t, err, gateway.ErrUnknown)
		}

		gw := r.gateway("gw1")
		w := r.watch(r.core, gw, none)
		r.has(w)
		require.NoError(r.t, r.core.Gateways().Remove(r.ctx, gw))
		r.ended(w, gateway.ErrRevoked)
		r.ended(r.watch(r.core, gw, none), gateway.ErrRevoked)
		require.ErrorIs(r.t, r.core.Report(r.ctx, gw, at, gateway.Status{Full: true}), gateway.ErrRevoked)
		for _, err := range r.core.Assigned(r.ctx, gw) {
			require.ErrorIs(r.t, err, gateway.ErrRevoked)
		}

		gw = r.gateway("gw2")
		w = r.watch(r.core, gw, none)
		r.has(w)
		_, err := r.core.Gateways().Update(r.ctx, gw, func(g *vpn.Gateway) error { g.Disabled = true; return nil })
		require.NoError(r.t, err)
		r.ended(w, gateway.ErrRevoked)
		r.ended(r.watch(r.core, gw, none), gateway.ErrRevoked)
		_, err = r.core.Gateways().Update(r.ctx, gw, func(g *vpn.Gateway) error { g.Disabled = false; return nil })
		require.NoError(r.t, err)
		r.has(r.watch(r.core, gw, none))
	})
}

func TestAssignmentsAreFollowed(t *testing.T) {
	bubble(t, func(r *rig) {
		gw := r.gateway("gw1")
		w := r.watch(r.core, gw, gateway.Config{})
		r.has(w)
		var told [][]gateway.Assignment
		go func() {
			for list, err := range r.core.Assigned(r.ctx, gw) {
				if err != nil {
					return
				}
				told = append(told, list)
			}
		}()
		synctest.Wait()
		at := gateway.LocationID(r.office.ID)
		require.Equal(r.t, [][]gateway.Assignment{{{Location: at}}}, told)
		_, err := r.core.Gateways().Update(r.ctx, gw, func(g *vpn.Gateway) error { g.Name = "renamed"; return nil })
		require.NoError(r.t, err)
		synctest.Wait()
		require.Len(r.t, told, 1, "a new name is not another assignment")
		r.stands(w)
		_, err = r.core.Gateways().Update(r.ctx, gw, func(g *vpn.Gateway) error { g.Locations = nil; return nil })
		require.NoError(r.t, err)
		r.ended(w, vpn.ErrUnassigned)
		require.Equal(r.t, [][]gateway.Assignment{{{Location: at}}, {}}, told)
		r.ended(r.watch(r.core, gw, gateway.Config{}), vpn.ErrUnassigned)
		require.ErrorIs(r.t, r.core.Report(r.ctx, gw, at, gateway.Status{Full: true}), vpn.ErrUnassigned)
	})
}

// What another core writes is known here within about a second, hints or not.
func TestRegistrationsOfOtherCoresAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.stores.deaf = true
		other := r.newCore("core2", r.stores)
		r.run(r.core)
		r.run(other)
		gw := r.gateway("gw1")
		w := r.watch(other, gw, gateway.Config{}) // at once: a stream begins with a look
		r.has(w)
		require.NoError(t, r.core.Gateways().Remove(r.ctx, gw))
		began := time.Now()
		<-w.done
		r.ended(w, gateway.ErrRevoked)
		require.LessOrEqual(t, time.Since(began), 1100*time.Millisecond)
	})
}

// A list of registrations that was read before one was added does not undo it.
func TestAnOldListUndoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.stores.deaf = true // or the right list would follow at once
		r.run(r.core)
		added := make(chan *reader, 1)
		r.stores.set(func(f *flaky) {
			f.listed = func() { // after the list was read, before it is taken in
				gw, err := r.core.Gateways().Add(r.ctx, vpn.Gateway{Name: "gw1", Locations: []location.ID{r.office.ID}})
				if err != nil {
					r.t.Error(err)
				}
				added <- r.watch(r.core, gw.ID, gateway.Config{})
			}
		})
		w := <-added
		time.Sleep(100 * time.Millisecond)
		r.stands(w)
		r.has(w)
		time.Sleep(5 * time.Second)
		r.stands(w)
	})
}

func TestASecondWatchReplacesTheFirst(t *testing.T) {
	bubble(t, func(r *rig) {
		gw, other := r.gateway("gw1"), r.gateway("gw2")
		first, theirs := r.watch(r.core, gw, gateway.Config{}), r.watch(r.core, other, gateway.Config{})
		r.has(first)
		second := r.watch(r.core, gw, gateway.Config{})
		r.ended(first, gateway.ErrReplaced)
		r.has(second)
		require.True(r.t, r.gw(r.core, gw).Connected, "the end of the first is not the end of the second")
		r.stands(theirs)
		time.Sleep(time.Minute)
		r.stands(second)
	})
}

func TestASlowReaderHoldsUpNobody(t *testing.T) {
	bubble(t, func(r *rig) {
		slow, quick := r.watch(r.core, r.gateway("slow"), gateway.Config{}), r.watch(r.core, r.gateway("quick"), gateway.Config{})
		r.has(slow)
		r.has(quick)
		gate := make(chan struct{})
		slow.mu.Lock()
		slow.gate = gate
		slow.mu.Unlock()
		for n := range 50 {
			r.add(n)
			require.Len(r.t, r.has(quick), 1)
		}
		for n := range 25 {
			r.drop(n)
		}
		r.has(quick)
		slow.mu.Lock()
		slow.gate = nil
		slow.mu.Unlock()
		close(gate)
		updates := r.has(slow)
		require.Len(r.t, updates, 2, "the one that it stood at, and all the rest")
		require.Len(r.t, updates[1].Set, 25)
		require.NotEmpty(r.t, updates[1].Remove)
	})
}

func TestAReaderGoesOnWhereItWas(t *testing.T) {
	bubble(t, func(r *rig) {
		gw := r.gateway("gw1")
		r.add(1)
		w := r.watch(r.core, gw, gateway.Config{})
		r.has(w)
		w.cancel()
		_, had, _ := w.take()
		require.Empty(r.t, r.has(r.watch(r.core, gw, had)), "nothing changed, nothing is told")
		r.add(2)
		r.drop(1)
		synctest.Wait() // the core has seen both
		updates := r.has(r.watch(r.core, gw, had))
		require.Len(r.t, updates, 1)
		require.Equal(r.t, had.Revision, updates[0].From)
		require.Len(r.t, updates[0].Set, 1)
		require.Len(r.t, updates[0].Remove, 1)
		require.Nil(r.t, updates[0].Interface)

		foreign := had
		foreign.Revision.Epoch++
		updates = r.has(r.watch(r.core, gw, foreign))
		require.True(r.t, updates[0].From.IsZero())
	})
}

// Who comes from a core that is ahead is not set back; who really is in the
// future is.
func TestAReaderFromTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.stores.deaf = true
		r.run(r.core)
		gw := r.gateway("gw1")
		r.add(1)
		w := r.watch(r.core, gw, gateway.Config{})
		r.has(w)
		r.add(2) // this core has not seen it yet
		ahead := r.want()
		w = r.watch(r.core, gw, ahead)
		time.Sleep(time.Minute)
		require.Empty(t, r.has(w))
		ahead.Revision.Number += 100
		w = r.watch(r.core, gw, ahead)
		updates := r.has(w)
		require.Len(t, updates, 1)
		require.True(t, updates[0].From.IsZero())
	})
}

func TestWatchersShareOneTracker(t *testing.T) {
	bubble(t, func(r *rig) {
		const watchers = 20
		var all []*reader
		for range watchers {
			all = append(all, r.watch(r.core, r.gateway("gw"), gateway.Config{}))
		}
		synctest.Wait()
		r.stores.set(func(f *flaky) { f.views = 0 })
		for n := range 10 {
			r.add(n)
			for _, w := range all {
				r.has(w)
			}
		}
		r.stores.set(func(f *flaky) { require.LessOrEqual(r.t, f.views, 10+1) })
	})
}

// Readers that come and go with whatever they have, from two cores that see
// different revisions, always end up with what Project says.
//
// proves P9.
func TestReadersOfTwoCoresInRandomHistories(t *testing.T) {
	for seed := range uint64(15) {
		synctest.Test(t, func(t *testing.T) {
			pick := rand.New(rand.NewPCG(seed, 1)).IntN
			r := newRig(t)
			r.stores.deaf = pick(2) == 0
			cores := []*vpn.Core{r.core, r.newCore("core2", r.stores)}
			for _, c := range cores {
				r.run(c)
			}
			gws := []gateway.ID{r.gateway("gw1"), r.gateway("gw2"), r.gateway("gw3")}
			readers := make([]*reader, len(gws))
			for i := range readers {
				readers[i] = r.watch(cores[pick(2)], gws[i], gateway.Config{})
			}
			for range 120 {
				n := pick(12)
				switch {
				case n < 5:
					r.add(pick(8))
				case n < 8:
					r.drop(pick(8))
				case n < 9:
					r.editOffice(func(l *location.Location) { l.Disabled = !l.Disabled })
				case n < 10:
					r.editOffice(func(l *location.Location) { l.MTU = 1280 + pick(3) })
				default:
					i := pick(len(gws))
					readers[i].cancel()
					<-readers[i].done
					_, have, err := readers[i].take()
					require.NoError(t, err, "seed %d", seed)
					readers[i] = r.watch(cores[pick(2)], gws[i], have)
				}
				time.Sleep(time.Duration(pick(300)) * time.Millisecond)
			}
			time.Sleep(vpn.DefaultPoll)
			for _, w := range readers {
				updates := r.has(w)
				require.True(t, slices.IsSortedFunc(updates, func(a, b gateway.Update) int {
					return int(a.To.Number) - int(b.To.Number)
				}), "the order never goes back")
			}
		})
	}
}

// What is remembered of changes is bounded: who is too far back gets everything.
func TestWhoIsFarBehindGetsEverything(t *testing.T) {
	bubble(t, func(r *rig) {
		const many = 9000
		gw := r.gateway("gw1")
		quick := r.watch(r.core, r.gateway("quick"), gateway.Config{})
		r.has(quick)
		w := r.watch(r.core, gw, gateway.Config{})
		r.has(w)
		w.cancel()
		_, first, _ := w.take()
		var late gateway.Config
		for n := range many {
			if k := n % 10; k < 5 {
				r.add(k)
			} else {
				r.drop(k - 5)
			}
			if n == many-1001 {
				r.has(quick)
				_, late, _ = quick.take()
			}
			synctest.Wait() // each change is seen by itself
		}
		r.has(quick)
		updates := r.has(r.watch(r.core, gw, first))
		require.Len(r.t, updates, 1)
		require.True(r.t, updates[0].From.IsZero())
		updates = r.has(r.watch(r.core, gw, late))
		require.Len(r.t, updates, 1)
		require.Equal(r.t, late.Revision, updates[0].From)
		require.Len(r.t, updates[0].Remove, 5)
	})
}
