package gatewaytest

import (
	"context"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

// OpenKeeper returns a Keeper that has nothing, and what opens again what it kept,
// as the next process does.
type OpenKeeper func(tb testing.TB) (k gateway.Keeper, again func() gateway.Keeper)

// RunKeeper checks a gateway.Keeper.
func RunKeeper(t *testing.T, open OpenKeeper) {
	t.Helper()
	for name, test := range keeperCases(open) {
		t.Run(name, func(t *testing.T) { test(t) })
	}
}

func keeperCases(open OpenKeeper) iter.Seq2[string, func(testing.TB)] {
	return func(yield func(string, func(testing.TB)) bool) {
		for _, c := range []struct {
			name string
			test func(tb testing.TB, k gateway.Keeper, again func() gateway.Keeper)
		}{
			{"nothing is kept at first", keepsNothing},
			{"what was kept last is there again, and all of it", keepsAll},
			{"what is forgotten is gone", forgets},
			{"any name of a location will do", keepsNames},
			{"what it was given and what it gives are not its own memory", keepsCopies},
			{"a context that has ended changes nothing", keepsNotWhenEnded},
		} {
			if !yield(c.name, func(tb testing.TB) {
				k, again := open(tb)
				c.test(tb, k, again)
			}) {
				return
			}
		}
	}
}

// loaded returns what a Keeper has, in order, with times in UTC.
func loaded(tb testing.TB, k gateway.Keeper) []gateway.Kept {
	tb.Helper()
	all, err := k.Load(tb.Context())
	require.NoError(tb, err)
	slices.SortFunc(all, func(a, b gateway.Kept) int { return strings.Compare(string(a.Location), string(b.Location)) })
	for i := range all {
		require.NoError(tb, all[i].Refused)
		all[i].Heard = all[i].Heard.UTC()
		all[i].Config = all[i].Config.Canonical() // makes all empty lists nil or none nil
	}
	return all
}

func heard(n int) time.Time { return time.Date(2031, 2, 3, 4, 5, 6, n*1000, time.UTC) }

// keeps requires exactly this to be kept.
func keeps(tb testing.TB, k gateway.Keeper, want ...gateway.Kept) {
	tb.Helper()
	got := loaded(tb, k)
	require.Len(tb, got, len(want))
	for i := range want {
		require.Equal(tb, want[i].Location, got[i].Location)
		require.True(tb, want[i].Heard.Equal(got[i].Heard), "%s: heard at %v, want %v", want[i].Location, got[i].Heard, want[i].Heard)
		require.True(tb, want[i].Config.Canonical().Equal(got[i].Config), "%s is not as it was", want[i].Location)
		require.True(tb, slices.Equal(want[i].Siblings, got[i].Siblings), "%s has siblings %v, want %v", want[i].Location, got[i].Siblings, want[i].Siblings)
	}
}

func keepsNothing(tb testing.TB, k gateway.Keeper, again func() gateway.Keeper) {
	keeps(tb, k)
	keeps(tb, again())
}

func keepsAll(tb testing.TB, k gateway.Keeper, again func() gateway.Keeper) {
	full := gateway.Kept{Location: "b", Config: filled[gateway.Config](tb, new(int)), Heard: heard(1)}
	full.Config = full.Config.Canonical()
	full.Siblings = filled[[]gateway.Sibling](tb, new(int))
	for i := range full.Siblings {
		full.Siblings[i].Missing = false // by the contract
	}
	ended := gateway.Kept{Location: "c", Config: gateway.Config{Revision: gateway.Revision{Epoch: 1, Number: 2}}, Heard: heard(2)}
	require.NoError(tb, k.Keep(tb.Context(), full))
	require.NoError(tb, k.Keep(tb.Context(), ended))
	keeps(tb, k, full, ended)
	k = again()
	keeps(tb, k, full, ended)
	for n := range 20 {
		next := gateway.Kept{Location: "a", Config: RandomConfig().Example(n), Heard: heard(n), Siblings: make([]gateway.Sibling, n%3)}
		for i := range next.Siblings {
			next.Siblings[i] = gateway.Sibling{ID: gateway.ID(strings.Repeat("gw", n*i+1)), Addr: strings.Repeat("a", n*20)}
		}
		require.NoError(tb, k.Keep(tb.Context(), next))
		keeps(tb, again(), next, full, ended)
	}
}

func forgets(tb testing.TB, k gateway.Keeper, again func() gateway.Keeper) {
	a := gateway.Kept{Location: "a", Config: Config(2), Heard: heard(1)}
	b := gateway.Kept{Location: "b", Config: Config(3), Heard: heard(2)}
	require.NoError(tb, k.Forget(tb.Context(), "a"), "what is not there is no error")
	require.NoError(tb, k.Keep(tb.Context(), a))
	require.NoError(tb, k.Keep(tb.Context(), b))
	require.NoError(tb, k.Forget(tb.Context(), "a"))
	keeps(tb, k, b)
	k = again()
	keeps(tb, k, b)
	require.NoError(tb, k.Keep(tb.Context(), a))
	keeps(tb, again(), a, b)
}

func keepsNames(tb testing.TB, k gateway.Keeper, again func() gateway.Keeper) {
	names := []string{
		"A", "a", "../a", "a/b", ".", "..", "key", "index", "lock", "a.refused", "a b", "\"a\"\n", "\x00", "\xff", "ü", "sha256-0",
		strings.Repeat("x", 64), strings.Repeat("x", 65), strings.Repeat("long/", 200),
	}
	slices.Sort(names)
	var want []gateway.Kept
	for i, name := range names {
		w := gateway.Kept{Location: gateway.LocationID(name), Config: Config(1 + i%3), Heard: heard(i)}
		require.NoError(tb, k.Keep(tb.Context(), w), "%q", name)
		want = append(want, w)
	}
	keeps(tb, k, want...)
	keeps(tb, again(), want...)
}

func keepsCopies(tb testing.TB, k gateway.Keeper, _ func() gateway.Keeper) {
	want := gateway.Kept{Location: "a", Config: Config(2), Heard: heard(1), Siblings: []gateway.Sibling{{ID: "gw2", Addr: addr(2)}}}
	given := cloneKept(want)
	spoil := func(k gateway.Kept) {
		c := k.Config
		k.Siblings[0] = gateway.Sibling{}
		c.Peers[0].AllowedIPs[0] = Prefixes("192.0.2.0/24")[0]
		c.Peers[1], c.Interface.Addrs[0] = gateway.Peer{}, Prefixes("192.0.2.1/24")[0]
	}
	require.NoError(tb, k.Keep(tb.Context(), given))
	require.True(tb, given.Config.Equal(want.Config), "it wrote to what it was given")
	spoil(given)
	got, err := k.Load(tb.Context())
	require.NoError(tb, err)
	require.Len(tb, got, 1)
	spoil(got[0])
	keeps(tb, k, want)
}

func keepsNotWhenEnded(tb testing.TB, k gateway.Keeper, again func() gateway.Keeper) {
	a := gateway.Kept{Location: "a", Config: Config(2), Heard: heard(1)}
	require.NoError(tb, k.Keep(tb.Context(), a))
	ended, end := context.WithCancel(tb.Context())
	end()
	b := a
	b.Config = Config(3)
	for what, err := range map[string]error{
		"keep": k.Keep(ended, b), "forget": k.Forget(ended, "a"),
		"load": func() error { _, err := k.Load(ended); return err }(),
	} {
		require.ErrorIs(tb, err, context.Canceled, what)
	}
	keeps(tb, k, a)
	keeps(tb, again(), a)
}
