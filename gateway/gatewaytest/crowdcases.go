package gatewaytest

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// many is more rows than fit in one message of any size that makes sense.
const many = 12_000

func crowdCrosses(tb testing.TB, link Link) {
	all := Config(many)
	for i := range all.Peers {
		all.Peers[i].Preshared = PresharedKey(i)
	}
	all.Revision.Number = 7
	other := gateway.Config{Revision: gateway.Revision{Epoch: 0xa1, Number: 8}, Interface: all.Interface}
	for i := range many {
		p := Peer(many + i)
		other.Peers = append(other.Peers, p)
	}
	other = other.Canonical()
	updates := []gateway.Update{all.Since(gateway.Config{}), other.Since(all), {From: other.Revision, To: all.Revision, Remove: keys(other.Peers)}}
	f := follow(tb, link(tb, &stub{updates: updates}), "gw", "office", gateway.Config{})
	for _, want := range updates {
		got := f.next()
		require.Equal(tb, want.From, got.From)
		require.Equal(tb, want.To, got.To)
		require.Len(tb, got.Remove, len(want.Remove))
		require.Len(tb, got.Set, len(want.Set))
		require.True(tb, slices.Equal(want.Remove, got.Remove), "other peers are removed, or in another order")
		require.True(tb, slices.EqualFunc(want.Set, got.Set, gateway.Peer.Equal), "other peers are set, or in another order")
		require.Equal(tb, want.Interface == nil, got.Interface == nil)
	}
}

func crowdReports(tb testing.TB, link Link) {
	began := time.Now()
	want := gateway.Status{Epoch: 9, Full: true, Ready: true, Drifts: 3}
	for i := range many {
		at := began.Add(-time.Duration(i) * time.Second).Round(0)
		key := wgkey.Public(digest("public", i))
		want.Seen = append(want.Seen, gateway.Sighting{Key: key, By: "gw", Heard: at, Rx: uint64(i)})
		want.Failed = append(want.Failed, gateway.Problem{Key: key, What: "it is peer " + strconv.Itoa(i), At: at})
	}
	var got []gateway.Status
	s := &stub{report: func(_ gateway.ID, _ gateway.LocationID, s gateway.Status) { got = append(got, s) }}
	require.NoError(tb, link(tb, s).Report(tb.Context(), "gw", "office", want))
	require.Len(tb, got, 1, "it came as several reports")
	require.Len(tb, got[0].Seen, many)
	require.Len(tb, got[0].Failed, many)
	near := func(a, b time.Time) bool { return a.Sub(b).Abs() <= soon }
	require.True(tb, slices.EqualFunc(want.Seen, got[0].Seen, func(a, b gateway.Sighting) bool {
		return a.Key == b.Key && a.By == b.By && a.Rx == b.Rx && near(a.Heard, b.Heard)
	}), "other sightings, or in another order")
	require.True(tb, slices.EqualFunc(want.Failed, got[0].Failed, func(a, b gateway.Problem) bool {
		return a.Key == b.Key && a.What == b.What && near(a.At, b.At)
	}), "other problems, or in another order")
	require.Equal(tb, want.Drifts, got[0].Drifts)
}

func crowdAssigned(tb testing.TB, link Link) {
	const locations, siblings = 40, 1600
	list := make([]gateway.Assignment, locations)
	for i := range list {
		list[i].Location = gateway.LocationID(fmt.Sprintf("location %04d", i))
		for k := range siblings * (i % 2) { // one in two has none
			s := gateway.Sibling{ID: gateway.ID(fmt.Sprintf("gateway %04d of %04d", k, i)), Addr: "gateway.example.org:7946"}
			list[i].Siblings = append(list[i].Siblings, s)
		}
	}
	said := [][]gateway.Assignment{list, list[:1], list[1:]}
	r := assigned(tb, link(tb, &stub{at: said}), "gw")
	for n, want := range said {
		got := r.next()
		require.Len(tb, got, len(want))
		require.True(tb, same(want, got), "list %d has other siblings, or in another order", n)
	}
}

func staleAndBack(tb testing.TB, link Link) {
	plane := NewPlane()
	plane.Assign("gw", "office")
	plane.Put("office", Config(2))
	far := link(tb, plane)
	f := follow(tb, far, "gw", "office", gateway.Config{})
	f.step()
	plane.Fail(gateway.ErrStale)
	require.ErrorIs(tb, f.end(), gateway.ErrStale)
	refused(tb, far, "gw", "office", gateway.ErrStale)
	plane.Fail(nil)
	plane.RemovePeer("office", Peer(1).Key)
	again := follow(tb, far, "gw", "office", f.have)
	u := again.step()
	require.Equal(tb, f.have.Revision, u.From, "it got everything again")
	require.Equal(tb, []wgkey.Public{Peer(1).Key}, u.Remove)
	require.NoError(tb, far.Report(tb.Context(), "gw", "office", gateway.Status{Epoch: 1, Full: true}))
}

func anotherHistory(tb testing.TB, link Link) {
	plane := NewPlane()
	plane.Assign("gw", "office")
	plane.Put("office", Config(2))
	plane.SetPeer("office", Peer(3))
	f := follow(tb, link(tb, plane), "gw", "office", gateway.Config{})
	before := f.step().To
	now := plane.Forget("office")
	u := f.step()
	require.NotEqual(tb, before.Epoch, u.To.Epoch, "the new history is not told")
	require.True(tb, u.From.IsZero(), "revisions of two histories have no difference")
	require.Equal(tb, now, u.To)
	plane.RemovePeer("office", Peer(2).Key)
	f.reach(plane.Config("office"))
	require.Len(tb, f.have.Peers, 2)
}
