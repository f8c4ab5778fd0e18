package gateway

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// A gateway is lost when it has fallen silent and whoever can know says so.
func TestWhoIsLost(t *testing.T) {
	const now = time.Minute
	quiet := func(edit ...func(*account)) account {
		a := account{id: "b", at: after(now - unheard)}
		for _, e := range edit {
			e(&a)
		}
		return a
	}
	missed := func(a *account) { a.missed = true }
	other := func(id ID, misses ...ID) account {
		return account{id: id, at: after(now - time.Second), misses: misses}
	}
	for name, c := range map[string]struct {
		list []account
		core bool
		want []ID
	}{
		"nobody":                             {},
		"the core misses it, too":            {list: []account{quiet(missed)}, core: true, want: []ID{"b"}},
		"the core hears it":                  {list: []account{quiet(), other("c", "b")}, core: true},
		"it is heard":                        {list: []account{{id: "b", at: after(now - unheard + 1), missed: true}}, core: true},
		"it was never heard":                 {list: []account{{id: "b", missed: true}}, core: true},
		"it was found so before":             {list: []account{quiet(missed, func(a *account) { a.lost = true })}, core: true},
		"no core, and nobody else":           {list: []account{quiet(missed)}},
		"no core, and the other misses it":   {list: []account{quiet(), other("c", "b")}, want: []ID{"b"}},
		"no core, and the other hears it":    {list: []account{quiet(), other("c")}},
		"no core, and one of two misses it":  {list: []account{quiet(), other("c", "b"), other("d", "x")}},
		"no core, and all others miss it":    {list: []account{quiet(), other("c", "b"), other("d", "b")}, want: []ID{"b"}},
		"no core, who is silent has no word": {list: []account{quiet(), other("c", "b"), {id: "d", at: after(now - unheard), lost: true}}, want: []ID{"b"}},
		"two at once": {list: []account{
			quiet(missed), quiet(missed, func(a *account) { a.id = "c" }),
		}, core: true, want: []ID{"b", "c"}},
	} {
		require.Equal(t, c.want, gone(c.list, c.core, after(now)), name)
	}
}

// Every client has one first survivor, whoever works it out; each of them has about as
// many, and turns do not fall together.
func TestSurvivorsTakeTurns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		survivors := []ID{"gw1", "gw2", "gw3", "gw4", "gw5"}[:rapid.IntRange(1, 5).Draw(t, "survivors")]
		seed := rapid.Uint64().Draw(t, "seed")
		const clients = 1000
		first := map[ID]int{}
		for n := range clients {
			var key wgkey.Public
			binary.BigEndian.PutUint64(key[:], seed)
			binary.BigEndian.PutUint64(key[24:], uint64(n))
			var turns []int
			for _, id := range survivors {
				others := slices.Clone(survivors)
				slices.Reverse(others) // nobody knows them in the same order
				r := rank(key, id, others)
				if turns = append(turns, r); r == 0 {
					first[id]++
				}
			}
			slices.Sort(turns)
			for i, r := range turns {
				if r != i {
					t.Fatalf("turns of %d are %v", n, turns)
				}
			}
		}
		fair := clients / len(survivors)
		for _, id := range survivors {
			if got := first[id]; got < fair*3/4 || got > fair*5/4 {
				t.Fatalf("%s has %d of %d", id, got, clients)
			}
		}
	})
}

// Whom another survivor has got meanwhile is left to it.
func TestALegacyIsSharedOut(t *testing.T) {
	survivors := []ID{"gw1", "gw2", "gw3"}
	var l legacy
	var targets []Target
	by := map[wgkey.Public]ID{}
	carrier := func(k wgkey.Public) ID { return by[k] }
	for n := range byte(100) {
		key := wgkey.Public{n}
		targets, by[key] = append(targets, Target{Key: key}), "gone"
	}
	l.leave("gone", "gw2", survivors, targets, dawn)
	require.Len(t, l.due(dawn, carrier), count(targets, survivors, 0))
	require.Empty(t, l.due(after(turn-1), carrier))
	taken := 0
	for _, s := range l.waiting[:len(l.waiting)/2] {
		by[s.Key] = "gw3"
		require.True(t, l.theirs(s.Key, "gw2", carrier))
		taken++
	}
	require.False(t, l.theirs(l.waiting[len(l.waiting)-1].Key, "gw2", carrier))
	require.False(t, l.theirs(wgkey.Public{200}, "gw2", carrier), "of whom nothing was left")
	rest := len(l.waiting) - taken
	require.Equal(t, rest, len(l.due(after(turn), carrier))+len(l.due(after(2*turn), carrier)))
	require.Empty(t, l.waiting)
}

// count is how many targets gw2 has at a turn.
func count(targets []Target, survivors []ID, at int) (n int) {
	for _, t := range targets {
		if rank(t.Key, "gw2", survivors) == at {
			n++
		}
	}
	return n
}
