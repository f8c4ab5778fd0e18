package kvstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/location/locationtest"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/peer/peertest"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/kvstore"
	"github.com/holdfastvpn/holdfast/vpn/kvstore/kvstoretest"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func raw(tb testing.TB, db kvstore.DB, key string) (value string) {
	tb.Helper()
	require.NoError(tb, db.View(tb.Context(), func(tx kvstore.Tx) error {
		b, err := tx.Get(key)
		value = string(b)
		return err
	}))
	return value
}

func setRaw(tb testing.TB, db kvstore.DB, key, value string) {
	tb.Helper()
	require.NoError(tb, db.Update(tb.Context(), func(tx kvstore.Tx) error { return tx.Put(key, []byte(value)) }))
}

func keys(tb testing.TB, db kvstore.DB) (all []string) {
	tb.Helper()
	require.NoError(tb, db.View(tb.Context(), func(tx kvstore.Tx) error {
		for p, err := range tx.Scan("", "\xff") {
			if err != nil {
				return err
			}
			all = append(all, p.Key)
		}
		return nil
	}))
	return all
}

func write(tb testing.TB, s vpn.Stores, d peer.Device) error {
	tb.Helper()
	_, err := s.Devices().Update(tb.Context(), d.ID, func(row *peer.Device) error {
		*row = d.Clone()
		return nil
	})
	return err
}

func drop(tb testing.TB, s vpn.Stores, id peer.DeviceID) {
	tb.Helper()
	_, err := s.Devices().Update(tb.Context(), id, func(row *peer.Device) error {
		*row = peer.Device{}
		return nil
	})
	require.NoError(tb, err)
}

func device(n int, at ...location.ID) peer.Device {
	d := peer.Device{ID: peer.DeviceID(fmt.Sprintf("d%06d", n)), Key: wgkey.Public{byte(n), byte(n >> 8), byte(n >> 16), 1}}
	for _, l := range at {
		d.Peers = append(d.Peers, peer.Peer{Location: l, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})}})
	}
	return d
}

// What is stored is a format: a change of it has to read what is there.
func TestRowsAreStoredUnderStableNames(t *testing.T) {
	db := memstore.NewDB()
	s := kvstore.New(db)
	l := locationtest.Full("loc")
	_, err := s.Locations().Update(t.Context(), "loc", func(row *location.Location) error {
		*row = l
		return nil
	})
	require.NoError(t, err)
	require.JSONEq(t, `{
		"id": "loc", "rev": 1, "name": "head office",
		"networks": ["10.1.0.0/16", "fd01::/64"], "gateway": ["10.1.0.9", "fd01::9"],
		"reserved": ["10.1.255.0/24", "fd01::ff00/120"], "allow_overlap": true,
		"host": "vpn.example.org", "floating": ["198.51.100.9", "2001:db8:f::9"], "port": 65535, "mtu": 9000, "mark": 4294967294, "inner": "routed",
		"inner_floating": ["172.16.60.9", "fd60::9"],
		"destinations": ["10.60.0.0/16", "fd60::/48"], "isolated": true,
		"dns": ["10.1.0.9", "fd01::9"], "search": ["corp.example.org", "example.org"],
		"allowed_ips": ["0.0.0.0/0", "::/0"], "client_keepalive_ns": 65535000000000, "disabled": true,
		"public_key": "//79AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "key": "hf1.0123456789ab.c2VhbGVk"
	}`, raw(t, db, "row/location/loc"))

	require.NoError(t, write(t, s, peertest.Full("dev")))
	var stored map[string]any
	require.NoError(t, json.Unmarshal([]byte(raw(t, db, "row/device/dev")), &stored))
	for _, name := range []string{"id", "name", "owner", "key", "disabled", "standing", "peers"} {
		require.Contains(t, stored, name)
	}
	require.Len(t, stored, 7)

	require.NoError(t, write(t, s, device(1)))
	require.NotContains(t, raw(t, db, "row/device/d000001"), "disabled", "zero fields are not written")
}

func TestRowsOfNewerSoftwareAreNeitherReadNorLost(t *testing.T) {
	db := memstore.NewDB()
	s := kvstore.New(db)
	require.NoError(t, write(t, s, device(1, "l")))
	newer := strings.Replace(raw(t, db, "row/device/d000001"), "{", `{"needs_approval":true,`, 1)
	setRaw(t, db, "row/device/d000001", newer)

	_, err := s.Devices().Get(t.Context(), "d000001")
	require.ErrorContains(t, err, "newer version")
	require.ErrorContains(t, err, "row/device/d000001")
	_, err = s.Feed().View(t.Context(), "l", vpn.Revision{})
	require.ErrorContains(t, err, "newer version")
	_, err = s.Devices().List(t.Context(), peer.Filter{})
	require.ErrorContains(t, err, "newer version")
	require.ErrorContains(t, write(t, s, device(1, "l")), "newer version")
	require.Equal(t, newer, raw(t, db, "row/device/d000001"))
}

func TestDamageIsNamed(t *testing.T) {
	for _, key := range []string{"head", "head/l", "row/device/d000001"} {
		t.Run(key, func(t *testing.T) {
			db := memstore.NewDB()
			s := kvstore.New(db)
			require.NoError(t, write(t, s, device(1, "l")))
			_, err := s.Feed().View(t.Context(), "l", vpn.Revision{})
			require.NoError(t, err)
			setRaw(t, db, key, "rubbish")
			_, err = s.Feed().View(t.Context(), "l", vpn.Revision{})
			require.ErrorContains(t, err, key+" is damaged")
		})
	}
}

func TestTheIDOfARowIsItsKey(t *testing.T) {
	s := memstore.New()
	_, err := s.Devices().Update(t.Context(), "a", func(d *peer.Device) error {
		*d = device(1)
		return nil
	})
	require.ErrorContains(t, err, `the row says that its ID is "d000001"`)
}

func TestReopeningGoesOn(t *testing.T) {
	db := memstore.NewDB()
	require.NoError(t, write(t, kvstore.New(db), device(1, "l")))
	before, err := kvstore.New(db).Feed().View(t.Context(), "l", vpn.Revision{})
	require.NoError(t, err)
	after, err := kvstore.New(db).Feed().View(t.Context(), "l", vpn.Revision{})
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestTheFirstLooksAgreeOnTheEpoch(t *testing.T) {
	db := memstore.NewDB()
	epochs := make(chan uint64, 16)
	var wg sync.WaitGroup
	for range cap(epochs) {
		wg.Go(func() {
			v, err := kvstore.New(db).Feed().View(t.Context(), "l", vpn.Revision{})
			if err != nil {
				t.Error(err)
			}
			epochs <- v.Rev.Epoch
		})
	}
	wg.Wait()
	first := <-epochs
	for range cap(epochs) - 1 {
		require.Equal(t, first, <-epochs)
	}
}

func TestPartsOfKeysDoNotMix(t *testing.T) {
	s := memstore.New()
	ids := []location.ID{"a", "a/b", "a%2Fb", "b/a", "a/", "/"}
	for i, id := range ids {
		require.NoError(t, write(t, s, device(i, id)))
	}
	for i, id := range ids {
		v, err := s.Feed().View(t.Context(), id, vpn.Revision{})
		require.NoError(t, err)
		require.Equal(t, uint64(1), v.Rev.Number)
		require.Len(t, v.Devices, 1)
		require.Equal(t, device(i, id).ID, v.Devices[0].ID)
		here, err := s.Devices().List(t.Context(), peer.Filter{Location: id})
		require.NoError(t, err)
		require.Len(t, here, 1)
	}
}

// Removals that are forgotten are told as everything, and leave nothing behind.
func TestOldRemovalsAreForgotten(t *testing.T) {
	db := memstore.NewDB()
	s := kvstore.New(db)
	s.Keep(3)
	require.NoError(t, write(t, s, device(0, "l")))
	var at []vpn.Revision
	var used int
	for i := range 30 {
		v, err := s.Feed().View(t.Context(), "l", vpn.Revision{})
		require.NoError(t, err)
		at = append(at, v.Rev)
		require.NoError(t, write(t, s, device(i+1, "l")))
		drop(t, s, device(i+1).ID)
		if i == 10 {
			used = len(keys(t, db))
		}
	}
	require.Len(t, keys(t, db), used, "it grows no more")
	for i, after := range at {
		v, err := s.Feed().View(t.Context(), "l", after)
		require.NoError(t, err)
		if removals := 30 - i; removals > 3 {
			require.Equal(t, vpn.Revision{}, v.Since, "after %v", after)
			require.Len(t, v.Devices, 1)
		} else {
			require.Equal(t, after, v.Since)
			require.Len(t, v.Devices, removals)
		}
	}
}

// A row that comes back is no removal any more, however often it leaves.
func TestComingBackTakesTheGraveAway(t *testing.T) {
	db := memstore.NewDB()
	s := kvstore.New(db)
	s.Keep(2)
	require.NoError(t, write(t, s, device(0, "l")))
	first, err := s.Feed().View(t.Context(), "l", vpn.Revision{})
	require.NoError(t, err)
	for range 20 {
		drop(t, s, device(1).ID)
		require.NoError(t, write(t, s, device(1, "l")))
	}
	v, err := s.Feed().View(t.Context(), "l", first.Rev)
	require.NoError(t, err)
	require.Equal(t, first.Rev, v.Since, "nothing had to be forgotten")
	require.Len(t, v.Devices, 1)
	for _, k := range keys(t, db) {
		require.False(t, strings.HasPrefix(k, "grave/"), k)
	}
}

// The one forward look that finds an overlap is compared with looking at
// everything.
//
// proves P10.
func TestClaimsAreUnique(t *testing.T) {
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
		if rapid.Bool().Draw(t, "six") {
			b := [16]byte{0: 0xfd, 15: rapid.Byte().Draw(t, "low")}
			return netip.PrefixFrom(netip.AddrFrom16(b), rapid.IntRange(120, 128).Draw(t, "bits")).Masked()
		}
		b := [4]byte{10, 0, 0, rapid.Byte().Draw(t, "low")}
		return netip.PrefixFrom(netip.AddrFrom4(b), rapid.IntRange(24, 32).Draw(t, "bits")).Masked()
	})
	rapid.Check(t, func(t *rapid.T) {
		s := memstore.New()
		model := map[peer.DeviceID][]peer.Peer{}
		overlap := func(at location.ID, a []netip.Prefix, except peer.DeviceID) bool {
			for id, peers := range model {
				for _, p := range peers {
					for _, x := range p.Routes {
						for _, y := range a {
							if id != except && p.Location == at && x.Overlaps(y) {
								return true
							}
						}
					}
				}
			}
			return false
		}
		for range rapid.IntRange(1, 25).Draw(t, "writes") {
			n := rapid.IntRange(0, 5).Draw(t, "device")
			d := device(n)
			taken := false
			for _, at := range []location.ID{"l", "m"} {
				routes := rapid.SliceOfN(prefix, 0, 3).Draw(t, "routes")
				if len(routes) == 0 {
					continue
				}
				d.Peers = append(d.Peers, peer.Peer{Location: at, Routes: routes})
				taken = taken || overlap(at, routes, d.ID)
			}
			if rapid.IntRange(0, 4).Draw(t, "drop") == 0 {
				_, err := s.Devices().Update(t.Context(), d.ID, func(row *peer.Device) error {
					*row = peer.Device{}
					return nil
				})
				require.NoError(t, err)
				delete(model, d.ID)
				continue
			}
			_, err := s.Devices().Update(t.Context(), d.ID, func(row *peer.Device) error {
				*row = d.Clone()
				return nil
			})
			if taken {
				require.ErrorIs(t, err, peer.ErrAddressTaken)
				require.ErrorContains(t, err, "is held by device/d")
				continue
			}
			require.NoError(t, err)
			model[d.ID] = d.Peers
		}
	})
}

func TestHintsAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		hints := s.Feed().Hints(ctx)
		set := func(key string) {
			require.NoError(t, s.Records().Update(t.Context(), key, func([]byte) ([]byte, error) { return []byte("1"), nil }))
		}
		for range 5 {
			set("a")
		}
		next := func(n int) (got []vpn.Hint) {
			for h := range hints {
				got = append(got, h)
				if len(got) == n {
					return got
				}
			}
			return got
		}
		require.Equal(t, []vpn.Hint{{Record: "a"}}, next(1))
		for i := range kvstore.Pending + 5 {
			set(fmt.Sprint(i))
		}
		require.Equal(t, []vpn.Hint{{}}, next(1), "too many become one: anywhere")
		set("z")
		require.Equal(t, []vpn.Hint{{Record: "z"}}, next(1))
		time.AfterFunc(time.Minute, cancel)
		require.Empty(t, next(1), "there is nothing else")
	})
}

// badDB fails where it is told to.
type badDB struct {
	kvstore.DB

	fail error
}

func (db *badDB) View(ctx context.Context, do func(kvstore.Tx) error) error {
	return errors.Join(db.fail, db.DB.View(ctx, do))
}

func (db *badDB) Update(ctx context.Context, do func(kvstore.Tx) error) error {
	return errors.Join(db.fail, db.DB.Update(ctx, do))
}

func TestErrorsSayWhatWasBeingDone(t *testing.T) {
	broken := errors.New("disk full")
	db := &badDB{DB: memstore.NewDB()}
	s := kvstore.New(db)
	db.fail = broken
	ctx := t.Context()
	_, err := s.Locations().Get(ctx, "l")
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, `kvstore: get location "l": `)
	_, err = s.Locations().List(ctx)
	require.ErrorIs(t, err, broken)
	_, err = s.Devices().Find(ctx, wgkey.Public{1})
	require.ErrorIs(t, err, broken)
	_, err = s.Devices().List(ctx, peer.Filter{Location: "l"})
	require.ErrorIs(t, err, broken)
	require.ErrorIs(t, write(t, s, device(1)), broken)
	require.ErrorContains(t, write(t, s, device(1)), `kvstore: update device "d000001": `)
	_, err = s.Records().Get(ctx, "r")
	require.ErrorIs(t, err, broken)
	_, err = s.Records().List(ctx, "r", "", 0)
	require.ErrorIs(t, err, broken)
	require.ErrorIs(t, s.Records().Update(ctx, "r", func([]byte) ([]byte, error) { return nil, nil }), broken)
	_, err = s.Feed().Heads(ctx)
	require.ErrorIs(t, err, broken)
	_, err = s.Feed().View(ctx, "l", vpn.Revision{})
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, `kvstore: view location "l": `)
}

func filled(b *testing.B, n int) *memstore.Stores {
	b.Helper()
	s := memstore.New()
	for i := range n {
		require.NoError(b, write(b, s, device(i, "l")))
	}
	return s
}

func BenchmarkAddDevice(b *testing.B) {
	for _, size := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := filled(b, size)
			b.ReportAllocs()
			for i := size; b.Loop(); i++ {
				if err := write(b, s, device(i, "l")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkView(b *testing.B) {
	for _, size := range []int{1_000, 100_000} {
		s := filled(b, size)
		v, err := s.Feed().View(b.Context(), "l", vpn.Revision{})
		require.NoError(b, err)
		b.Run(fmt.Sprintf("whole/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = s.Feed().View(b.Context(), "l", vpn.Revision{})
			}
		})
		after := v.Rev
		after.Number--
		b.Run(fmt.Sprintf("one/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = s.Feed().View(b.Context(), "l", after)
			}
		})
		b.Run(fmt.Sprintf("heads/%d", size), func(b *testing.B) {
			for b.Loop() {
				_, _ = s.Feed().Heads(b.Context())
			}
		})
		b.Run(fmt.Sprintf("find/%d", size), func(b *testing.B) {
			for b.Loop() {
				_, _ = s.Devices().Find(b.Context(), device(rand.IntN(size)).Key)
			}
		})
	}
}

func TestTheExampleIsFit(t *testing.T) {
	kvstoretest.RunDB(t, func(testing.TB) kvstore.DB { return &tinyDB{data: map[string][]byte{}} })
}
