package gatewayrpc

import (
	"context"
	"sync"
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
