package vpn

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
)

// viewTime is how long one View may take. That of a large location is slow, and
// not for that the store's end.
const viewTime = 10 * time.Second

// tracker follows one location for all who watch it.
type tracker struct {
	c       *Core
	at      location.ID
	wake    chan struct{} // has room for one: look again
	changed bell
	looks   health

	mu     sync.RWMutex
	h      history
	begun  uint64 // looks that began
	ended  uint64 // the newest of them that ended well
	wrong  uint64 // how often a full look found the Projection wrong
	loaded bool
}

func newTracker(c *Core, at location.ID) *tracker {
	return &tracker{
		c: c, at: at, wake: make(chan struct{}, 1),
		h: history{now: NewProjection(at, c.keys)},
	}
}

// run looks whenever it is woken, and compares everything at each resync.
func (t *tracker) run(ctx context.Context) {
	resync, again := time.NewTicker(t.c.resync), time.NewTimer(0)
	defer resync.Stop()
	defer again.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
			err = t.look(ctx)
		case <-again.C:
			err = t.look(ctx)
		case <-resync.C:
			err = t.compare(ctx)
		}
		if err != nil && ctx.Err() == nil {
			again.Reset(t.c.poll / eager)
			t.c.log.Debug("looking at a location failed, and is tried again", "location", t.at, "err", err)
		}
	}
}

// behind says whether the tracker has not seen a head of its location yet.
func (t *tracker) behind(heads map[location.ID]Revision) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	head, ever := heads[t.at]
	return !t.loaded || ever && head != t.h.now.rev || !ever && t.h.now.rev.Number > 0
}

// look takes in what is new.
func (t *tracker) look(ctx context.Context) error {
	t.mu.Lock()
	t.begun++
	look, from := t.begun, t.h.now.rev
	t.mu.Unlock()
	v, err := t.view(ctx, from)
	if err != nil {
		return err
	}
	return t.enter(v, look)
}

func (t *tracker) view(ctx context.Context, after Revision) (View, error) {
	ctx, cancel := context.WithTimeout(ctx, viewTime)
	defer cancel()
	t.looks.begin(t.c.now())
	v, err := t.c.feed.View(ctx, t.at, after)
	t.looks.end(err, t.c.now())
	if err != nil {
		return v, fmt.Errorf("vpn: look at location %q: %w", t.at, err)
	}
	return v, nil
}

func (t *tracker) enter(v View, look uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.changed.ring()
	before := t.h.now.err
	u, err := t.h.now.Apply(v, t.c.now())
	if err != nil {
		return err
	}
	t.h.record(u)
	if before != nil && t.h.now.err == nil {
		t.h.forget(u.To.Number) // nobody was told what happened meanwhile
	}
	t.loaded, t.ended = true, max(t.ended, look)
	if err := t.h.now.err; err != nil && (before == nil || err.Error() != before.Error()) {
		t.c.log.Warn("a location cannot be read: its gateways keep what they have", "location", t.at, "err", err)
	}
	return nil
}

// compare works everything out anew, and begins again from that if the
// Projection is found wrong.
func (t *tracker) compare(ctx context.Context) error {
	v, err := t.view(ctx, Revision{})
	if err != nil {
		return err
	}
	now := t.c.now()
	want, _ := Project(v, t.c.keys, now)
	t.mu.RLock()
	same, have := t.loaded && v.Rev == t.h.now.rev, t.h.now.draft()
	t.mu.RUnlock()
	switch {
	case !same:
		nudge(t.wake) // there is news, so the two do not compare; the next time will do
		return nil
	case finished(have).Equal(want):
		return nil
	}
	right := NewProjection(t.at, t.c.keys)
	if _, err := right.Apply(v, now); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrong++
	t.h.repair(right)
	t.changed.ring()
	t.c.log.Error("a location was projected wrongly, and is sent anew: please report this as a bug",
		"location", t.at, "rev", v.Rev.String(), "times", t.wrong)
	return nil
}

// position is where a watcher is.
type position struct {
	have       Revision
	generation uint64 // of the tracker's history; 0: came from elsewhere
	look       uint64 // looks from this one on began after the watcher came
}

// attach begins with the revision that a watcher has from elsewhere, and looks
// again, so that what was written before is seen.
func (t *tracker) attach(have Revision) position {
	t.mu.Lock()
	defer t.mu.Unlock()
	nudge(t.wake)
	return position{have: have, look: t.begun + 1}
}

// next returns the Update that leads on from p, and the new position. news is
// false when there is none, or none yet.
func (t *tracker) next(p position) (u gateway.Update, then position, news bool, err error) {
	u, then, news, err = t.draft(p)
	if news {
		u = finish(u) // which takes a while for a large location, and holds up nobody here
	}
	return u, then, news, err
}

func (t *tracker) draft(p position) (u gateway.Update, then position, news bool, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if !t.loaded {
		return u, p, false, nil
	}
	looked := t.ended >= p.look
	if err := t.h.now.err; err != nil {
		if !looked {
			return u, p, false, nil // it may be readable now
		}
		// Unreadable grants nothing, but takes nothing either: this core may lack
		// a key that another has.
		return u, p, false, fmt.Errorf("%w: %w", gateway.ErrStale, err)
	}
	if !looked && p.have.Epoch != t.h.now.rev.Epoch {
		return u, p, false, nil // a newcomer gets what is, not what was: its device may be further than we are
	}
	u, news = t.h.since(p.have, p.generation, !looked)
	if news {
		p = position{have: u.To, generation: t.h.generation}
	}
	return u, p, news, nil
}

// stale says whether looks at the location fail for too long, or hang.
func (t *tracker) stale() error { return t.looks.stale(t.c.now(), t.c.limit, viewTime) }
