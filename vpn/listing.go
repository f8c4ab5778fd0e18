package vpn

import (
	"context"
	"sync/atomic"
)

// listing reads all registrations, one list at a time, so that an older one never
// comes after a newer one. Who waits meanwhile shares the next.
type listing struct {
	turn  chan struct{} // has room for the one who reads
	begun atomic.Uint64 // lists
	taken uint64        // the last of them that the registry has; guarded by turn
}

func newListing() listing { return listing{turn: make(chan struct{}, 1)} }

// list takes in all registrations as they are now or later.
func (c *Core) list(ctx context.Context) error {
	l := &c.listing
	next := l.begun.Load() + 1 // those before may have been read before now
	select {
	case <-ctx.Done():
		return ctx.Err()
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	}
	if l.taken >= next {
		return nil
	}
	n := l.begun.Add(1)
	version := c.registry.begin()
	rows, err := c.gateways.all(ctx)
	if err != nil {
		return err
	}
	c.registry.replace(rows, version)
	l.taken = n
	return nil
}
