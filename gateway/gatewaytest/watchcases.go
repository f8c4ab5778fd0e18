package gatewaytest

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func watchCases() []originCase {
	return []originCase{
		{"the first update is everything", firstIsEverything},
		{"then come differences", thenDifferences},
		{"random changes add up", changesAddUp},
		{"a change while the stream begins is not lost", nothingLostAtFirst},
		{"a slow reader gets fewer updates and holds up nobody", slowReader},
		{"who knows a revision gets what changed since", resumes},
		{"a revision that nobody knows gets everything", unknownRevision},
		{"a location that ends says so", locationEnds},
		{"what a reader gets is its own", updatesAreCopies},
		{"many gateways at once", manyGateways},
	}
}

// office makes a location with n peers, and a gateway that serves it.
func office(o Origin, n int) (gateway.ID, gateway.LocationID) {
	at := o.Found()
	for range n {
		o.Grow(at)
	}
	return o.Enrol(at), at
}

func firstIsEverything(tb testing.TB, o Origin) {
	id, at := office(o, 3)
	f := follow(tb, o, id, at, gateway.Config{})
	u := f.step()
	require.True(tb, u.From.IsZero(), "the first update starts at %v", u.From)
	require.NotNil(tb, u.Interface)
	f.reach(o.Config(at))
	require.Len(tb, f.have.Peers, 3)
	require.NoError(tb, f.have.Validate())
}

func thenDifferences(tb testing.TB, o Origin) {
	id, at := office(o, 3)
	f := follow(tb, o, id, at, gateway.Config{})
	f.reach(o.Config(at))
	before := f.have.Revision

	key := o.Grow(at)
	u := f.step()
	require.Equal(tb, before, u.From)
	require.Equal(tb, []wgkey.Public{key}, keys(u.Set), "more than what changed, or less")
	require.Empty(tb, u.Remove)
	require.Nil(tb, u.Interface, "the interface did not change")

	o.Shrink(at, key)
	u = f.step()
	require.Equal(tb, []wgkey.Public{key}, u.Remove)
	require.Empty(tb, u.Set)
	f.reach(o.Config(at))
}

func changesAddUp(tb testing.TB, o Origin) {
	id, at := office(o, 2)
	f := follow(tb, o, id, at, gateway.Config{})
	random := rand.New(rand.NewPCG(1, 2)) // the same changes each time
	var there []wgkey.Public
	for range 60 {
		if n := len(there); n > 0 && random.IntN(3) == 0 {
			i := random.IntN(n)
			o.Shrink(at, there[i])
			there = slices.Delete(there, i, i+1)
		} else {
			there = append(there, o.Grow(at))
		}
		if random.IntN(4) == 0 {
			f.reach(o.Config(at))
		}
	}
	f.reach(o.Config(at))
	require.Len(tb, f.have.Peers, len(there)+2)
}

func nothingLostAtFirst(tb testing.TB, o Origin) {
	id, at := office(o, 1)
	for range 20 {
		f := follow(tb, o, id, at, gateway.Config{})
		o.Grow(at)
		f.reach(o.Config(at))
		f.cancel()
	}
}

func slowReader(tb testing.TB, o Origin) {
	const changes = 100
	id, at := office(o, 1)
	slow, fast := follow(tb, o, id, at, gateway.Config{}), follow(tb, o, o.Enrol(at), at, gateway.Config{})
	slow.step()
	for range changes {
		o.Grow(at)
		fast.reach(o.Config(at))
		<-time.After(time.Millisecond) // time itself: changes come one by one, so that only the reader gathers them
	}
	slow.updates = 0
	slow.reach(o.Config(at))
	require.Less(tb, slow.updates, changes/2, "it got one update a change")
}

func resumes(tb testing.TB, o Origin) {
	id, at := office(o, 3)
	f := follow(tb, o, id, at, gateway.Config{})
	f.reach(o.Config(at))
	f.cancel()
	_ = f.end()
	key := o.Grow(at)

	again := follow(tb, o, id, at, f.have)
	u := again.step()
	require.Equal(tb, f.have.Revision, u.From, "it got everything again")
	require.Equal(tb, []wgkey.Public{key}, keys(u.Set))
	again.reach(o.Config(at))
	again.cancel()
	_ = again.end()

	// Who is up to date gets nothing, until there is something.
	idle := follow(tb, o, id, at, again.have)
	key = o.Grow(at)
	require.Equal(tb, []wgkey.Public{key}, keys(idle.step().Set))
}

func unknownRevision(tb testing.TB, o Origin) {
	id, at := office(o, 3)
	now := o.Config(at)
	for _, have := range []gateway.Revision{
		{Epoch: now.Revision.Epoch + 1, Number: 1},
		{Epoch: now.Revision.Epoch, Number: now.Revision.Number + 1000},
	} {
		f := follow(tb, o, id, at, gateway.Config{Revision: have})
		u := f.next()
		require.True(tb, u.From.IsZero(), "it starts at %v", u.From)
		got, err := gateway.Config{}.Apply(u)
		require.NoError(tb, err)
		require.True(tb, got.Canonical().Equal(now.Canonical()))
		f.cancel()
		_ = f.end()
	}
}

func locationEnds(tb testing.TB, o Origin) {
	id, at := office(o, 3)
	f := follow(tb, o, id, at, gateway.Config{})
	f.reach(o.Config(at))
	o.End(at)
	for !f.have.Interface.IsZero() {
		f.step()
	}
	require.Empty(tb, gateway.Diff(f.have, gateway.State{}))
	f.cancel()
	_ = f.end()

	fresh := follow(tb, o, id, at, gateway.Config{})
	u := fresh.step()
	require.NotNil(tb, u.Interface, "who asks later is not told that it has ended")
	require.True(tb, u.Interface.IsZero())
}

func updatesAreCopies(tb testing.TB, o Origin) {
	id, at := office(o, 3)
	vandal := follow(tb, o, id, at, gateway.Config{})
	u := vandal.next()
	for i := range u.Set {
		for n := range u.Set[i].AllowedIPs {
			u.Set[i].AllowedIPs[n] = Prefixes("0.0.0.0/0")[0]
		}
		u.Set[i] = gateway.Peer{}
	}
	if u.Interface != nil {
		for n := range u.Interface.Addrs {
			u.Interface.Addrs[n] = Prefixes("192.0.2.1/32")[0]
		}
		*u.Interface = gateway.Interface{}
	}
	other := follow(tb, o, o.Enrol(at), at, gateway.Config{})
	other.reach(o.Config(at))
	require.NoError(tb, other.have.Validate())
	require.Len(tb, other.have.Peers, 3)
}

func manyGateways(tb testing.TB, o Origin) {
	_, at := office(o, 1)
	followers := make([]*follower, 8)
	for i := range followers {
		followers[i] = follow(tb, o, o.Enrol(at), at, gateway.Config{})
	}
	for range 20 {
		o.Grow(at)
	}
	want := o.Config(at)
	var wg sync.WaitGroup
	got := make([]gateway.Config, len(followers))
	for i, f := range followers {
		wg.Go(func() { // no require here: only the test's own goroutine may end it
			for u := range f.values {
				next, err := got[i].Apply(u)
				if err != nil || next.Revision.Reached(want.Revision) {
					got[i] = next
					return
				}
				got[i] = next
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	wait(tb, finished, "not all gateways got everything")
	for _, c := range got {
		require.True(tb, c.Canonical().Equal(want.Canonical()))
	}
}
