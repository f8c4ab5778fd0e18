package peertest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/peer"
)

func sorted(tb testing.TB, s peer.Store) {
	tb.Helper()
	for _, id := range []peer.DeviceID{"m", "ab", "z", "a", "b", "aa", "a-b", "y7", "y10"} {
		save(tb, s, device(id))
	}
	require.Equal(tb, "a a-b aa ab b m y10 y7 z", list(tb, s, peer.Filter{}))
}

func filters(tb testing.TB, s peer.Store) {
	tb.Helper()
	for i, d := range []peer.Device{
		device("a", "x:10.0.0.2"), device("b", "x:10.0.0.3", "y:10.0.0.3"), device("c"), device("d", "y:10.0.0.4"), device("e", "xx:10.0.0.5"),
	} {
		d.Owner = []string{"alice", "bob", "alice", "", "alic"}[i]
		save(tb, s, d)
	}
	for _, c := range []struct {
		f    peer.Filter
		want string
	}{
		{peer.Filter{}, "a b c d e"},
		{peer.Filter{Location: "x"}, "a b"},
		{peer.Filter{Location: "y"}, "b d"},
		{peer.Filter{Location: "z"}, ""},
		{peer.Filter{Owner: "alice"}, "a c"},
		{peer.Filter{Owner: "nobody"}, ""},
		{peer.Filter{Owner: "alice", Location: "x"}, "a"},
		{peer.Filter{Owner: "bob", Location: "y"}, "b"},
	} {
		require.Equal(tb, c.want, list(tb, s, c.f), "%+v", c.f)
	}
	b := get(tb, s, "b")
	b.Owner, b.Peers = "alice", b.Peers[1:]
	save(tb, s, b)
	require.Equal(tb, "a", list(tb, s, peer.Filter{Location: "x"}), "b left x")
	require.Equal(tb, "a b c", list(tb, s, peer.Filter{Owner: "alice"}), "b is alice's now")
	remove(tb, s, "a")
	require.Empty(tb, list(tb, s, peer.Filter{Location: "x"}), "a is gone")
}

func pages(tb testing.TB, s peer.Store) {
	tb.Helper()
	for i := range 7 {
		d := device(peer.DeviceID(fmt.Sprint("d", i)), fmt.Sprintf("x%d:10.0.0.%d", i%2, 2+i))
		save(tb, s, d)
	}
	for _, c := range []struct {
		f    peer.Filter
		want string
	}{
		{peer.Filter{Limit: 3}, "d0 d1 d2"},
		{peer.Filter{After: "d2", Limit: 3}, "d3 d4 d5"},
		{peer.Filter{After: "d5", Limit: 3}, "d6"},
		{peer.Filter{After: "d6", Limit: 3}, ""},
		{peer.Filter{After: "d4"}, "d5 d6"},
		{peer.Filter{After: "d4x"}, "d5 d6"}, // gone meanwhile
		{peer.Filter{Limit: 100}, "d0 d1 d2 d3 d4 d5 d6"},
		{peer.Filter{Location: "x1", Limit: 2}, "d1 d3"},
		{peer.Filter{Location: "x1", After: "d3", Limit: 2}, "d5"},
	} {
		require.Equal(tb, c.want, list(tb, s, c.f), "%+v", c.f)
	}
}

func manyRows(tb testing.TB, s peer.Store) {
	tb.Helper()
	const rows = 600
	for i := range rows {
		d := device(peer.DeviceID(fmt.Sprintf("d%04d", i)), fmt.Sprintf("x:10.0.%d.%d", i/250, 2+i%250))
		save(tb, s, d)
	}
	seen, after := 0, peer.DeviceID("")
	for {
		page, err := s.List(tb.Context(), peer.Filter{Location: "x", After: after, Limit: 99})
		require.NoError(tb, err)
		if len(page) == 0 {
			break
		}
		for _, d := range page {
			require.Equal(tb, fmt.Sprintf("d%04d", seen), string(d.ID))
			seen++
		}
		after = page[len(page)-1].ID
	}
	require.Equal(tb, rows, seen)
	all, err := s.List(tb.Context(), peer.Filter{})
	require.NoError(tb, err)
	require.Len(tb, all, rows, "without a limit")
}
