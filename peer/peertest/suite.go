package peertest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// RunStore checks a peer.Store against its contract. open returns an empty
// store; what has to be closed, it gives to Cleanup. Each case opens its own.
//
// Rev is not looked at: it is the promise of a whole backend (see vpn.Stores and
// its suite).
func RunStore(t *testing.T, open func(testing.TB) peer.Store) {
	t.Helper()
	for name, test := range Cases(open) {
		t.Run(name, func(t *testing.T) { test(t) })
	}
}

// Cases yields what RunStore runs, by name: for suites that try broken stores.
func Cases(open func(testing.TB) peer.Store) iter.Seq2[string, func(testing.TB)] {
	return func(yield func(string, func(testing.TB)) bool) {
		for _, c := range []struct {
			name string
			test func(testing.TB, peer.Store)
		}{
			{"what is saved comes back", comesBack},
			{"every field comes back", everyField},
			{"absent is ErrNotFound", absent},
			{"find goes by key", finds},
			{"list is sorted", sorted},
			{"filters select", filters},
			{"pages follow one another", pages},
			{"update gets the row as last written", getsRow},
			{"update keeps the error of edit", keepsError},
			{"a row left zero is deleted", deletes},
			{"returned values are copies", returnsCopies},
			{"what edit puts in is copied", takesCopies},
			{"a key has one device", keys},
			{"an address has one peer of its location", addresses},
			{"routes do not overlap", routes},
			{"claims are freed by a change and by delete", freesClaims},
			{"a row may shift its own claims", shiftsClaims},
			{"a refused claim changes nothing", refusalChangesNothing},
			{"parallel updates lose nothing", parallelUpdates},
			{"parallel claims have one winner", parallelClaims},
			{"many rows", manyRows},
			{"odd texts", oddTexts},
			{"cancelled context", cancelled},
		} {
			if !yield(c.name, func(tb testing.TB) {
				tb.Helper()
				c.test(tb, open(tb))
			}) {
				return
			}
		}
	}
}

// device makes a device that a Service could have saved. Its key depends on the
// ID. at has places: a location, a colon, and its addresses and routes, in order.
func device(id peer.DeviceID, at ...string) peer.Device {
	d := peer.Device{ID: id, Name: "name of " + string(id), Key: key(string(id))}
	for _, s := range at {
		where, what, _ := strings.Cut(s, ":")
		p := peer.Peer{Location: location.ID(where)}
		for f := range strings.FieldsSeq(what) {
			if strings.Contains(f, "/") {
				p.Routes = append(p.Routes, netip.MustParsePrefix(f))
			} else {
				p.Addrs = append(p.Addrs, netip.MustParseAddr(f))
			}
		}
		d.Peers = append(d.Peers, p)
	}
	return d
}

func key(seed string) (k wgkey.Public) {
	copy(k[:], seed)
	k[wgkey.Size-1] = 1
	return k
}

// Full returns a device with something in every field. It passes Validate.
func Full(id peer.DeviceID) peer.Device {
	d := device(id, "far:10.1.0.2 fd01::2 192.168.7.0/24 fd77::/64", "near:10.2.0.2 10.2.0.3 192.168.8.0/24")
	d.Name, d.Owner, d.Disabled = "laptop", "alice@example.org", true
	d.Standing = peer.Standing{Disabled: true, Groups: []string{"staff", "admins"}}
	for i := range d.Peers {
		d.Peers[i].Rev, d.Peers[i].Disabled = 1, true
	}
	return d
}

func put(tb testing.TB, s peer.Store, d peer.Device) (peer.Device, error) {
	tb.Helper()
	return s.Update(tb.Context(), d.ID, func(row *peer.Device) error {
		*row = d.Clone()
		return nil
	})
}

func save(tb testing.TB, s peer.Store, d peer.Device) {
	tb.Helper()
	_, err := put(tb, s, d)
	require.NoError(tb, err)
}

func remove(tb testing.TB, s peer.Store, id peer.DeviceID) {
	tb.Helper()
	_, err := s.Update(tb.Context(), id, func(row *peer.Device) error {
		*row = peer.Device{}
		return nil
	})
	require.NoError(tb, err)
}

func get(tb testing.TB, s peer.Store, id peer.DeviceID) peer.Device {
	tb.Helper()
	d, err := s.Get(tb.Context(), id)
	require.NoError(tb, err)
	return d
}

func list(tb testing.TB, s peer.Store, f peer.Filter) string {
	tb.Helper()
	all, err := s.List(tb.Context(), f)
	require.NoError(tb, err)
	ids := make([]string, 0, len(all))
	for _, d := range all {
		ids = append(ids, string(d.ID))
	}
	return strings.Join(ids, " ")
}

// same compares but for Rev, and takes nil and empty lists as equal.
func same(tb testing.TB, want, got peer.Device) {
	tb.Helper()
	want, got = want.Clone(), got.Clone()
	for _, d := range []peer.Device{want, got} {
		for i := range d.Peers {
			d.Peers[i].Rev = 0
		}
	}
	require.Empty(tb, cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})))
}

func comesBack(tb testing.TB, s peer.Store) {
	tb.Helper()
	a := device("a", "x:10.1.0.2 fd01::2", "y:10.1.0.2 10.9.0.0/24")
	saved, err := put(tb, s, a)
	require.NoError(tb, err)
	same(tb, a, saved)
	same(tb, a, get(tb, s, "a"))
	found, err := s.Find(tb.Context(), a.Key)
	require.NoError(tb, err)
	same(tb, a, found)
	all, err := s.List(tb.Context(), peer.Filter{})
	require.NoError(tb, err)
	require.Len(tb, all, 1)
	same(tb, a, all[0])

	a.Owner, a.Peers = "bob", nil
	saved, err = put(tb, s, a)
	require.NoError(tb, err)
	same(tb, a, saved)
	same(tb, a, get(tb, s, "a"))
}

func everyField(tb testing.TB, s peer.Store) {
	tb.Helper()
	d := Full("a")
	for _, v := range []any{d, d.Standing, d.Peers[0]} {
		for f, v := range reflect.ValueOf(v).Fields() {
			require.False(tb, v.IsZero(), "peertest.Full leaves %s zero: fill it in", f.Name)
		}
	}
	save(tb, s, d)
	same(tb, d, get(tb, s, "a"))
}

func absent(tb testing.TB, s peer.Store) {
	tb.Helper()
	_, err := s.Get(tb.Context(), "a")
	require.ErrorIs(tb, err, peer.ErrNotFound)
	_, err = s.Find(tb.Context(), key("a"))
	require.ErrorIs(tb, err, peer.ErrNotFound)
	require.Empty(tb, list(tb, s, peer.Filter{}))
	_, err = s.Update(tb.Context(), "a", func(row *peer.Device) error {
		require.Equal(tb, peer.Device{}, *row, "an absent row is zero")
		return nil
	})
	require.NoError(tb, err, "deleting what is not there is no error")
}

func finds(tb testing.TB, s peer.Store) {
	tb.Helper()
	a, b := device("a"), device("b", "x:10.1.0.2")
	save(tb, s, a)
	save(tb, s, b)
	found, err := s.Find(tb.Context(), key("b"))
	require.NoError(tb, err)
	same(tb, b, found)

	b.Key = key("another")
	save(tb, s, b)
	_, err = s.Find(tb.Context(), key("b"))
	require.ErrorIs(tb, err, peer.ErrNotFound, "the old key")
	found, err = s.Find(tb.Context(), key("another"))
	require.NoError(tb, err)
	same(tb, b, found)

	remove(tb, s, "b")
	_, err = s.Find(tb.Context(), key("another"))
	require.ErrorIs(tb, err, peer.ErrNotFound, "of a deleted device")
	_, err = s.Find(tb.Context(), wgkey.Public{})
	require.ErrorIs(tb, err, peer.ErrNotFound, "no key")
}

func getsRow(tb testing.TB, s peer.Store) {
	tb.Helper()
	a := device("a", "x:10.1.0.2")
	save(tb, s, a)
	a.Name, a.Peers = "renamed", device("a", "x:10.1.0.3", "y:10.1.0.2").Peers
	save(tb, s, a)
	save(tb, s, device("b", "z:10.9.0.2"))
	_, err := s.Update(tb.Context(), "a", func(row *peer.Device) error {
		same(tb, a, *row)
		return nil
	})
	require.NoError(tb, err)
	same(tb, a, get(tb, s, "a"))
}

func keepsError(tb testing.TB, s peer.Store) {
	tb.Helper()
	a := device("a", "x:10.1.0.2")
	save(tb, s, a)
	mine := errors.New("mine")
	for _, id := range []peer.DeviceID{"a", "b"} {
		_, err := s.Update(tb.Context(), id, func(row *peer.Device) error {
			*row = Full(id)
			return mine
		})
		require.ErrorIs(tb, err, mine)
	}
	same(tb, a, get(tb, s, "a"))
	_, err := s.Get(tb.Context(), "b")
	require.ErrorIs(tb, err, peer.ErrNotFound)
}

func deletes(tb testing.TB, s peer.Store) {
	tb.Helper()
	save(tb, s, device("a", "x:10.1.0.2"))
	save(tb, s, device("b", "x:10.1.0.3"))
	for range 2 { // a second time is no error
		got, err := s.Update(tb.Context(), "a", func(row *peer.Device) error {
			*row = peer.Device{}
			return nil
		})
		require.NoError(tb, err)
		same(tb, peer.Device{}, got)
	}
	_, err := s.Get(tb.Context(), "a")
	require.ErrorIs(tb, err, peer.ErrNotFound)
	require.Equal(tb, "b", list(tb, s, peer.Filter{}))
}

// scribble writes over all memory that d refers to.
func scribble(d peer.Device) {
	for i := range d.Standing.Groups {
		d.Standing.Groups[i] = "scribbled"
	}
	for i, p := range d.Peers {
		for j := range p.Addrs {
			p.Addrs[j] = netip.MustParseAddr("192.0.2.1")
		}
		for j := range p.Routes {
			p.Routes[j] = netip.MustParsePrefix("192.0.2.0/24")
		}
		d.Peers[i].Location = "scribbled"
	}
}

func returnsCopies(tb testing.TB, s peer.Store) {
	tb.Helper()
	saved, err := put(tb, s, Full("a"))
	require.NoError(tb, err)
	want := saved.Clone()
	check := func(got peer.Device, err error) {
		tb.Helper()
		require.NoError(tb, err)
		scribble(got)
		same(tb, want, get(tb, s, "a"))
	}
	check(saved, nil)
	check(s.Get(tb.Context(), "a"))
	check(s.Find(tb.Context(), want.Key))
	all, err := s.List(tb.Context(), peer.Filter{})
	check(slices.Concat(all, []peer.Device{{}})[0], err)
	_, err = s.Update(tb.Context(), "a", func(row *peer.Device) error {
		scribble(*row)
		return errors.New("no")
	})
	require.Error(tb, err)
	same(tb, want, get(tb, s, "a"))
}

func takesCopies(tb testing.TB, s peer.Store) {
	tb.Helper()
	given := Full("a")
	for range 2 { // what was made by the caller, then what edit was given
		_, err := s.Update(tb.Context(), "a", func(row *peer.Device) error {
			if row.ID == "" {
				*row = given
			}
			given = *row
			return nil
		})
		require.NoError(tb, err)
		want := get(tb, s, "a").Clone()
		scribble(given)
		same(tb, want, get(tb, s, "a"))
	}
}

func oddTexts(tb testing.TB, s peer.Store) {
	tb.Helper()
	for i, text := range []string{
		`"quoted" \back\slash 'n' %s %00 {} [] $1`, `'; DROP TABLE devices; --`, "<b>&amp;</b>", "a/b/c", "a\x1fb",
		"Füße \u6771\u4eac 🏢", "e\u0301 is not \u00e9", "\u202eabc", "\u2028", strings.Repeat("🏢", 63), strings.Repeat("x", 1_000),
	} {
		d := device(peer.DeviceID(fmt.Sprintf("a%02d", i)), fmt.Sprintf("x:10.0.0.%d", 2+i))
		d.Name, d.Owner, d.Standing.Groups = text, text, []string{text, ""}
		save(tb, s, d)
		same(tb, d, get(tb, s, d.ID))
		require.Equal(tb, string(d.ID), list(tb, s, peer.Filter{Owner: text}))
	}
}

func cancelled(tb testing.TB, s peer.Store) {
	tb.Helper()
	a := device("a", "x:10.1.0.2")
	save(tb, s, a)
	ctx, cancel := context.WithCancel(tb.Context())
	cancel()
	_, err := s.Get(ctx, "a")
	require.ErrorIs(tb, err, context.Canceled, "Get")
	_, err = s.Find(ctx, a.Key)
	require.ErrorIs(tb, err, context.Canceled, "Find")
	_, err = s.List(ctx, peer.Filter{})
	require.ErrorIs(tb, err, context.Canceled, "List")
	_, err = s.Update(ctx, "a", func(row *peer.Device) error {
		row.Name = "renamed"
		return nil
	})
	require.ErrorIs(tb, err, context.Canceled, "Update")
	same(tb, a, get(tb, s, "a"))
}

// together runs f in n goroutines that begin at once.
func together(n int, f func(int)) {
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-gate
			f(i)
		})
	}
	close(gate)
	wg.Wait()
}
