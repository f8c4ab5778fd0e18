package vpn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
)

// link is a gateway's place in a location.
type link struct {
	gateway  gateway.ID
	location location.ID
}

// links are the Watches of this core. The zero value has none.
type links struct {
	mu   sync.Mutex
	live map[link]*watcher
}

type watcher struct {
	since    time.Time
	replaced chan struct{}
}

// open makes w the Watch of a link, and ends the one before.
func (l *links) open(at link, now time.Time) *watcher {
	w := &watcher{since: now, replaced: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live == nil {
		l.live = map[link]*watcher{}
	}
	if old := l.live[at]; old != nil {
		close(old.replaced)
	}
	l.live[at] = w
	return w
}

func (l *links) close(at link, w *watcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live[at] == w {
		delete(l.live, at)
	}
}

// since returns when the Watch of a link began.
func (l *links) since(at link) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w, live := l.live[at]
	if !live {
		return time.Time{}, false
	}
	return w.since, true
}

// all returns the links that have a Watch.
func (l *links) all() []link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.live))
}

// at returns the links of a location that have a Watch.
func (l *links) at(at location.ID) []link {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []link
	for k := range l.live {
		if k.location == at {
			all = append(all, k)
		}
	}
	return all
}

// Assigned yields the locations that a gateway is assigned to, in order, with the
// other gateways that serve them, and again after each change: see
// gateway.ControlPlane. It ends with ctx, with ErrUnknown, ErrRevoked or ErrStale,
// or when Run returns.
func (c *Core) Assigned(ctx context.Context, id gateway.ID) iter.Seq2[[]gateway.Assignment, error] {
	return func(yield func([]gateway.Assignment, error) bool) {
		err := c.list(ctx) // a stream does not begin on old knowledge, or without siblings
		if err != nil {
			err = fmt.Errorf("%w: %s", gateway.ErrStale, err.Error()) // not %w: its deadline is not the caller's
		}
		for last := []gateway.Assignment(nil); ; {
			changed, weak := c.registry.changed.wait(), c.weak.wait()
			row, now, gone := c.registry.assigned(id)
			switch {
			case err != nil:
			case c.hasStopped():
				err = errStopped
			case gone != nil:
				err = gone
			case row.bad != nil:
				err = row.stale()
			case row.Removed, row.Disabled:
				err = gateway.ErrRevoked
			default:
				err = c.stale()
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("vpn: assignments of gateway %q: %w", id, err))
				return
			}
			if last == nil || !slices.EqualFunc(now, last, gateway.Assignment.Equal) {
				last = make([]gateway.Assignment, len(now))
				for i, a := range now {
					last[i] = a.Clone() // what is yielded is the receiver's
				}
				if !yield(now, nil) {
					return
				}
				continue
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			case <-weak:
			case <-c.stopped:
			}
		}
	}
}

// Watch yields what changes in a location for one of its gateways: see
// gateway.ControlPlane. It ends with ctx, with ErrUnknown, ErrRevoked,
// ErrReplaced, ErrStale or ErrUnassigned, or when Run returns; before Run it
// waits.
func (c *Core) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have Revision) iter.Seq2[gateway.Update, error] {
	return func(yield func(gateway.Update, error) bool) {
		err := c.watch(ctx, link{id, location.ID(at)}, have, func(u gateway.Update) bool { return yield(u, nil) })
		if err != nil && ctx.Err() == nil {
			yield(gateway.Update{}, fmt.Errorf("vpn: watch of gateway %q at location %q: %w", id, at, err))
		}
	}
}

// watch tells until ctx ends, tell says false, or there is a reason not to.
func (c *Core) watch(ctx context.Context, at link, have Revision, tell func(gateway.Update) bool) error {
	if err := c.read(ctx, at.gateway); err != nil {
		return err
	}
	if err := c.serves(at); err != nil {
		return err
	}
	w := c.links.open(at, c.now())
	defer c.links.close(at, w)
	t := c.tracker(at.location)
	p := t.attach(have)
	for {
		changed, assigned, weak := t.changed.wait(), c.registry.changed.wait(), c.weak.wait()
		if err := c.ended(at, w, t); err != nil {
			return err
		}
		u, then, news, err := t.next(p)
		switch {
		case err != nil:
			return err
		case news && !tell(u):
			return nil
		case news:
			p = then
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-assigned:
		case <-weak:
		case <-w.replaced:
		case <-c.stopped:
		}
	}
}

// ended says why a Watch has to end: nil, it has not.
func (c *Core) ended(at link, w *watcher, t *tracker) error {
	select {
	case <-w.replaced:
		return gateway.ErrReplaced
	default:
	}
	if c.hasStopped() {
		return errStopped
	}
	if err := c.serves(at); err != nil {
		return err
	}
	if err := c.stale(); err != nil {
		return err
	}
	return t.stale()
}

// hasStopped says whether Run has returned, or is about to.
func (c *Core) hasStopped() bool {
	select {
	case <-c.stopped:
		return true
	default:
		return false
	}
}

// serves says whether a gateway is to serve a location, as far as is known.
func (c *Core) serves(at link) error {
	row, err := c.registry.get(at.gateway)
	if err != nil {
		return err
	}
	return row.serves(at.location)
}

// read reads a gateway's row, so that a stream does not begin on old knowledge.
func (c *Core) read(ctx context.Context, id gateway.ID) error {
	row, err := c.gateways.load(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return gateway.ErrUnknown
	case err != nil:
		return fmt.Errorf("%w: %s", gateway.ErrStale, err.Error()) // not %w: its deadline is not the caller's
	}
	c.registry.put(row)
	return nil
}
