// Package pick reads from a command line what is to be played, how often and with which
// seeds: what the lab and the programs that use it have in common.
package pick

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
)

// most is how often something may be played.
const most = 10_000

// Runs adds to a command line how often something is played, and the seed of the first
// run: the flags -runs, with its default and its meaning, and -seed. Draw has to follow.
func Runs(f *flag.FlagSet, runs *int, seed *uint64, n int, usage string) {
	f.IntVar(runs, "runs", n, usage)
	f.Uint64Var(seed, "seed", 0, "`seed` of the first run; 0 draws one")
}

// Draw checks what the flags said, and draws the seed where they said none.
func Draw(runs int, seed *uint64) error {
	if runs < 1 || runs > most {
		return fmt.Errorf("-runs %d: want 1 to %d", runs, most)
	}
	if *seed == 0 {
		*seed = 1 + rand.Uint64N(1_000_000) //nolint:gosec // a seed, written with what came of it
	}
	return nil
}

// List is all that there is to be played.
type List[T any] struct {
	Kind string         // what one of them is called
	All  []T            // in order
	Name func(T) string // as on the command line
	Line func(T) string // what one of them is, in a line
}

// Named returns those with the names, in the order of the names; with no name, all.
func (l List[T]) Named(names []string) ([]T, error) {
	if len(names) == 0 {
		return l.All, nil
	}
	var out []T
	for _, name := range names {
		i := slices.IndexFunc(l.All, func(v T) bool { return l.Name(v) == name })
		if i < 0 {
			return nil, fmt.Errorf("no %s %q; there are:\n%s", l.Kind, name, l)
		}
		out = append(out, l.All[i])
	}
	return out, nil
}

// String is a line for each: its name and what it is.
func (l List[T]) String() string {
	wide := 0
	for _, v := range l.All {
		wide = max(wide, len(l.Name(v)))
	}
	var out []byte
	for _, v := range l.All {
		out = fmt.Appendf(out, "  %-*s %s\n", wide, l.Name(v), l.Line(v))
	}
	return string(out)
}
