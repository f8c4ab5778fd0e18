package gatewayrpc

import (
	"crypto/rand"
	"time"
)

// Clock is a clock for spans, which goes on while the machine sleeps, and its name.
// One for a process is enough: who hears from it on several links, or again, knows it.
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

// now is never negative, and never too large for the wire.
func (c *Clock) now() time.Duration { return min(max(c.read(), 0), maxSent) }
