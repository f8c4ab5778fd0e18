package gateway_test

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

func TestOnePlaneIsItself(t *testing.T) {
	gatewaytest.RunControlPlane(t, func(_ testing.TB, o gateway.ControlPlane) gateway.ControlPlane {
		return gateway.Planes(o)
	})
}

// cores are three planes on one store, each behind a link, and a Reconciler that
// knows them all.
type cores struct {
	*bench

	planes []*gatewaytest.Plane
	links  []*memtransport.Link
	froms  []gateway.Revision
}

func withCores(t *testing.T, test func(t *testing.T, c *cores)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		first := gatewaytest.NewPlane()
		first.Assign("gw1", office)
		first.Put(office, gatewaytest.Config(3))
		c := &cores{
			bench:  &bench{t: t, plane: first, device: memdevice.New(), steps: &steps{}},
			planes: []*gatewaytest.Plane{first, first.Twin(), first.Twin()},
		}
		var all []gateway.ControlPlane
		for _, p := range c.planes {
			l := memtransport.New(p)
			c.links = append(c.links, l)
			all = append(all, l)
		}
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
			ID: "gw1", Location: office, Device: c.device, Plane: gateway.Planes(all...),
			Trace: gateway.Trace{OnUpdate: func(from, _ gateway.Revision) { c.froms = append(c.froms, from) }},
		})
		require.NoError(t, err)
		c.Reconciler = r
		c.start()
		c.converged()
		test(t, c)
		c.stop()
	})
}

// grow adds a peer and says how long it takes until the gateway has it.
func (c *cores) grow(n int) time.Duration {
	c.t.Helper()
	began := time.Now()
	rev := c.plane.SetPeer(office, gatewaytest.Peer(n))
	for c.Status().Applied != rev {
		require.Less(c.t, time.Since(began), time.Minute, "the gateway stays behind")
		c.after(10 * time.Millisecond)
	}
	return time.Since(began)
}

// proves P9: a core that is lost keeps no gateway behind.
func TestAnotherPlaneTakesOver(t *testing.T) {
	withCores(t, func(t *testing.T, c *cores) {
		c.after(time.Minute)
		for i, lose := range []func(){
			c.links[0].Cut,
			func() { c.planes[1].Fail(gateway.ErrStale) },
			func() { c.links[0].Heal(); c.links[2].Cut() },
		} {
			lose()
			require.LessOrEqual(t, c.grow(10+i), time.Second)
			c.after(time.Minute)
		}
		for _, from := range c.froms[1:] {
			require.False(t, from.IsZero(), "everything was sent again")
		}
		c.converged()
	})
}

// proves P9: so does one that has lost touch without saying so.
func TestAStalledPlaneIsNoticed(t *testing.T) {
	withCores(t, func(t *testing.T, c *cores) {
		c.after(time.Minute)
		c.links[0].Stall()
		require.LessOrEqual(t, c.grow(10), 30*time.Second)
		require.LessOrEqual(t, c.grow(11), 100*time.Millisecond, "it went back to the one that stalls")
		c.links[1].Stall()
		require.LessOrEqual(t, c.grow(12), 30*time.Second)
		c.converged()
	})
}

func TestAPlaneThatWasAwayIsAskedAgain(t *testing.T) {
	withCores(t, func(t *testing.T, c *cores) {
		c.links[1].Cut()
		c.links[2].Cut()
		c.after(time.Minute) // both were asked, and did not answer
		c.links[1].Heal()
		c.links[2].Heal()
		c.links[0].Stall()
		require.LessOrEqual(t, c.grow(10), 30*time.Second)
	})
}

func TestTwoPlanesLostAtOnce(t *testing.T) {
	for _, lost := range [][2]int{{0, 1}, {0, 2}} {
		withCores(t, func(t *testing.T, c *cores) {
			c.links[lost[1]].Stall()
			c.links[lost[0]].Cut()
			require.LessOrEqual(t, c.grow(10), 3*time.Second)
		})
	}
}

func TestASilentPlaneIsSeldomDoubted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatewaytest.NewPlane()
		p.Assign("gw1", office)
		p.Put(office, gatewaytest.Config(1))
		var asked atomic.Int64
		both := gateway.Planes(p, counting{p.Twin(), func() { asked.Add(1) }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, err := range both.Watch(ctx, "gw1", office, gateway.Revision{}) {
				if err != nil {
					return
				}
			}
		}()
		for i := range 60 {
			p.SetPeer(office, gatewaytest.Peer(2+i))
			time.Sleep(time.Second)
		}
		require.Zero(t, asked.Load(), "one that talks is doubted")
		time.Sleep(110 * time.Second)
		require.InDelta(t, 10, asked.Load(), 1)
		cancel()
		<-done
	})
}

// tape is a plane that yields its updates and then ends with an error.
type tape struct {
	scripted

	err error
}

func (p tape) Watch(context.Context, gateway.ID, gateway.LocationID, gateway.Revision) iter.Seq2[gateway.Update, error] {
	return func(yield func(gateway.Update, error) bool) {
		for _, u := range p.scripted {
			if !yield(u, nil) {
				return
			}
		}
		yield(gateway.Update{}, p.err)
	}
}

func TestWhatPlanesPassOn(t *testing.T) {
	at := func(epoch, number uint64) gateway.Revision { return gateway.Revision{Epoch: epoch, Number: number} }
	snapshot := func(to gateway.Revision) gateway.Update {
		return gateway.Update{To: to, Interface: &gateway.Interface{}}
	}
	first := tape{scripted{snapshot(at(1, 2))}, errors.New("gone")}
	for name, c := range map[string]struct {
		second scripted
		told   []gateway.Revision
	}{
		"what is known already":             {scripted{snapshot(at(1, 2))}, nil},
		"what is older":                     {scripted{snapshot(at(1, 1))}, nil},
		"what starts elsewhere":             {scripted{{From: at(1, 1), To: at(1, 3)}}, nil},
		"what goes on":                      {scripted{{From: at(1, 2), To: at(1, 3)}}, []gateway.Revision{at(1, 3)}},
		"everything at a newer revision":    {scripted{snapshot(at(1, 3))}, []gateway.Revision{at(1, 3)}},
		"another history":                   {scripted{snapshot(at(2, 1))}, []gateway.Revision{at(2, 1)}},
		"what is older, and then what goes": {scripted{snapshot(at(1, 1)), {From: at(1, 2), To: at(1, 4)}}, []gateway.Revision{at(1, 4)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				var told []gateway.Revision
				for u, err := range gateway.Planes(first, c.second).Watch(ctx, "gw1", office, gateway.Revision{}) {
					require.NoError(t, err)
					told = append(told, u.To)
				}
				require.Equal(t, append([]gateway.Revision{at(1, 2)}, c.told...), told)
			})
		})
	}
}

// A plane that does not answer is not asked again before it does.
func TestReportsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatewaytest.NewPlane()
		p.Assign("gw1", office)
		var now, most atomic.Int64
		both := gateway.Planes(p, piling{p.Twin(), &now, &most})
		ctx, cancel := context.WithCancel(t.Context())
		for range 50 {
			require.NoError(t, both.Report(ctx, "gw1", office, gateway.Status{Epoch: 1, Full: true}))
		}
		require.Equal(t, int64(1), most.Load())
		cancel()
		synctest.Wait()
		require.Zero(t, now.Load(), "a call outlives its context")
	})
}

// piling is a plane whose Report waits for its context, and counts the waiting.
type piling struct {
	gateway.ControlPlane

	now, most *atomic.Int64
}

func (p piling) Report(ctx context.Context, _ gateway.ID, _ gateway.LocationID, _ gateway.Status) error {
	p.most.Store(max(p.most.Load(), p.now.Add(1)))
	defer p.now.Add(-1)
	<-ctx.Done()
	return ctx.Err()
}

func TestAPlaneThatStallsAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatewaytest.NewPlane()
		p.Assign("gw1", office)
		rev := p.Put(office, gatewaytest.Config(1))
		stalled := memtransport.New(p)
		stalled.Stall()
		both := gateway.Planes(stalled, p.Twin())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for u, err := range both.Watch(ctx, "gw1", office, gateway.Revision{}) {
			require.NoError(t, err)
			require.Equal(t, rev, u.To)
			break
		}
		for at, err := range both.Assigned(ctx, "gw1") {
			require.NoError(t, err)
			require.Equal(t, []gateway.Assignment{{Location: office}}, at)
			break
		}
	})
}

func TestPlanesNeverGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatewaytest.NewPlane()
		p.Assign("gw1", office)
		old := p.Put(office, gatewaytest.Config(1))
		behind := scripted{p.Config(office).Since(gateway.Config{})}
		now := p.SetPeer(office, gatewaytest.Peer(7))
		link := memtransport.New(p)
		both := gateway.Planes(link, behind)
		ctx, cancel := context.WithCancel(t.Context())
		var got []gateway.Revision
		done := make(chan struct{})
		go func() {
			defer close(done)
			for u, err := range both.Watch(ctx, "gw1", office, gateway.Revision{}) {
				if err == nil {
					got = append(got, u.To)
				}
			}
		}()
		time.Sleep(time.Hour)
		link.Cut() // only the one that is behind is left
		time.Sleep(time.Hour)
		cancel()
		<-done
		require.Equal(t, []gateway.Revision{now}, got)
		require.NotContains(t, got, old)
	})
}

func TestPlanesThatAllFailSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatewaytest.NewPlane()
		twin := p.Twin()
		p.Fail(gateway.ErrStale)
		twin.Fail(errors.New("no route to host"))
		both := gateway.Planes(p, twin)
		for _, err := range both.Watch(t.Context(), "gw1", office, gateway.Revision{}) {
			require.ErrorIs(t, err, gateway.ErrStale)
			require.ErrorContains(t, err, "no route to host")
		}
		for _, err := range both.Assigned(t.Context(), "gw1") {
			require.ErrorIs(t, err, gateway.ErrStale)
		}
		require.ErrorIs(t, both.Report(t.Context(), "gw1", office, gateway.Status{Full: true}), gateway.ErrStale)

		none := gateway.Planes()
		for _, err := range none.Watch(t.Context(), "gw1", office, gateway.Revision{}) {
			require.Error(t, err)
		}
		require.Error(t, none.Report(t.Context(), "gw1", office, gateway.Status{Full: true}))
	})
}

func TestAllPlanesAreReportedTo(t *testing.T) {
	withCores(t, func(t *testing.T, c *cores) {
		keys := c.plane.Config(office).Peers
		hear := func(i int) { c.device.Hear(keys[i].Key, memdevice.Traffic{Rx: 32}) }
		last := func(i int) gateway.Status { return c.planes[i].Last("gw1", office) }
		hear(0)
		c.after(10 * time.Second)
		for i := range c.planes {
			require.Equal(t, c.plane.Config(office).Revision, last(i).Verified)
		}

		// One that is slow or away holds up none of the others, and gets it all
		// later.
		c.links[1].Stall()
		c.links[2].Cut()
		before := len(c.planes[0].Reports("gw1", office))
		hear(1)
		c.after(time.Minute)
		require.InDelta(t, 30, len(c.planes[0].Reports("gw1", office))-before, 3)
		full := 0
		for _, s := range c.planes[0].Reports("gw1", office)[before:] {
			if s.Full {
				full++
			}
		}
		require.Zero(t, full, "the others get everything again")
		c.links[1].Heal()
		c.links[2].Heal()
		c.after(15 * time.Second)
		for i := range c.planes {
			seen := map[string]bool{}
			for _, s := range c.planes[i].Reports("gw1", office) {
				for _, s := range s.Seen {
					seen[s.Key.String()] = true
				}
			}
			require.Len(t, seen, 2, "plane %d", i)
		}
	})
}

func TestAnotherProcessTakesOverOnAllPlanes(t *testing.T) {
	withCores(t, func(t *testing.T, c *cores) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, err := range c.planes[0].Watch(ctx, "gw1", office, gateway.Revision{}) {
				if err != nil {
					return
				}
			}
		}()
		c.after(time.Second)
		require.ErrorIs(t, c.Connected(), gateway.ErrReplaced)
		cancel()
		<-done
		c.after(12 * time.Second)
		require.NoError(t, c.Connected())
	})
}

func TestAPlaneThatForgotGetsEverythingFromPlanes(t *testing.T) {
	p := gatewaytest.NewPlane()
	p.Assign("gw1", office)
	forgetful := &swap{}
	forgetful.now.Store(p.Twin())
	both := gateway.Planes(p, forgetful)
	seen := []gateway.Sighting{{Key: gatewaytest.Peer(2).Key, Rx: 1}}
	require.NoError(t, both.Report(t.Context(), "gw1", office, gateway.Status{Epoch: 1, Full: true, Seen: seen}))
	anew := p.Twin()
	forgetful.now.Store(anew)
	more := []gateway.Sighting{{Key: gatewaytest.Peer(1).Key, Rx: 2}}
	require.NoError(t, both.Report(t.Context(), "gw1", office, gateway.Status{Epoch: 1, Seen: more}))
	require.Eventually(t, func() bool { return len(anew.Reports("gw1", office)) == 1 }, time.Minute, time.Millisecond)
	last := anew.Last("gw1", office)
	require.True(t, last.Full)
	require.ElementsMatch(t, append(seen, more...), last.Seen)
	require.False(t, p.Last("gw1", office).Full)
}

func TestReportsOfNewPlanesStartInFull(t *testing.T) {
	p := gatewaytest.NewPlane()
	p.Assign("gw1", office)
	both := gateway.Planes(p, p.Twin())
	require.ErrorIs(t, both.Report(t.Context(), "gw1", office, gateway.Status{Epoch: 1}), gateway.ErrGap)
	require.NoError(t, both.Report(t.Context(), "gw1", office, gateway.Status{Epoch: 1, Full: true}))
	require.NoError(t, both.Report(t.Context(), "gw1", office, gateway.Status{Epoch: 1}))
	require.NoError(t, both.Report(t.Context(), "gw1", office, gateway.Status{Full: true}), "of a process that was")
	require.NoError(t, both.Report(t.Context(), "gw1", office, gateway.Status{Epoch: 1}))
	require.Len(t, p.Reports("gw1", office), 3)
}
