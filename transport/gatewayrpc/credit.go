package gatewayrpc

import (
	"context"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc/internal/pb"
)

const (
	// window is how many updates a client takes at a time: one to work on, and one on
	// its way meanwhile.
	window = 2
	// maxCredit is how many a handler would ever send.
	maxCredit = 64
)

// credit counts how many updates may be sent.
type credit struct {
	mu   sync.Mutex
	left uint32
	more chan struct{}
}

func newCredit(n uint32) *credit {
	return &credit{left: min(n, maxCredit), more: make(chan struct{}, 1)}
}

func (c *credit) add(n uint32) {
	c.mu.Lock()
	c.left = min(c.left+n, maxCredit)
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// take waits until one more may be sent. It is false when ctx ends.
func (c *credit) take(ctx context.Context) bool {
	for ctx.Err() == nil {
		c.mu.Lock()
		ok := c.left > 0
		if ok {
			c.left--
		}
		c.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-c.more:
		case <-ctx.Done():
		}
	}
	return false
}

// lags has the Lag of each gateway that reports. The zero value has none.
type lags struct {
	mu sync.Mutex
	of map[gateway.ID]*lagging
}

// lagging is the latest clock of a gateway.
type lagging struct {
	clock [16]byte
	lag   Lag
}

func (l *lags) observe(id gateway.ID, r *pb.Reporter, received time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[gateway.ID]*lagging{}
	}
	clock := [16]byte(r.GetClock()) // its length was checked
	g := l.of[id]
	if g == nil || g.clock != clock {
		g = &lagging{clock: clock}
		l.of[id] = g
	}
	return g.lag.Observe(time.Duration(r.GetSent())*time.Microsecond, received)
}
