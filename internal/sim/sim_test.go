package sim_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/holdfastvpn/holdfast/internal/sim"
)

// Flags, after the package: go test ./internal/sim -run TestSim -seeds 5000.
var (
	seeds = flag.Int("seeds", 20, "how many histories TestSim plays")
	first = flag.Uint64("first", 1, "the seed of the first of them")
	steps = flag.Int("steps", 0, "how many things happen in each; 0 means the default")
	echo  = flag.Bool("history", false, "show each history as it happens")
)

// play plays one history in a bubble.
func play(t *testing.T, c sim.Config) (r sim.Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var err error
		if r, err = sim.Run(c); err != nil {
			t.Error(err)
		}
	})
	return r
}

// The whole system, under random faults.
//
// proves P1, P2, P8, P9, P10, P13 and P14: see the package's comment.
func TestSim(t *testing.T) {
	t.Parallel()
	n := *seeds
	if testing.Short() {
		n = min(n, 6)
	}
	for n := range n {
		seed := *first + uint64(n)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			c := sim.Config{Seed: seed, Steps: *steps, Cores: 2 + int(seed%2)}
			if *echo {
				c.Echo = func(line string) { t.Log(line) }
			}
			r := play(t, c)
			if *echo {
				t.Logf("%v of virtual time, %+v", r.Virtual, r.Count)
			}
			if len(r.Violations) > 0 {
				tell(t, seed, r)
			}
		})
	}
}

// tell says what was wrong, and how to see it again.
func tell(t *testing.T, seed uint64, r sim.Result) {
	t.Helper()
	const most = 200
	h := r.History
	if len(h) > most {
		h = h[len(h)-most:]
	}
	t.Errorf("seed %d: %v\nagain: go test ./internal/sim -run TestSim -seeds 1 -first %d -history -v -count 3\n%s",
		seed, r.Violations[0], seed, strings.Join(h, "\n"))
}
