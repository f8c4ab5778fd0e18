package gatewayrpc

import (
	"time"

	"github.com/holdfastvpn/holdfast/transport/internal/span"
)

// Clock is a clock for spans, which goes on while the machine sleeps, and its name.
// One for a process is enough, for all its wires: who hears from it on several links, or
// again, knows it.
type Clock = span.Clock

// NewClock returns a clock with a random name, made of a function that tells the time
// since some moment; nil is the machine's own (on Linux CLOCK_BOOTTIME).
func NewClock(read func() time.Duration) *Clock { return span.NewClock(read) }

// Lag works out how much longer than others a message was under way, by what the clocks
// of its sender and its receiver showed. The zero value has seen no message. It is not
// safe for concurrent use.
type Lag = span.Lag
