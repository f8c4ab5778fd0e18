package pick_test

import (
	"flag"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/testnet/pick"
)

func TestNamed(t *testing.T) {
	l := pick.List[string]{
		Kind: "play", All: []string{"hamlet", "lear", "all's well"},
		Name: func(s string) string { return s }, Line: strings.ToUpper,
	}
	all, err := l.Named(nil)
	require.NoError(t, err)
	require.Equal(t, l.All, all)
	some, err := l.Named([]string{"lear", "hamlet", "lear"})
	require.NoError(t, err)
	require.Equal(t, []string{"lear", "hamlet", "lear"}, some)
	_, err = l.Named([]string{"lear", "faust"})
	require.EqualError(t, err, "no play \"faust\"; there are:\n  hamlet     HAMLET\n  lear       LEAR\n  all's well ALL'S WELL\n")
}

func TestRuns(t *testing.T) {
	var runs int
	var seed uint64
	f := flag.NewFlagSet("", flag.ContinueOnError)
	pick.Runs(f, &runs, &seed, 7, "")
	require.NoError(t, f.Parse(nil))
	require.NoError(t, pick.Draw(runs, &seed))
	require.Equal(t, 7, runs)
	require.NotZero(t, seed, "one is drawn")
	require.NoError(t, f.Parse([]string{"-seed", "9", "-runs", "10000"}))
	require.NoError(t, pick.Draw(runs, &seed))
	require.EqualValues(t, 9, seed)
	for _, n := range []int{0, -1, 10_001} {
		require.ErrorContains(t, pick.Draw(n, &seed), "want 1 to 10000")
	}
}
