package vpn

import (
	"context"
	"sync/atomic"

	"github.com/holdfastvpn/holdfast/gateway"
)

// listing reads all registrations, one list at a time, so that an older one never
// comes after a newer one. Who waits meanwhile shares the next.
type listing struct {
	turn  chan struct{} // has room for the one who reads
	begun atomic.Uint64 // lists
	done  uint64        // the last of them that came to an end; guarded by turn
	err   error         // why the registry does not have that one; guarded by turn
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
	if l.done >= next {
		return l.err
	}
	n := l.begun.Add(1)
	version := c.registry.begin()
	rows, err := c.gateways.all(ctx)
	if err != nil && ctx.Err() != nil {
		return err // it is this caller who did not wait: the others read by themselves
	}
	if l.done, l.err = n, err; err != nil {
		return err
	}
	c.noteBad(rows)
	c.registry.replace(rows, version)
	return nil
}

// noteBad logs which rows cannot be read that could be before.
func (c *Core) noteBad(rows map[gateway.ID]gatewayRow) {
	for id, row := range rows {
		if old, _ := c.registry.get(id); row.bad != nil && old.bad == nil {
			c.log.Warn("the row of a gateway cannot be read, and this core leaves it to others: was it written by a newer core?",
				"gateway", string(id), "err", row.bad)
		}
	}
}
