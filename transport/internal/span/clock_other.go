//go:build !linux

package span

import "time"

// sinceBoot stands still with the machine where nothing better is known: then ages of
// reports that a sleep interrupted are too small by as much.
func sinceBoot() func() time.Duration {
	began := time.Now()
	return func() time.Duration { return time.Since(began) }
}
