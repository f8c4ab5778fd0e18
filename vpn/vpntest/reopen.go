package vpntest

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Reopener opens the backend that is kept at place, a directory of the test's
// own (or a name, where nothing is kept in directories); a place that is new to
// it is an empty backend. done ends its use, so that place can be opened again.
type Reopener func(tb testing.TB, place string) (s vpn.Stores, done func())

// RunReopen checks that a backend keeps, from one use to the next, what it has
// acknowledged: it is for backends that outlive their process.
//
//	func TestReopen(t *testing.T) {
//		vpntest.RunReopen(t, func(tb testing.TB, place string) (vpn.Stores, func()) {
//			s := open(tb, filepath.Join(place, "file"))
//			return s, func() { require.NoError(tb, s.Close()) }
//		})
//	}
func RunReopen(t *testing.T, open Reopener) {
	t.Helper()
	for name, test := range ReopenCases(open) {
		t.Run(name, func(t *testing.T) { test(t) })
	}
}

// ReopenCases yields what RunReopen runs, by name: for suites that try broken
// backends.
func ReopenCases(open Reopener) iter.Seq2[string, func(testing.TB)] {
	return func(yield func(string, func(testing.TB)) bool) {
		for _, c := range []struct {
			name string
			test func(testing.TB, *uses)
		}{
			{"rows and records stay", stay},
			{"the last write stays", lastStays},
			{"what was deleted stays away", staysAway},
			{"what failed has left nothing", leftNothing},
			{"numbers go on in the same epoch", goOn},
			{"a reader goes on where it was", readerGoesOn},
			{"claims still hold", claimsHold},
			{"two places are two backends", twoPlaces},
		} {
			if !yield(c.name, func(tb testing.TB) {
				tb.Helper()
				c.test(tb, &uses{tb: tb, open: open, place: tb.TempDir()})
			}) {
				return
			}
		}
	}
}

// uses opens a place again and again.
type uses struct {
	tb    testing.TB
	open  Reopener
	place string
}

// use opens the place for the time of do.
func (u *uses) use(do func(vpn.Stores)) {
	u.tb.Helper()
	s, done := u.open(u.tb, u.place)
	defer done()
	do(s)
}

// picture is all that can be seen of a backend.
type picture struct {
	Locations []location.Location
	Devices   []peer.Device
	Records   []vpn.Record
	Heads     map[location.ID]vpn.Revision
	Views     map[location.ID]vpn.View
}

func look(tb testing.TB, s vpn.Stores) (p picture) {
	tb.Helper()
	var err error
	p.Locations, err = s.Locations().List(tb.Context())
	require.NoError(tb, err)
	p.Devices, err = s.Devices().List(tb.Context(), peer.Filter{})
	require.NoError(tb, err)
	p.Records, err = s.Records().List(tb.Context(), "", "", 0)
	require.NoError(tb, err)
	p.Heads, err = s.Feed().Heads(tb.Context())
	require.NoError(tb, err)
	p.Views = map[location.ID]vpn.View{}
	for id := range p.Heads {
		p.Views[id] = view(tb, s, id, vpn.Revision{})
	}
	return p
}

// stay writes in each use, and compares at the beginning of the next.
func stay(tb testing.TB, u *uses) {
	tb.Helper()
	var had picture
	for round := range 4 {
		u.use(func(s vpn.Stores) {
			if round > 0 {
				require.Empty(tb, differ(had, look(tb, s)), "at opening %d", round+1)
			}
			at := location.ID(fmt.Sprintf("l/%d", round))
			putLocation(tb, s, at, byte(round))
			for i := range 5 {
				id := peer.DeviceID(fmt.Sprintf("d%d/%d", round, i))
				putDevice(tb, s, id, device(id, byte(round*5+i), at, "l/0"))
			}
			record(tb, s, "each", fmt.Sprint(round))
			record(tb, s, fmt.Sprintf("r/%d", round), "")
			had = look(tb, s)
		})
	}
	require.Len(tb, had.Devices, 20)
}

func lastStays(tb testing.TB, u *uses) {
	tb.Helper()
	const rounds = 5
	for round := range rounds {
		u.use(func(s vpn.Stores) { record(tb, s, "r", fmt.Sprint(round)) })
		u.use(func(s vpn.Stores) {
			got, err := s.Records().Get(tb.Context(), "r")
			require.NoError(tb, err)
			require.Equal(tb, fmt.Sprint(round), string(got))
		})
	}
}

func staysAway(tb testing.TB, u *uses) {
	tb.Helper()
	u.use(func(s vpn.Stores) {
		putLocation(tb, s, "l", 1)
		putLocation(tb, s, "gone", 2)
		putDevice(tb, s, "gone", device("gone", 1, "l"))
		putDevice(tb, s, "moved", device("moved", 2, "l"))
		record(tb, s, "gone", "1")
	})
	u.use(func(s vpn.Stores) {
		dropLocation(tb, s, "gone")
		dropDevice(tb, s, "gone")
		putDevice(tb, s, "moved", device("moved", 2))
		require.NoError(tb, s.Records().Update(tb.Context(), "gone", func([]byte) ([]byte, error) { return nil, nil }))
	})
	u.use(func(s vpn.Stores) {
		_, err := s.Locations().Get(tb.Context(), "gone")
		require.ErrorIs(tb, err, location.ErrNotFound)
		_, err = s.Devices().Get(tb.Context(), "gone")
		require.ErrorIs(tb, err, peer.ErrNotFound)
		_, err = s.Records().Get(tb.Context(), "gone")
		require.ErrorIs(tb, err, vpn.ErrNotFound)
		require.Empty(tb, ids(view(tb, s, "l", vpn.Revision{})))
		_, err = s.Devices().Get(tb.Context(), "moved")
		require.NoError(tb, err, "it has only left the location")
	})
}

func leftNothing(tb testing.TB, u *uses) {
	tb.Helper()
	var had picture
	u.use(func(s vpn.Stores) {
		putLocation(tb, s, "l", 1)
		putDevice(tb, s, "d", device("d", 1, "l"))
		had = look(tb, s)
		wrong := errors.New("wrong")
		_, err := s.Locations().Update(tb.Context(), "l", func(l *location.Location) error {
			l.Name = "other"
			return wrong
		})
		require.ErrorIs(tb, err, wrong)
		other := device("e", 9, "l")
		other.Peers[0].Addrs = append(other.Peers[0].Addrs, device("d", 1, "l").Peers[0].Addrs...)
		_, err = s.Devices().Update(tb.Context(), "e", func(d *peer.Device) error {
			*d = other
			return nil
		})
		require.ErrorIs(tb, err, peer.ErrAddressTaken)
		err = s.Records().Update(tb.Context(), "r", func([]byte) ([]byte, error) { return []byte("1"), wrong })
		require.ErrorIs(tb, err, wrong)
	})
	u.use(func(s vpn.Stores) { require.Empty(tb, differ(had, look(tb, s))) })
}

func goOn(tb testing.TB, u *uses) {
	tb.Helper()
	var last vpn.Revision
	for round := range 4 {
		u.use(func(s vpn.Stores) {
			now := view(tb, s, "l", vpn.Revision{}).Rev
			if round > 0 {
				require.Equal(tb, last, now, "as it was left")
			}
			l := putLocation(tb, s, "l", 1)
			require.Equal(tb, now.Number+1, l.Rev)
			dropLocation(tb, s, "l") // the number outlives it
			last = vpn.Revision{Epoch: now.Epoch, Number: now.Number + 2}
			heads, err := s.Feed().Heads(tb.Context())
			require.NoError(tb, err)
			require.Equal(tb, last, heads["l"])
		})
	}
}

func readerGoesOn(tb testing.TB, u *uses) {
	tb.Helper()
	var at vpn.Revision
	var changed peer.Device
	u.use(func(s vpn.Stores) {
		putLocation(tb, s, "l", 1)
		for i, id := range []peer.DeviceID{"changes", "goes", "goes later", "stays"} {
			putDevice(tb, s, id, device(id, byte(i), "l"))
		}
		at = view(tb, s, "l", vpn.Revision{}).Rev
		changed = putDevice(tb, s, "changes", device("changes", 9, "l"))
		dropDevice(tb, s, "goes")
	})
	told := func(s vpn.Stores, whole []string, want ...peer.Device) {
		v := view(tb, s, "l", at)
		if v.Since == at {
			require.Empty(tb, differ(want, v.Devices))
		} else { // a backend may have forgotten, and tell everything
			require.Zero(tb, v.Since)
			require.Equal(tb, whole, ids(v))
		}
		v = view(tb, s, "l", v.Rev)
		require.Empty(tb, differ(vpn.View{ID: "l", Since: v.Rev, Rev: v.Rev}, v), "who is up to date is told nothing")
	}
	u.use(func(s vpn.Stores) {
		told(s, []string{"changes", "goes later", "stays"}, changed, peer.Device{ID: "goes"})
		dropDevice(tb, s, "goes later")
	})
	u.use(func(s vpn.Stores) {
		told(s, []string{"changes", "stays"}, changed, peer.Device{ID: "goes"}, peer.Device{ID: "goes later"})
	})
}

func claimsHold(tb testing.TB, u *uses) {
	tb.Helper()
	u.use(func(s vpn.Stores) {
		putLocation(tb, s, "l", 1)
		d := device("d", 1, "l")
		d.Peers[0].Routes = []netip.Prefix{netip.MustParsePrefix("172.16.0.0/16")}
		putDevice(tb, s, "d", d)
		putDevice(tb, s, "gone", device("gone", 2, "l"))
		dropDevice(tb, s, "gone")
	})
	u.use(func(s vpn.Stores) {
		taken := func(want error, id peer.DeviceID, change func(*peer.Device)) {
			_, err := s.Devices().Update(tb.Context(), id, func(d *peer.Device) error {
				*d = device(id, 3, "l")
				change(d)
				return nil
			})
			require.ErrorIs(tb, err, want)
		}
		taken(peer.ErrKeyTaken, "e", func(d *peer.Device) { d.Key = wgkey.Public{1, 1} })
		taken(peer.ErrAddressTaken, "e", func(d *peer.Device) { d.Peers[0].Addrs = device("d", 1, "l").Peers[0].Addrs })
		taken(peer.ErrAddressTaken, "e", func(d *peer.Device) {
			d.Peers[0].Routes = []netip.Prefix{netip.MustParsePrefix("172.16.9.0/24")}
		})
		_, err := s.Locations().Update(tb.Context(), "m", func(l *location.Location) error {
			*l = location.Location{ID: "m", Name: "name of l"}
			return nil
		})
		require.ErrorIs(tb, err, location.ErrExists)
		found, err := s.Devices().Find(tb.Context(), wgkey.Public{1, 1})
		require.NoError(tb, err)
		require.Equal(tb, peer.DeviceID("d"), found.ID)
		putDevice(tb, s, "heir", device("heir", 2, "l")) // of what is free again
	})
}

func twoPlaces(tb testing.TB, u *uses) {
	tb.Helper()
	other := &uses{tb: tb, open: u.open, place: filepath.Join(u.place, "other")}
	require.NoError(tb, os.Mkdir(other.place, 0o700))
	var epoch uint64
	u.use(func(s vpn.Stores) {
		putLocation(tb, s, "l", 1)
		epoch = view(tb, s, "l", vpn.Revision{}).Rev.Epoch
	})
	other.use(func(s vpn.Stores) {
		_, err := s.Locations().Get(tb.Context(), "l")
		require.ErrorIs(tb, err, location.ErrNotFound)
		require.NotEqual(tb, epoch, view(tb, s, "l", vpn.Revision{}).Rev.Epoch)
	})
}
