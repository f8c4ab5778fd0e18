// Package span has what makes instants of ages between machines whose clocks have
// nothing to do with each other: a clock for spans with a name, and how much longer than
// others a message was under way.
package span

import (
	"crypto/rand"
	"time"
)

// MaxSent is the largest that a Clock shows, so that it fits on the wire in
// microseconds.
const MaxSent = 4e15 * time.Microsecond / time.Nanosecond

// Clock is a clock for spans, which goes on while the machine sleeps, and its name.
// One for a process is enough: who hears from it on several links, or again, knows it.
// It is safe for concurrent use if what it was made of is.
type Clock struct {
	name [16]byte
	read func() time.Duration
}

// NewClock returns a clock with a random name, made of a function that tells the time
// since some moment; nil is the machine's own (on Linux CLOCK_BOOTTIME).
func NewClock(read func() time.Duration) *Clock {
	c := &Clock{read: read}
	if read == nil {
		c.read = sinceBoot()
	}
	_, _ = rand.Read(c.name[:]) // never fails
	return c
}

// Name tells this clock from all others.
func (c *Clock) Name() [16]byte { return c.name }

// Now is what the clock shows: never negative, and never too large for the wire.
func (c *Clock) Now() time.Duration { return min(max(c.read(), 0), MaxSent) }
