package vpntest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
)

func raises(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	l := putLocation(tb, s, "l", 1)
	require.Equal(tb, uint64(1), l.Rev, "the first write")
	for n := uint64(2); n < 8; n += 2 {
		l = putLocation(tb, s, "l", 1)
		require.Equal(tb, n, l.Rev)
		d := putDevice(tb, s, "d", device("d", 1, "l"))
		require.Equal(tb, n+1, d.Peers[0].Rev)
		require.Equal(tb, n+1, number(tb, s, "l"))
	}
	got, err := s.Locations().Get(tb.Context(), "l")
	require.NoError(tb, err)
	require.Equal(tb, uint64(6), got.Rev, "the row has the number of its own last write")
	d, err := s.Devices().Get(tb.Context(), "d")
	require.NoError(tb, err)
	require.Equal(tb, uint64(7), d.Peers[0].Rev)
	v := view(tb, s, "l", vpn.Revision{})
	require.Equal(tb, uint64(6), v.Location.Rev)
	require.Equal(tb, uint64(7), v.Devices[0].Peers[0].Rev)

	dropDevice(tb, s, "d")
	require.Equal(tb, uint64(8), number(tb, s, "l"), "a removal is a write")
	dropLocation(tb, s, "l")
	require.Equal(tb, uint64(9), number(tb, s, "l"), "a removal is a write")
	_, err = s.Locations().Update(tb.Context(), "m", func(l *location.Location) error {
		*l = location.Location{ID: "m", Rev: 77}
		return nil
	})
	require.NoError(tb, err)
	require.Equal(tb, uint64(1), number(tb, s, "m"), "what edit says of Rev does not count")
}

func raisesEach(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	putLocation(tb, s, "a", 1)
	putLocation(tb, s, "b", 2)
	putLocation(tb, s, "b", 2)
	putLocation(tb, s, "c", 3)
	d := putDevice(tb, s, "d", device("d", 1, "a", "b"))
	require.Equal(tb, uint64(2), d.Peers[0].Rev)
	require.Equal(tb, uint64(3), d.Peers[1].Rev)
	require.Equal(tb, uint64(1), number(tb, s, "c"), "nobody wrote there")
	d = putDevice(tb, s, "d", device("d", 1, "b", "c"))
	require.Equal(tb, uint64(4), d.Peers[0].Rev)
	require.Equal(tb, uint64(2), d.Peers[1].Rev)
	require.Equal(tb, uint64(3), number(tb, s, "a"), "leaving a location touches it")
	dropDevice(tb, s, "d")
	require.Equal(tb, uint64(3), number(tb, s, "a"), "it had left before")
	require.Equal(tb, uint64(5), number(tb, s, "b"))
	require.Equal(tb, uint64(3), number(tb, s, "c"))
}

func raisesNothing(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	ctx := tb.Context()
	putLocation(tb, s, "l", 1)
	putDevice(tb, s, "d", device("d", 1, "l"))
	at := view(tb, s, "l", vpn.Revision{}).Rev

	_, err := s.Devices().Update(ctx, "d", func(d *peer.Device) error {
		d.Name = "other"
		return errors.New("no")
	})
	require.Error(tb, err)
	_, err = s.Devices().Update(ctx, "e", func(d *peer.Device) error {
		*d = device("e", 1, "l")
		return nil
	})
	require.ErrorIs(tb, err, peer.ErrKeyTaken)
	e := device("e", 1, "l")
	e.Key[9] = 9
	_, err = s.Devices().Update(ctx, "e", func(d *peer.Device) error {
		*d = e
		return nil
	})
	require.ErrorIs(tb, err, peer.ErrAddressTaken)
	_, err = s.Locations().Update(ctx, "m", func(l *location.Location) error {
		*l = location.Location{ID: "m", Name: "name of l"}
		return nil
	})
	require.ErrorIs(tb, err, location.ErrExists)
	dropDevice(tb, s, "e")
	dropLocation(tb, s, "m")
	record(tb, s, "r", "1")

	require.Equal(tb, at, view(tb, s, "l", vpn.Revision{}).Rev)
	v := view(tb, s, "l", at)
	require.Nil(tb, v.Location)
	require.Empty(tb, v.Devices)
	heads, err := s.Feed().Heads(ctx)
	require.NoError(tb, err)
	require.Zero(tb, heads["m"].Number)
}

func outlives(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	putLocation(tb, s, "l", 1)
	putLocation(tb, s, "l", 1)
	dropLocation(tb, s, "l")
	l := putLocation(tb, s, "l", 1)
	require.Equal(tb, uint64(4), l.Rev)
	dropLocation(tb, s, "l")
	heads, err := s.Feed().Heads(tb.Context())
	require.NoError(tb, err)
	require.Equal(tb, uint64(5), heads["l"].Number, "the head of a location that was")
}

func neverWas(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	putLocation(tb, s, "l", 1)
	epoch := view(tb, s, "l", vpn.Revision{}).Rev.Epoch
	require.NotZero(tb, epoch)
	want := vpn.View{ID: "never", Rev: vpn.Revision{Epoch: epoch}}
	require.Empty(tb, differ(want, view(tb, s, "never", vpn.Revision{})))
	require.Empty(tb, differ(want, view(tb, s, "never", vpn.Revision{Epoch: epoch, Number: 7})))
	heads, err := s.Feed().Heads(tb.Context())
	require.NoError(tb, err)
	require.NotContains(tb, heads, location.ID("never"), "looking is not writing")
}

func wholeView(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	l := putLocation(tb, s, "l", 1)
	putLocation(tb, s, "other", 2)
	var want []peer.Device
	for i, id := range []peer.DeviceID{"c", "a", "b/1", "b", "b%2F"} {
		want = append(want, putDevice(tb, s, id, device(id, byte(i), "l")))
	}
	both := putDevice(tb, s, "d", device("d", 50, "l", "other"))
	putDevice(tb, s, "e", device("e", 51, "other"))
	putDevice(tb, s, "f", device("f", 52))
	putDevice(tb, s, "g", device("g", 53, "l"))
	dropDevice(tb, s, "g")
	v := view(tb, s, "l", vpn.Revision{})
	require.Equal(tb, vpn.Revision{}, v.Since)
	require.Equal(tb, []string{"a", "b", "b%2F", "b/1", "c", "d"}, ids(v), "in ID order, without those that left")
	require.Empty(tb, differ(vpn.View{
		ID: "l", Rev: vpn.Revision{Epoch: v.Rev.Epoch, Number: 9}, Location: &l,
		Devices: []peer.Device{want[1], want[3], want[4], want[2], want[0], both},
	}, v))
	v.Location.Networks[0], v.Devices[0].Peers[0].Addrs[0] = v.Location.Networks[0].Masked(), v.Devices[1].Peers[0].Addrs[0]
	require.Equal(tb, want[1].Peers[0].Addrs, view(tb, s, "l", vpn.Revision{}).Devices[0].Peers[0].Addrs, "views are copies")
	dropLocation(tb, s, "l")
	v = view(tb, s, "l", vpn.Revision{})
	require.Nil(tb, v.Location, "it is not there")
	require.Len(tb, v.Devices, 6, "devices keep their places")
}

func toldWhole(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	putLocation(tb, s, "l", 1)
	putDevice(tb, s, "d", device("d", 1, "l"))
	whole := view(tb, s, "l", vpn.Revision{})
	for what, after := range map[string]vpn.Revision{
		"another epoch":             {Epoch: whole.Rev.Epoch + 1, Number: 1},
		"another epoch, same place": {Epoch: whole.Rev.Epoch + 1, Number: whole.Rev.Number},
		"the future":                {Epoch: whole.Rev.Epoch, Number: whole.Rev.Number + 1},
		"the far future":            {Epoch: whole.Rev.Epoch, Number: 1 << 62},
	} {
		require.Empty(tb, differ(whole, view(tb, s, "l", after)), what)
	}
}

func laterView(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	putLocation(tb, s, "l", 1)
	putDevice(tb, s, "a", device("a", 1, "l"))
	putDevice(tb, s, "b", device("b", 2, "l"))
	before := view(tb, s, "l", vpn.Revision{}).Rev
	same := view(tb, s, "l", before)
	require.Empty(tb, differ(vpn.View{ID: "l", Since: before, Rev: before}, same), "nothing changed")

	c := putDevice(tb, s, "c", device("c", 3, "l"))
	a := putDevice(tb, s, "a", device("a", 4, "l"))
	a = putDevice(tb, s, "a", a)
	now := vpn.Revision{Epoch: before.Epoch, Number: before.Number + 3}
	require.Empty(tb, differ(vpn.View{ID: "l", Since: before, Rev: now, Devices: []peer.Device{a, c}}, view(tb, s, "l", before)),
		"what changed, as it is now, in ID order")
	l := putLocation(tb, s, "l", 1)
	last := vpn.Revision{Epoch: before.Epoch, Number: before.Number + 4}
	require.Empty(tb, differ(vpn.View{ID: "l", Since: now, Rev: last, Location: &l}, view(tb, s, "l", now)))

	first := vpn.Revision{Epoch: before.Epoch, Number: 0}
	v := view(tb, s, "l", first)
	require.Len(tb, v.Devices, 3, "from the very beginning")
	require.NotNil(tb, v.Location)
}

func removals(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	putLocation(tb, s, "l", 1)
	putLocation(tb, s, "m", 2)
	for i, id := range []peer.DeviceID{"gone", "moved", "back", "stays"} {
		putDevice(tb, s, id, device(id, byte(i), "l"))
	}
	at := view(tb, s, "l", vpn.Revision{}).Rev
	dropDevice(tb, s, "gone")
	moved := putDevice(tb, s, "moved", device("moved", 1, "m"))
	dropDevice(tb, s, "back")
	mid := view(tb, s, "l", at)
	if mid.Since == at { // a backend may have forgotten, and tell everything
		require.Empty(tb, differ([]peer.Device{{ID: "back"}, {ID: "gone"}, moved}, mid.Devices))
	}
	back := putDevice(tb, s, "back", device("back", 9, "l"))
	if v := view(tb, s, "l", at); v.Since == at {
		require.Empty(tb, differ([]peer.Device{back, {ID: "gone"}, moved}, v.Devices))
	}
	if v := view(tb, s, "l", mid.Rev); v.Since == mid.Rev {
		require.Empty(tb, differ([]peer.Device{back}, v.Devices))
	}
	require.Equal(tb, []string{"back", "stays"}, ids(view(tb, s, "l", vpn.Revision{})))

	at = view(tb, s, "l", vpn.Revision{}).Rev
	dropLocation(tb, s, "l")
	if v := view(tb, s, "l", at); v.Since == at {
		require.Empty(tb, differ(&location.Location{}, v.Location), "a zero one is gone")
		require.Empty(tb, v.Devices)
	}
}

func headsAgree(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	heads, err := s.Feed().Heads(tb.Context())
	require.NoError(tb, err)
	require.Empty(tb, heads)
	for i := range 5 {
		id := location.ID(fmt.Sprint("l/", i))
		putLocation(tb, s, id, byte(i))
		for j := range i {
			putDevice(tb, s, peer.DeviceID(fmt.Sprint("d", j)), device(peer.DeviceID(fmt.Sprint("d", j)), byte(j), id))
		}
	}
	dropLocation(tb, s, "l/3")
	heads, err = s.Feed().Heads(tb.Context())
	require.NoError(tb, err)
	require.Len(tb, heads, 5)
	for id, head := range heads {
		require.Equal(tb, view(tb, s, id, vpn.Revision{}).Rev, head, "location %s", id)
	}
}

func twoHistories(tb testing.TB, a, b vpn.Stores) {
	tb.Helper()
	putLocation(tb, a, "l", 1)
	putLocation(tb, b, "l", 1)
	one, other := view(tb, a, "l", vpn.Revision{}).Rev, view(tb, b, "l", vpn.Revision{}).Rev
	require.NotEqual(tb, one.Epoch, other.Epoch, "epochs are random")
	require.Equal(tb, one, view(tb, a, "l", vpn.Revision{}).Rev, "and stay")
}

func seenAtOnce(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	const rounds = 50
	var last vpn.Revision
	for i := range rounds {
		d := putDevice(tb, s, "d", device("d", byte(i), "l"))
		v := view(tb, s, "l", last)
		require.Empty(tb, differ([]peer.Device{d}, v.Devices))
		last = v.Rev
		heads, err := s.Feed().Heads(tb.Context())
		require.NoError(tb, err)
		require.Equal(tb, last, heads["l"])
	}
}

func cancelled(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	putLocation(tb, s, "l", 1)
	record(tb, s, "r", "1")
	ctx, cancel := context.WithCancel(tb.Context())
	cancel()
	_, err := s.Feed().Heads(ctx)
	require.ErrorIs(tb, err, context.Canceled)
	_, err = s.Feed().View(ctx, "l", vpn.Revision{})
	require.ErrorIs(tb, err, context.Canceled)
	_, err = s.Records().Get(ctx, "r")
	require.ErrorIs(tb, err, context.Canceled)
	_, err = s.Records().List(ctx, "", "", 0)
	require.ErrorIs(tb, err, context.Canceled)
	err = s.Records().Update(ctx, "r", func([]byte) ([]byte, error) { return []byte("2"), nil })
	require.ErrorIs(tb, err, context.Canceled)
	got, err := s.Records().Get(tb.Context(), "r")
	require.NoError(tb, err)
	require.Equal(tb, "1", string(got))
}
