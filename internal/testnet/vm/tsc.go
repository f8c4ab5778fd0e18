//go:build linux

package vm

import "time"

// A machine with our clock takes the counter of cycles of this processor for one.
// To find out how fast it counts, its kernel would look at other clocks for some
// milliseconds, and be wrong by any factor when this machine is busy just then.
// So we find out, over a longer time and with the means to do it again, and tell.

// moment is a reading of the counter, and when it was.
type moment struct {
	ticks uint64
	at    time.Time
}

// now reads the counter, as close to the clock as can be had in a few tries.
func now() moment {
	var best moment
	gap := time.Hour
	for range 32 {
		before := time.Now()
		n := ticks()
		if g := time.Since(before); g < gap {
			best, gap = moment{ticks: n, at: before.Add(g / 2)}, g
		}
	}
	return best
}

// kilohertz is how fast the counter counts, seen over a while; 0 if it is not
// fit to be a clock.
func kilohertz(a, b moment) uint64 {
	passed := b.at.Sub(a.at)
	if passed < 20*time.Millisecond || b.ticks <= a.ticks {
		return 0
	}
	khz := uint64(float64(b.ticks-a.ticks) / passed.Seconds() / 1000)
	if khz < 100_000 || khz > 20_000_000 {
		return 0
	}
	return khz
}
