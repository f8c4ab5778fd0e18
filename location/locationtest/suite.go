package locationtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// RunStore checks a location.Store against its contract. open returns an empty
// store; what has to be closed, it gives to Cleanup. Each case opens its own.
//
// Rev is not looked at beyond this: it is the promise of a whole backend (see
// vpn.Stores and its suite).
func RunStore(t *testing.T, open func(testing.TB) location.Store) {
	t.Helper()
	for name, test := range Cases(open) {
		t.Run(name, func(t *testing.T) { test(t) })
	}
}

// Cases yields what RunStore runs, by name: for suites that try broken stores.
func Cases(open func(testing.TB) location.Store) iter.Seq2[string, func(testing.TB)] {
	return func(yield func(string, func(testing.TB)) bool) {
		for _, c := range []struct {
			name string
			test func(testing.TB, location.Store)
		}{
			{"what is saved comes back", comesBack},
			{"every field comes back", everyField},
			{"absent is ErrNotFound", absent},
			{"list is sorted", sorted},
			{"update gets the row as last written", getsRow},
			{"update keeps the error of edit", keepsError},
			{"a row left zero is deleted", deletes},
			{"returned values are copies", returnsCopies},
			{"what edit puts in is copied", takesCopies},
			{"a name has one row", names},
			{"networks do not overlap", overlaps},
			{"overlapping can be asked for", asksForOverlap},
			{"claims are freed by a change and by delete", freesClaims},
			{"a row may shift its own claims", shiftsClaims},
			{"a refused claim changes nothing", refusalChangesNothing},
			{"parallel updates lose nothing", parallelUpdates},
			{"parallel claims have one winner", parallelClaims},
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

// row makes a location that a Service could have saved.
func row(id location.ID, networks ...string) location.Location {
	l := location.Location{
		ID: id, Name: "name of " + string(id), Host: "vpn.example.org",
		PublicKey: wgkey.Public{1, 2, 3}, Key: "hf1.sealed",
	}.WithDefaults()
	for _, n := range networks {
		l.Networks = append(l.Networks, netip.MustParsePrefix(n))
	}
	return l
}

func save(tb testing.TB, s location.Store, l location.Location) {
	tb.Helper()
	_, err := put(tb, s, l)
	require.NoError(tb, err)
}

func put(tb testing.TB, s location.Store, l location.Location) (location.Location, error) {
	tb.Helper()
	return s.Update(tb.Context(), l.ID, func(row *location.Location) error {
		*row = l.Clone()
		return nil
	})
}

func remove(tb testing.TB, s location.Store, id location.ID) error {
	tb.Helper()
	_, err := s.Update(tb.Context(), id, func(row *location.Location) error {
		*row = location.Location{}
		return nil
	})
	return err
}

func get(tb testing.TB, s location.Store, id location.ID) location.Location {
	tb.Helper()
	l, err := s.Get(tb.Context(), id)
	require.NoError(tb, err)
	return l
}

// same compares but for Rev, and takes nil and empty lists as equal.
func same(tb testing.TB, want, got location.Location) {
	tb.Helper()
	got.Rev = want.Rev
	require.Empty(tb, cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})))
}

func comesBack(tb testing.TB, s location.Store) {
	tb.Helper()
	a := row("a", "10.1.0.0/16", "fd01::/64")
	saved, err := put(tb, s, a)
	require.NoError(tb, err)
	same(tb, a, saved)
	same(tb, a, get(tb, s, "a"))
	all, err := s.List(tb.Context())
	require.NoError(tb, err)
	require.Len(tb, all, 1)
	same(tb, a, all[0])

	a.MTU, a.Networks = 1300, nil
	saved, err = put(tb, s, a)
	require.NoError(tb, err)
	same(tb, a, saved)
	same(tb, a, get(tb, s, "a"))
}

func everyField(tb testing.TB, s location.Store) {
	tb.Helper()
	l := Full("a")
	for f, v := range reflect.ValueOf(l).Fields() {
		require.False(tb, v.IsZero(), "locationtest.Full leaves %s zero: fill it in", f.Name)
	}
	save(tb, s, l)
	same(tb, l, get(tb, s, "a"))
	l.ClientKeepalive = location.KeepaliveOff
	save(tb, s, l)
	same(tb, l, get(tb, s, "a"))
}

// Full returns a location with something in every field. It passes Validate, but
// its Key opens with no ring.
func Full(id location.ID) location.Location {
	return location.Location{
		ID: id, Rev: 1, Name: "head office",
		Networks:      []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd01::/64")},
		Gateway:       []netip.Addr{netip.MustParseAddr("10.1.0.9"), netip.MustParseAddr("fd01::9")},
		Reserved:      []netip.Prefix{netip.MustParsePrefix("10.1.255.0/24"), netip.MustParsePrefix("fd01::ff00/120")},
		AllowOverlap:  true,
		Floating:      []netip.Addr{netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("2001:db8:f::9")},
		InnerFloating: []netip.Addr{netip.MustParseAddr("172.16.60.9"), netip.MustParseAddr("fd60::9")},
		Host:          "vpn.example.org", Port: 65535, MTU: 9000, Mark: 1<<32 - 2, Inner: location.Routed,
		Destinations:    []netip.Prefix{netip.MustParsePrefix("10.60.0.0/16"), netip.MustParsePrefix("fd60::/48")},
		Isolated:        true,
		DNS:             []netip.Addr{netip.MustParseAddr("10.1.0.9"), netip.MustParseAddr("fd01::9")},
		Search:          []string{"corp.example.org", "example.org"},
		AllowedIPs:      []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
		ClientKeepalive: 65535 * time.Second,
		Disabled:        true,
		PublicKey:       wgkey.Public{255, 254, 253},
		Key:             "hf1.0123456789ab.c2VhbGVk",
	}
}

func absent(tb testing.TB, s location.Store) {
	tb.Helper()
	_, err := s.Get(tb.Context(), "a")
	require.ErrorIs(tb, err, location.ErrNotFound)
	all, err := s.List(tb.Context())
	require.NoError(tb, err)
	require.Empty(tb, all)
	_, err = s.Update(tb.Context(), "a", func(row *location.Location) error {
		require.Equal(tb, location.Location{}, *row, "an absent row is zero")
		return nil
	})
	require.NoError(tb, err, "deleting what is not there is no error")
}

func sorted(tb testing.TB, s location.Store) {
	tb.Helper()
	ids := []location.ID{"m", "ab", "z", "a", "b", "aa", "a-b", "y7", "y10"}
	for i, id := range ids {
		save(tb, s, row(id, fmt.Sprintf("10.%d.0.0/16", i)))
	}
	all, err := s.List(tb.Context())
	require.NoError(tb, err)
	var got []string
	for _, l := range all {
		got = append(got, string(l.ID))
	}
	require.Equal(tb, "a a-b aa ab b m y10 y7 z", strings.Join(got, " "))
}

func getsRow(tb testing.TB, s location.Store) {
	tb.Helper()
	a := row("a", "10.1.0.0/16")
	save(tb, s, a)
	a.MTU = 1400
	save(tb, s, a)
	save(tb, s, row("b", "10.2.0.0/16"))
	_, err := s.Update(tb.Context(), "a", func(row *location.Location) error {
		same(tb, a, *row)
		return nil
	})
	require.NoError(tb, err)
	same(tb, a, get(tb, s, "a"))
}

func keepsError(tb testing.TB, s location.Store) {
	tb.Helper()
	a := row("a", "10.1.0.0/16")
	save(tb, s, a)
	mine := errors.New("mine")
	for _, id := range []location.ID{"a", "b"} {
		_, err := s.Update(tb.Context(), id, func(row *location.Location) error {
			*row = Full(id)
			return mine
		})
		require.ErrorIs(tb, err, mine)
	}
	same(tb, a, get(tb, s, "a"))
	_, err := s.Get(tb.Context(), "b")
	require.ErrorIs(tb, err, location.ErrNotFound)
}

func deletes(tb testing.TB, s location.Store) {
	tb.Helper()
	save(tb, s, row("a", "10.1.0.0/16"))
	save(tb, s, row("b", "10.2.0.0/16"))
	for range 2 { // a second time is no error
		got, err := s.Update(tb.Context(), "a", func(row *location.Location) error {
			*row = location.Location{}
			return nil
		})
		require.NoError(tb, err)
		same(tb, location.Location{}, got)
	}
	_, err := s.Get(tb.Context(), "a")
	require.ErrorIs(tb, err, location.ErrNotFound)
	all, err := s.List(tb.Context())
	require.NoError(tb, err)
	require.Len(tb, all, 1)
	require.Equal(tb, location.ID("b"), all[0].ID)
}

// scribble writes over all memory that l refers to.
func scribble(l location.Location) { wipe(reflect.ValueOf(l)) }

func wipe(v reflect.Value) {
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			wipe(v.Index(i))
			v.Index(i).SetZero()
		}
	case reflect.Pointer:
		if !v.IsNil() {
			wipe(v.Elem())
			v.Elem().SetZero()
		}
	case reflect.Struct:
		for f, field := range v.Fields() {
			if f.IsExported() {
				wipe(field)
			}
		}
	default:
	}
}

func returnsCopies(tb testing.TB, s location.Store) {
	tb.Helper()
	saved, err := put(tb, s, Full("a"))
	require.NoError(tb, err)
	want := saved.Clone()
	scribble(saved)
	same(tb, want, get(tb, s, "a"))
	scribble(get(tb, s, "a"))
	same(tb, want, get(tb, s, "a"))
	all, err := s.List(tb.Context())
	require.NoError(tb, err)
	scribble(all[0])
	same(tb, want, get(tb, s, "a"))
	_, err = s.Update(tb.Context(), "a", func(row *location.Location) error {
		scribble(*row)
		return errors.New("no")
	})
	require.Error(tb, err)
	same(tb, want, get(tb, s, "a"))
}

func takesCopies(tb testing.TB, s location.Store) {
	tb.Helper()
	given := Full("a")
	for range 2 { // what was made by the caller, then what edit was given
		_, err := s.Update(tb.Context(), "a", func(row *location.Location) error {
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

func oddTexts(tb testing.TB, s location.Store) {
	tb.Helper()
	for i, text := range []string{
		`"quoted" \back\slash 'n' %s %00 {} [] $1`, `'; DROP TABLE locations; --`, "<b>&amp;</b>", "a/b/c", "a\x1fb",
		"Füße \u6771\u4eac 🏢", "e\u0301 is not \u00e9", "\u202eabc", "\u2028", strings.Repeat("🏢", 63), strings.Repeat("x", 10_000),
	} {
		l := row(location.ID(fmt.Sprintf("a%02d", i)), fmt.Sprintf("10.%d.0.0/16", i))
		l.Name, l.Search = text, []string{text, ""}
		save(tb, s, l)
		same(tb, l, get(tb, s, l.ID))
	}
}

func cancelled(tb testing.TB, s location.Store) {
	tb.Helper()
	a := row("a", "10.1.0.0/16")
	save(tb, s, a)
	ctx, cancel := context.WithCancel(tb.Context())
	cancel()
	_, err := s.Get(ctx, "a")
	require.ErrorIs(tb, err, context.Canceled, "Get")
	_, err = s.List(ctx)
	require.ErrorIs(tb, err, context.Canceled, "List")
	_, err = s.Update(ctx, "a", func(row *location.Location) error {
		row.MTU = 1300
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
