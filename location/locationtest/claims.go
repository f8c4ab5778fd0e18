package locationtest

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
)

func names(tb testing.TB, s location.Store) {
	tb.Helper()
	save(tb, s, row("a", "10.1.0.0/16"))
	b := row("b", "10.2.0.0/16")
	b.Name = "name of a"
	_, err := put(tb, s, b)
	require.ErrorIs(tb, err, location.ErrExists)
	b.Name = "name of A"
	_, err = put(tb, s, b)
	require.NoError(tb, err, "names differ by case")
	b.Name = "name of a"
	_, err = put(tb, s, b)
	require.ErrorIs(tb, err, location.ErrExists, "by a change")
}

func overlaps(tb testing.TB, s location.Store) {
	tb.Helper()
	save(tb, s, row("a", "10.8.0.0/13", "fd08::/13"))
	save(tb, s, row("c", "10.64.4.0/30", "10.65.0.0/16"))
	for i, c := range []struct {
		network string
		taken   bool
	}{
		{"10.8.0.0/13", true}, // equal
		{"10.8.0.0/16", true}, // inside, at the start
		{"10.11.1.0/30", true},
		{"10.15.255.252/30", true},  // inside, at the end
		{"10.8.0.0/12", true},       // around
		{"10.0.0.0/8", true},        // around, starting before
		{"10.7.0.0/16", false},      // just before
		{"10.16.0.0/16", false},     // just after
		{"10.7.255.252/30", false},  // just before, small
		{"10.64.0.0/15", true},      // around both of one row
		{"10.64.4.0/22", true},      // around one
		{"10.64.4.4/30", false},     // between them
		{"10.65.255.0/24", true},    // inside the other
		{"fd08::/13", true},         // equal
		{"fd0f:ffff::/32", true},    // inside
		{"fd00::/8", true},          // around
		{"fd07:ffff::/32", false},   // just before
		{"fd10::/32", false},        // just after
		{"0a08::/16", false},        // the bits of 10.8, but another family
		{"9.255.255.0/24", false},   // an octet less
		{"172.16.0.0/12", false},    // far away
		{"2001:db8::/32", false},    // far away
		{"255.255.255.0/24", false}, // the end of all addresses
	} {
		id := location.ID(fmt.Sprintf("x%02d", i))
		_, err := put(tb, s, row(id, c.network))
		if c.taken {
			require.ErrorIs(tb, err, location.ErrOverlap, c.network)
			_, err = s.Get(tb.Context(), id)
			require.ErrorIs(tb, err, location.ErrNotFound, c.network)
			continue
		}
		require.NoError(tb, err, c.network)
		require.NoError(tb, remove(tb, s, id), c.network)
	}
	_, err := put(tb, s, row("y", "192.168.0.0/24", "10.9.0.0/24"))
	require.ErrorIs(tb, err, location.ErrOverlap, "the second network counts too")
}

func asksForOverlap(tb testing.TB, s location.Store) {
	tb.Helper()
	save(tb, s, row("a", "10.1.0.0/16"))
	b := row("b", "10.0.0.0/8")
	b.AllowOverlap = true
	save(tb, s, b)
	b.AllowOverlap = false
	_, err := put(tb, s, b)
	require.ErrorIs(tb, err, location.ErrOverlap, "asked no more")
	save(tb, s, row("c", "10.2.0.0/16")) // b still claims nothing
}

func freesClaims(tb testing.TB, s location.Store) {
	tb.Helper()
	a := row("a", "10.1.0.0/16", "fd01::/64")
	save(tb, s, a)
	b := row("b", "10.1.2.0/24")
	_, err := put(tb, s, b)
	require.ErrorIs(tb, err, location.ErrOverlap)

	a.Networks, a.Name = []netip.Prefix{netip.MustParsePrefix("10.3.0.0/16")}, "renamed"
	save(tb, s, a)
	save(tb, s, b) // by a change of networks
	c := row("c", "10.4.0.0/16", "fd01::/64")
	c.Name = "name of a" // by a change of name
	save(tb, s, c)
	_, err = put(tb, s, row("d", "10.3.1.0/24"))
	require.ErrorIs(tb, err, location.ErrOverlap, "what it has now is claimed")

	require.NoError(tb, remove(tb, s, "a"))
	d := row("d", "10.3.1.0/24")
	d.Name = "renamed"
	save(tb, s, d)
}

func shiftsClaims(tb testing.TB, s location.Store) {
	tb.Helper()
	a := row("a", "10.1.0.0/16", "10.2.0.0/16")
	save(tb, s, a)
	for _, networks := range [][]string{
		{"10.2.0.0/16", "10.1.0.0/16"},                  // the other way round
		{"10.1.0.0/17", "10.2.0.0/17"},                  // smaller
		{"10.0.0.0/8"},                                  // around both
		{"10.0.0.0/9", "10.128.0.0/9"},                  // in halves
		{"10.64.0.0/10", "10.0.0.0/10", "10.128.0.0/9"}, // in pieces
	} {
		a.Networks = row("a", networks...).Networks
		save(tb, s, a)
		same(tb, a, get(tb, s, "a"))
		_, err := put(tb, s, row("b", networks[len(networks)-1]))
		require.ErrorIs(tb, err, location.ErrOverlap, "its new claims hold")
	}
}

func refusalChangesNothing(tb testing.TB, s location.Store) {
	tb.Helper()
	save(tb, s, row("a", "10.1.0.0/16"))
	b := row("b", "10.2.0.0/16")
	save(tb, s, b)
	worse := row("b", "10.3.0.0/16", "10.1.0.0/24")
	worse.Name, worse.MTU = "another name", 1300
	_, err := put(tb, s, worse)
	require.ErrorIs(tb, err, location.ErrOverlap)
	same(tb, b, get(tb, s, "b"))

	save(tb, s, row("c", "10.3.0.0/16")) // was not claimed after all
	_, err = put(tb, s, row("d", "10.2.0.0/24"))
	require.ErrorIs(tb, err, location.ErrOverlap, "was not given up")
	e := row("e", "10.5.0.0/16")
	e.Name = "another name"
	save(tb, s, e)
}

func parallelUpdates(tb testing.TB, s location.Store) {
	tb.Helper()
	const writers, rounds = 8, 25
	save(tb, s, row("a", "10.1.0.0/16"))
	together(writers, func(w int) {
		other := location.ID(fmt.Sprintf("w%d", w))
		for i := range rounds {
			_, err := s.Update(tb.Context(), "a", func(row *location.Location) error {
				row.Mark++
				return nil
			})
			if err == nil {
				_, err = put(tb, s, row(other, fmt.Sprintf("10.%d.%d.0/24", 10+w, i)))
			}
			if err != nil {
				tb.Errorf("writer %d: %v", w, err)
				return
			}
		}
	})
	require.Equal(tb, uint32(writers*rounds), get(tb, s, "a").Mark)
	all, err := s.List(tb.Context())
	require.NoError(tb, err)
	require.Len(tb, all, 1+writers)
}

func parallelClaims(tb testing.TB, s location.Store) {
	tb.Helper()
	const writers, rounds = 16, 20
	for i := range rounds {
		var names, networks atomic.Int32
		together(writers, func(w int) {
			// One name for all.
			l := row(location.ID(fmt.Sprintf("n%d-%d", i, w)), fmt.Sprintf("10.%d.%d.0/24", i, w))
			l.Name = fmt.Sprint("round ", i)
			if win(tb, s, l, location.ErrExists) {
				names.Add(1)
			}
			// Networks of different sizes that all have 172.16.0.0 in them.
			l = row(location.ID(fmt.Sprintf("o%d-%d", i, w)), fmt.Sprintf("172.%d.0.0/%d", 16+i, 16+(w+i)%8))
			if win(tb, s, l, location.ErrOverlap) {
				networks.Add(1)
			}
		})
		require.EqualValues(tb, 1, names.Load(), "rows with one name, round %d", i)
		require.EqualValues(tb, 1, networks.Load(), "rows with overlapping networks, round %d", i)
	}
}

// win says whether l was saved. If it was not, the reason has to be lost.
func win(tb testing.TB, s location.Store, l location.Location, lost error) bool {
	tb.Helper()
	_, err := put(tb, s, l)
	if err != nil && !errors.Is(err, lost) {
		tb.Errorf("a claim that lost: got %v, want %v", err, lost)
	}
	return err == nil
}
