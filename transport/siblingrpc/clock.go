package siblingrpc

import (
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/transport/internal/span"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc/internal/pb"
)

// Clock is a clock for spans, which goes on while the machine sleeps, and its name. It
// is the same type as gatewayrpc.Clock, and one for a process is enough.
type Clock = span.Clock

// NewClock returns a clock with a random name, made of a function that tells the time
// since some moment; nil is the machine's own (on Linux CLOCK_BOOTTIME).
func NewClock(read func() time.Duration) *Clock { return span.NewClock(read) }

// lagging works out how long notes of one sibling were under way. It outlives
// conversations, since the first note of one has nothing to be compared with. The zero
// value has seen none. It is safe for concurrent use.
type lagging struct {
	mu    sync.Mutex
	clock [16]byte
	lag   span.Lag
}

// observe takes in when a note was sent and when it came, and returns how much longer
// than others it was under way.
func (l *lagging) observe(m *pb.Sent, received time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	clock := [16]byte(m.GetClock()) // its length was checked
	if clock != l.clock {
		l.clock, l.lag = clock, span.Lag{}
	}
	return l.lag.Observe(time.Duration(m.GetAt())*time.Microsecond, received)
}
