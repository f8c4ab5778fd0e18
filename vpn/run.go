package vpn

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/location"
)

// eager is how many times as often as at each Poll to look while looks fail.
const eager = 4

// slowly is how often records are read that hints did not announce.
const slowly = time.Second

// Run keeps gateways told until ctx ends, and returns nil then; streams of
// gateways end with it. It does not end for a store that fails, it tries again.
// Calling it twice is an error.
func (c *Core) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.started {
		c.mu.Unlock()
		return errors.New("vpn: Run was called before: make another Core")
	}
	c.started = true
	waiting := make([]*tracker, 0, len(c.trackers))
	for _, t := range c.trackers {
		waiting = append(waiting, t)
	}
	c.mu.Unlock()

	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer close(c.stopped)
	run := func(t *tracker) { tasks.Go(func() { t.run(ctx) }) }
	for _, t := range waiting {
		run(t)
	}
	hinted := make(chan struct{}, 1)
	listed := make(chan struct{}, 1)
	hints := c.feed.Hints(ctx) // before the first look, so that nothing falls between
	tasks.Go(func() {
		for h := range hints {
			c.hinted(h, hinted, listed)
		}
	})
	tasks.Go(func() { c.follow(ctx, hinted) })
	tasks.Go(func() { c.readRecords(ctx, listed) })
	tasks.Go(func() { c.writeAcks(ctx) })
	tasks.Go(func() { c.watchHealth(ctx) })
	tasks.Go(func() { c.watchOut(ctx) })
	tasks.Go(func() { c.witness(ctx) })
	tasks.Go(func() { c.sweepEvents(ctx) })
	tasks.Go(func() { c.sweepOwners(ctx) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-c.start:
			run(t)
		}
	}
}

// hinted turns a hint into looks.
func (c *Core) hinted(h Hint, heads, records chan<- struct{}) {
	switch {
	case h.Location != "":
		c.mu.Lock()
		t := c.trackers[h.Location]
		c.mu.Unlock()
		if t != nil {
			nudge(t.wake)
		}
	case h.Record == "":
		nudge(heads)
		nudge(records)
	case strings.HasPrefix(h.Record, gatewayKey), strings.HasPrefix(h.Record, ackKey) && !strings.HasSuffix(h.Record, "/"+c.id):
		nudge(records)
	}
}

// follow looks at all heads at each Poll, and when hinted, and wakes the
// trackers that are behind.
func (c *Core) follow(ctx context.Context, hinted <-chan struct{}) {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		case <-hinted:
		}
		heads, err := c.heads(ctx)
		if err != nil {
			next.Reset(c.poll / eager)
			continue
		}
		for _, t := range c.tracked() {
			if t.behind(heads) {
				nudge(t.wake)
			}
		}
		next.Reset(c.poll)
	}
}

func (c *Core) heads(ctx context.Context) (map[location.ID]Revision, error) {
	look, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	c.looks.begin(c.now())
	heads, err := c.feed.Heads(look)
	if ctx.Err() == nil {
		c.looks.end(err, c.now())
	}
	return heads, err
}

func (c *Core) tracked() []*tracker {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*tracker, 0, len(c.trackers))
	for _, t := range c.trackers {
		all = append(all, t)
	}
	return all
}

// watchHealth has watchers look whether the store is stale while it may be.
func (c *Core) watchHealth(ctx context.Context) {
	const often = 100 * time.Millisecond
	tick := time.NewTicker(often)
	defer tick.Stop()
	said := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := c.stale()
		if err != nil || c.anyTrackerStale() {
			c.weak.ring()
		}
		if said != (err != nil) {
			if said = err != nil; said {
				c.log.Warn("the store does not answer: gateways keep what they have, or turn to another core", "err", err)
			} else {
				c.log.Info("the store answers again")
			}
		}
	}
}

// stale says whether the store's heads have not been read for too long.
func (c *Core) stale() error { return c.looks.stale(c.now(), c.limit, c.limit) }

func (c *Core) anyTrackerStale() bool {
	for _, t := range c.tracked() {
		if t.stale() != nil {
			return true
		}
	}
	return false
}

// tracker returns the one that follows a location, and starts it if Run runs.
func (c *Core) tracker(at location.ID) *tracker {
	c.mu.Lock()
	t, running := c.trackers[at], c.started
	fresh := t == nil
	if fresh {
		t = newTracker(c, at)
		c.trackers[at] = t
	}
	c.mu.Unlock()
	if fresh && running {
		select {
		case c.start <- t:
		case <-c.stopped:
		}
	}
	return t
}
