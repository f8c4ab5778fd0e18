package peertest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/peer"
)

func keys(tb testing.TB, s peer.Store) {
	tb.Helper()
	save(tb, s, device("a"))
	b := device("b")
	b.Key = key("a")
	_, err := put(tb, s, b)
	require.ErrorIs(tb, err, peer.ErrKeyTaken)
	b.Key = key("b")
	save(tb, s, b)
	b.Key = key("a")
	_, err = put(tb, s, b)
	require.ErrorIs(tb, err, peer.ErrKeyTaken, "by a change")
}

func addresses(tb testing.TB, s peer.Store) {
	tb.Helper()
	save(tb, s, device("a", "x:10.0.0.2 fd00::2"))
	for _, at := range []string{"x:10.0.0.2", "x:fd00::2", "x:10.0.0.3 fd00::2"} {
		_, err := put(tb, s, device("b", at))
		require.ErrorIs(tb, err, peer.ErrAddressTaken, at)
	}
	save(tb, s, device("b", "y:10.0.0.2 fd00::2")) // another location
	save(tb, s, device("c", "x:10.0.0.1 10.0.0.3 fd00::1 fd00::3"))
	_, err := put(tb, s, device("c", "x:10.0.0.1 10.0.0.2"))
	require.ErrorIs(tb, err, peer.ErrAddressTaken, "by a change")
	_, err = put(tb, s, device("c", "w:10.0.0.2", "x:10.0.0.2"))
	require.ErrorIs(tb, err, peer.ErrAddressTaken, "in the second place")
}

func routes(tb testing.TB, s peer.Store) {
	tb.Helper()
	save(tb, s, device("a", "x:10.0.0.2 10.8.0.0/13 fd08::/13"))
	save(tb, s, device("c", "x:10.0.0.3 10.64.4.0/30 10.65.0.0/16"))
	for i, c := range []struct {
		what  string
		taken bool
	}{
		{"10.8.0.0/13", true}, // equal
		{"10.8.0.0/16", true}, // inside, at the start
		{"10.11.1.0/30", true},
		{"10.15.255.255/32", true},  // inside, at the end
		{"10.8.0.0/12", true},       // around
		{"10.0.0.0/8", true},        // around, starting before
		{"10.9.1.2", true},          // an address inside
		{"10.0.0.0/30", true},       // around an address
		{"10.7.0.0/16", false},      // just before
		{"10.16.0.0/16", false},     // just after
		{"10.7.255.255/32", false},  // just before, small
		{"10.64.0.0/15", true},      // around both of one row
		{"10.64.4.4/30", false},     // between them
		{"10.65.255.0/24", true},    // inside the other
		{"fd08::/13", true},         // equal
		{"fd0f:ffff::/32", true},    // inside
		{"fd09::1", true},           // an address inside
		{"fd00::/8", true},          // around
		{"fd07:ffff::/32", false},   // just before
		{"fd10::/32", false},        // just after
		{"0a08::/16", false},        // the bits of 10.8, but another family
		{"172.16.0.0/12", false},    // far away
		{"2001:db8::/32", false},    // far away
		{"223.255.255.0/24", false}, // near the end
	} {
		id := peer.DeviceID(fmt.Sprintf("x%02d", i))
		_, err := put(tb, s, device(id, "x:10.0.0.9 "+c.what))
		if c.taken {
			require.ErrorIs(tb, err, peer.ErrAddressTaken, c.what)
			_, err = s.Get(tb.Context(), id)
			require.ErrorIs(tb, err, peer.ErrNotFound, c.what)
			continue
		}
		require.NoError(tb, err, c.what)
		remove(tb, s, id)
		save(tb, s, device(id, "y:10.0.0.9 "+c.what)) // another location
		remove(tb, s, id)
	}
}

func freesClaims(tb testing.TB, s peer.Store) {
	tb.Helper()
	save(tb, s, device("a", "x:10.0.0.2 192.168.0.0/16"))
	b := device("b", "x:10.0.0.3 192.168.7.0/24")
	_, err := put(tb, s, b)
	require.ErrorIs(tb, err, peer.ErrAddressTaken)

	moved := device("a", "x:10.0.0.4")
	moved.Key = key("another")
	save(tb, s, moved)
	save(tb, s, b)
	c := device("c", "x:10.0.0.2")
	c.Key = key("a")
	save(tb, s, c)
	_, err = put(tb, s, device("d", "x:10.0.0.4"))
	require.ErrorIs(tb, err, peer.ErrAddressTaken, "what it has now is claimed")

	remove(tb, s, "a")
	d := device("d", "x:10.0.0.4")
	d.Key = key("another")
	save(tb, s, d)
	save(tb, s, device("b")) // leaves x
	save(tb, s, device("e", "x:10.0.0.3 192.168.0.0/16"))
}

func shiftsClaims(tb testing.TB, s peer.Store) {
	tb.Helper()
	save(tb, s, device("a", "x:10.0.0.2 10.0.0.3", "y:10.0.0.4"))
	for _, at := range [][]string{
		{"x:10.0.0.4", "y:10.0.0.2 10.0.0.3"},             // the other way round
		{"x:10.0.0.2 192.168.0.0/24"},                     // a route
		{"x:10.0.0.2 192.168.0.0/23"},                     // around it
		{"x:10.0.0.2 192.168.0.0/24 192.168.1.0/24"},      // in halves
		{"x:10.0.0.3 192.168.0.0/25", "y:192.168.1.0/24"}, // in pieces, and elsewhere
	} {
		d := device("a", at...)
		save(tb, s, d)
		same(tb, d, get(tb, s, "a"))
		_, err := put(tb, s, device("b", at[len(at)-1]))
		require.ErrorIs(tb, err, peer.ErrAddressTaken, "its new claims hold")
	}
}

func refusalChangesNothing(tb testing.TB, s peer.Store) {
	tb.Helper()
	save(tb, s, device("a", "x:10.0.0.2"))
	b := device("b", "x:10.0.0.3", "y:10.0.0.5")
	save(tb, s, b)
	worse := device("b", "w:10.0.0.9", "x:10.0.0.2", "y:10.0.0.7")
	worse.Key, worse.Owner = key("another"), "mallory"
	_, err := put(tb, s, worse)
	require.ErrorIs(tb, err, peer.ErrAddressTaken)
	same(tb, b, get(tb, s, "b"))
	require.Empty(tb, list(tb, s, peer.Filter{Owner: "mallory"}))
	require.Empty(tb, list(tb, s, peer.Filter{Location: "w"}))

	c := device("c", "w:10.0.0.9", "y:10.0.0.7") // were not claimed after all
	c.Key = key("another")
	save(tb, s, c)
	_, err = put(tb, s, device("d", "y:10.0.0.5"))
	require.ErrorIs(tb, err, peer.ErrAddressTaken, "was not given up")
}

func parallelUpdates(tb testing.TB, s peer.Store) {
	tb.Helper()
	const writers, rounds = 8, 25
	save(tb, s, device("a", "x:10.0.0.2"))
	together(writers, func(w int) {
		other := peer.DeviceID(fmt.Sprint("w", w))
		for i := range rounds {
			_, err := s.Update(tb.Context(), "a", func(row *peer.Device) error {
				row.Standing.Groups = append(row.Standing.Groups, fmt.Sprint(w, ".", i))
				return nil
			})
			if err == nil {
				_, err = put(tb, s, device(other, fmt.Sprintf("x:10.1.%d.%d", w, 2+i)))
			}
			if err != nil {
				tb.Errorf("writer %d: %v", w, err)
				return
			}
		}
	})
	require.Len(tb, get(tb, s, "a").Standing.Groups, writers*rounds)
	require.Equal(tb, "a w0 w1 w2 w3 w4 w5 w6 w7", list(tb, s, peer.Filter{}))
}

func parallelClaims(tb testing.TB, s peer.Store) {
	tb.Helper()
	const writers, rounds = 16, 20
	for i := range rounds {
		var byKey, byAddress, byRoute atomic.Int32
		together(writers, func(w int) {
			// One key for all.
			d := device(peer.DeviceID(fmt.Sprintf("k%d-%d", i, w)))
			d.Key = key(fmt.Sprint("round ", i))
			if win(tb, s, d, peer.ErrKeyTaken) {
				byKey.Add(1)
			}
			// One address for all.
			d = device(peer.DeviceID(fmt.Sprintf("a%d-%d", i, w)), fmt.Sprintf("x:10.0.0.%d 10.1.%d.%d", i, i, w))
			if win(tb, s, d, peer.ErrAddressTaken) {
				byAddress.Add(1)
			}
			// Routes of different sizes that all have the same first address.
			d = device(peer.DeviceID(fmt.Sprintf("r%d-%d", i, w)), fmt.Sprintf("x:10.2.%d.%d 172.%d.0.0/%d", i, w, 16+i, 16+(w+i)%8))
			if win(tb, s, d, peer.ErrAddressTaken) {
				byRoute.Add(1)
			}
		})
		require.EqualValues(tb, 1, byKey.Load(), "devices with one key, round %d", i)
		require.EqualValues(tb, 1, byAddress.Load(), "devices with one address, round %d", i)
		require.EqualValues(tb, 1, byRoute.Load(), "devices with overlapping routes, round %d", i)
	}
}

// win says whether d was saved. If it was not, the reason has to be lost.
func win(tb testing.TB, s peer.Store, d peer.Device, lost error) bool {
	tb.Helper()
	_, err := put(tb, s, d)
	if err != nil && !errors.Is(err, lost) {
		tb.Errorf("a claim that lost: got %v, want %v", err, lost)
	}
	return err == nil
}
