package vpn_test

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn"
)

// listener collects what a gateway is told to serve.
type listener struct {
	mu   sync.Mutex
	told [][]gateway.Assignment
	when time.Time // of the last
	err  error
}

// listen opens a stream of assignments, which ends with the test.
func (r *rig) listen(core *vpn.Core, id gateway.ID) *listener {
	l := &listener{}
	go func() {
		for list, err := range core.Assigned(r.ctx, id) {
			l.mu.Lock()
			if l.err = err; err == nil {
				told := slices.Clone(list)
				for i, a := range list {
					told[i] = a.Clone()
					clear(a.Siblings) // it is the reader's own
				}
				l.told, l.when = append(l.told, told), time.Now()
			}
			l.mu.Unlock()
		}
	}()
	synctest.Wait()
	return l
}

// take returns what was told since it was called last, and when the last of it.
func (l *listener) take() ([][]gateway.Assignment, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := l.told
	l.told = nil
	return told, l.when
}

// reassign changes a gateway by way of the first core.
func (r *rig) reassign(id gateway.ID, edit func(*vpn.Gateway)) {
	r.t.Helper()
	_, err := r.core.Gateways().Update(r.ctx, id, func(g *vpn.Gateway) error { edit(g); return nil })
	require.NoError(r.t, err)
}

// family is the one assignment to the office, with these siblings in any order.
func (r *rig) family(siblings ...gateway.Sibling) []gateway.Assignment {
	slices.SortFunc(siblings, func(a, b gateway.Sibling) int { return cmp.Compare(a.ID, b.ID) })
	return []gateway.Assignment{{Location: gateway.LocationID(r.office.ID), Siblings: siblings}}
}

// What is told of siblings is what makes a difference to them, on every core, with
// hints at once and without them within about a second.
func TestSiblingsAreFollowedOnEveryCore(t *testing.T) {
	const addr = "gw2.example.org:7946"
	for name, c := range map[string]struct {
		deaf   bool
		within time.Duration
	}{"with hints": {false, 0}, "without": {true, 1100 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.stores.deaf = c.deaf
				other := r.newCore("core2", r.stores)
				r.run(r.core)
				r.run(other)
				id, second := r.gateway("gw1"), r.gateway("gw2")
				all := []*listener{r.listen(r.core, id), r.listen(other, id)}
				third := gateway.ID("")
				for _, step := range []struct {
					what string
					do   func()
					want func() []gateway.Assignment // nil: nothing is told
				}{
					{"at first", func() {}, func() []gateway.Assignment { return r.family(gateway.Sibling{ID: second}) }},
					{"renamed", func() { r.reassign(second, func(g *vpn.Gateway) { g.Name = "renamed" }) }, nil},
					{"the gateway itself", func() { r.reassign(id, func(g *vpn.Gateway) { g.Name, g.Address = "one", "192.0.2.1:7946" }) }, nil},
					{"moved", func() { r.reassign(second, func(g *vpn.Gateway) { g.Address = addr }) }, func() []gateway.Assignment {
						return r.family(gateway.Sibling{ID: second, Addr: addr})
					}},
					{"another one", func() { third = r.gateway("gw3") }, func() []gateway.Assignment {
						return r.family(gateway.Sibling{ID: second, Addr: addr}, gateway.Sibling{ID: third})
					}},
					{"disabled", func() { r.reassign(second, func(g *vpn.Gateway) { g.Disabled = true }) }, func() []gateway.Assignment {
						return r.family(gateway.Sibling{ID: third})
					}},
					{"moved while disabled", func() { r.reassign(second, func(g *vpn.Gateway) { g.Address = "" }) }, nil},
					{"enabled", func() { r.reassign(second, func(g *vpn.Gateway) { g.Disabled = false }) }, func() []gateway.Assignment {
						return r.family(gateway.Sibling{ID: second}, gateway.Sibling{ID: third})
					}},
					{"unassigned", func() { r.reassign(second, func(g *vpn.Gateway) { g.Locations = nil }) }, func() []gateway.Assignment {
						return r.family(gateway.Sibling{ID: third})
					}},
					{"removed", func() { require.NoError(t, r.core.Gateways().Remove(r.ctx, third)) }, func() []gateway.Assignment { return r.family() }},
				} {
					began := time.Now()
					step.do()
					time.Sleep(3 * time.Second)
					synctest.Wait()
					for n, l := range all {
						told, when := l.take()
						if step.want == nil {
							require.Empty(t, told, "%s, core %d", step.what, n+1)
							continue
						}
						require.Len(t, told, 1, "%s, core %d", step.what, n+1)
						require.Equal(t, step.want(), told[0], "%s, core %d", step.what, n+1)
						require.LessOrEqual(t, when.Sub(began), c.within, "%s, core %d", step.what, n+1)
					}
				}
			})
		})
	}
}

// A core that has just begun, and knows nobody, tells nobody that they are alone.
func TestACoreThatBeginsKnowsTheSiblings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ids := []gateway.ID{r.gateway("gw1"), r.gateway("gw2"), r.gateway("gw3")}
		want := r.family(gateway.Sibling{ID: ids[1]}, gateway.Sibling{ID: ids[2]})
		for name, meanwhile := range map[string]func(*vpn.Core){
			"nothing":         func(*vpn.Core) {},
			"others come":     func(core *vpn.Core) { r.watch(core, ids[1], gateway.Config{}) },
			"it has just run": func(core *vpn.Core) { r.run(core) },
		} {
			core := r.newCore("core of "+name, r.stores)
			r.stores.set(func(f *flaky) {
				f.listed = func() { // after the list was read, before it is taken in
					_ = core.Report(r.ctx, ids[2], gateway.LocationID(r.office.ID), gateway.Status{Epoch: 1, Full: true})
				}
			})
			meanwhile(core)
			told, _ := r.listen(core, ids[0]).take()
			require.Equal(t, [][]gateway.Assignment{want}, told, name)
		}
	})
}

// Without the store nobody is told anything of siblings, and who waits shares what
// is read.
func TestManyAskAtOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		const many = 50
		ids := make([]gateway.ID, many)
		for i := range ids {
			ids[i] = r.gateway("gw")
		}
		hung := make(chan struct{})
		r.stores.set(func(f *flaky) { f.hung, f.lists = hung, 0 })
		all := make([]*listener, many)
		for i, id := range ids {
			all[i] = r.listen(r.core, id)
		}
		// Who does not want to wait any more, need not.
		ctx, cancel := context.WithTimeout(r.ctx, 100*time.Millisecond)
		defer cancel()
		for list, err := range r.core.Assigned(ctx, ids[0]) {
			r.t.Error("it says something", list, err)
		}
		r.stores.set(func(f *flaky) { f.hung = nil })
		close(hung)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		for _, l := range all {
			told, _ := l.take()
			require.Len(r.t, told, 1)
			require.Len(r.t, told[0][0].Siblings, many-1)
		}
		r.stores.set(func(f *flaky) { require.LessOrEqual(r.t, f.lists, 4) })

		r.stores.fail(errDisk)
		l := r.listen(r.core, ids[0])
		told, _ := l.take()
		require.Empty(r.t, told)
		require.ErrorIs(r.t, l.err, gateway.ErrStale)
		require.NotErrorIs(r.t, l.err, errDisk)
	})
}

// A list is taken in whole but for what was written while it was read.
func TestAListAndWhatIsWrittenMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.stores.deaf = true
		other := r.newCore("core2", r.stores)
		id, second, third := r.gateway("gw1"), r.gateway("gw2"), r.gateway("gw3")
		r.run(other)
		l := r.listen(other, id)
		l.take()
		r.reassign(third, func(g *vpn.Gateway) { g.Address = "192.0.2.3:7946" }) // by another core, without a hint
		r.stores.set(func(f *flaky) {
			f.listed = func() {
				_, err := other.Gateways().Update(r.ctx, second, func(g *vpn.Gateway) error { g.Locations = []location.ID{}; return nil })
				if err != nil {
					r.t.Error(err)
				}
			}
		})
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		told, _ := l.take()
		require.Equal(t, r.family(gateway.Sibling{ID: third, Addr: "192.0.2.3:7946"}), told[len(told)-1])
		time.Sleep(5 * time.Second)
		again, _ := l.take()
		require.Empty(t, again)
	})
}

// One registration that cannot be read blocks nobody but its own gateway, which
// keeps what it has.
func TestABadRowBlocksNobodyElse(t *testing.T) {
	bubble(t, func(r *rig) {
		r.add(1)
		at := gateway.LocationID(r.office.ID)
		id, bad, third := r.gateway("gw1"), r.gateway("gw2"), r.gateway("gw3")
		there, its := r.watch(r.core, id, gateway.Config{}), r.watch(r.core, bad, gateway.Config{})
		all := []*listener{r.listen(r.core, id), r.listen(r.core, third)}
		row := func(b []byte) {
			require.NoError(r.t, r.stores.Stores.Records().Update(r.ctx, "gateway/"+string(bad), func([]byte) ([]byte, error) { return b, nil }))
			time.Sleep(1100 * time.Millisecond)
			synctest.Wait()
		}
		right, err := r.stores.Stores.Records().Get(r.ctx, "gateway/"+string(bad))
		require.NoError(r.t, err)
		for what, b := range map[string][]byte{
			"of a newer core": []byte(`{"newer":true,` + string(right[1:])),
			"rubbish":         []byte("rubbish"),
			"of another":      []byte(`{"id":"` + string(id) + `","name":"gw1"}`),
		} {
			row(b)
			for i, l := range all {
				told, _ := l.take()
				require.Equal(r.t, r.family(gateway.Sibling{ID: []gateway.ID{third, id}[i]}), told[len(told)-1], what)
				require.NoError(r.t, l.err, what)
			}
			told, _ := r.listen(r.core, id).take()
			require.Len(r.t, told, 1, what)
			r.add(2)
			r.has(there)
			r.ended(its, gateway.ErrStale)
			_, config, _ := its.take()
			r.ended(r.watch(r.core, bad, config), gateway.ErrStale)
			l := r.listen(r.core, bad)
			told, _ = l.take()
			require.Empty(r.t, told, what)
			require.ErrorIs(r.t, l.err, gateway.ErrStale, what)
			require.ErrorContains(r.t, l.err, "gateway/"+string(bad), what)
			require.ErrorIs(r.t, r.core.Report(r.ctx, bad, at, gateway.Status{Full: true}), gateway.ErrStale, what)
			for gw := range r.core.Gateways().Follow(r.ctx) {
				require.Len(r.t, gw, 2, what)
				break
			}
			_, err = r.core.Gateways().List(r.ctx)
			require.ErrorContains(r.t, err, "gateway/"+string(bad), what)

			row(right)
			its = r.watch(r.core, bad, config)
			r.has(its)
			told, _ = r.listen(r.core, bad).take()
			require.Equal(r.t, r.family(gateway.Sibling{ID: id}, gateway.Sibling{ID: third}), told[0], what)
			require.NoError(r.t, r.core.Report(r.ctx, bad, at, gateway.Status{Full: true}), what)
			r.drop(2)
			r.has(there)
		}
	})
}

// Many who ask of a store that takes long to fail learn it from one try.
func TestManyAskAStoreThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ids := make([]gateway.ID, 50)
		for i := range ids {
			ids[i] = r.gateway("gw")
		}
		hung := make(chan struct{})
		r.stores.set(func(f *flaky) { f.hung, f.err, f.lists = hung, errDisk, 0 })
		all := make([]*listener, len(ids))
		for i, id := range ids {
			all[i] = r.listen(r.core, id)
		}
		close(hung)
		synctest.Wait()
		for _, l := range all {
			told, _ := l.take()
			require.Empty(r.t, told)
			require.ErrorIs(r.t, l.err, gateway.ErrStale)
		}
		r.stores.set(func(f *flaky) { require.LessOrEqual(t, f.lists, 2); f.hung, f.err = nil, nil })
		told, _ := r.listen(r.core, ids[0]).take()
		require.Len(t, told, 1, "the next one tries anew")
	})
}
