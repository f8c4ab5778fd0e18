package sim

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/kvstore"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
)

var (
	errDisk = errors.New("sim: the database refuses")
	errLost = errors.New("sim: the connection to the database was lost before it answered")
	errDead = errors.New("sim: this process was killed")
)

// ill is what can be wrong with a way to the database. The zero value is well.
type ill struct {
	fails    bool          // nothing works
	loses    bool          // writes are done, and the answer is lost
	hangs    bool          // nothing is answered
	stubborn bool          // and whoever stops waiting is let go late
	slow     time.Duration // each way
}

// latency is that of a database that is well, each way.
const latency = time.Millisecond

// conn is the way of one process to the database, until it dies.
type conn struct {
	db   kvstore.DB
	dead chan struct{}
	die  func() // may be called again

	mu      sync.Mutex
	ill     ill
	changed chan struct{}
}

func newConn(db kvstore.DB) *conn {
	c := &conn{db: db, dead: make(chan struct{}), changed: make(chan struct{})}
	c.die = sync.OnceFunc(func() { close(c.dead) })
	return c
}

func (c *conn) set(now ill) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ill = now
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *conn) now() (ill, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ill, c.changed
}

// cross goes one way.
func (c *conn) cross(ctx context.Context) (ill, error) {
	for waited := false; ; {
		now, changed := c.now()
		var wait <-chan time.Time
		done := ctx.Done()
		switch {
		case now.hangs:
			if now.stubborn {
				late, cancel := tardy(ctx)
				defer cancel()
				done = late.Done()
			}
		case waited:
			if now.fails {
				return now, errDisk
			}
			return now, ctx.Err()
		default:
			t := time.NewTimer(latency + now.slow)
			defer t.Stop()
			wait, changed, waited = t.C, nil, true
		}
		select {
		case <-changed:
		case <-wait:
		case <-done:
			return now, ctx.Err()
		case <-c.dead:
			return now, errDead
		}
	}
}

// tardy returns a context that ends a while after ctx, as a driver does that
// notices late. A link ends nothing before the core behind it has: across a real
// one nobody would have to wait so long.
func tardy(ctx context.Context) (context.Context, context.CancelFunc) {
	const late = 3 * time.Second
	after, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(late, cancel)
	})
	return after, func() { stop(); cancel() }
}

// View implements kvstore.DB.
func (c *conn) View(ctx context.Context, do func(kvstore.Tx) error) error {
	if _, err := c.cross(ctx); err != nil {
		return err
	}
	err := c.db.View(ctx, do)
	if _, lost := c.cross(ctx); lost != nil {
		return lost
	}
	return err
}

// Update implements kvstore.DB. An error of the way back does not say whether the
// write is done.
func (c *conn) Update(ctx context.Context, do func(kvstore.Tx) error) error {
	if _, err := c.cross(ctx); err != nil {
		return err
	}
	err := c.db.Update(ctx, do)
	now, lost := c.cross(ctx)
	switch {
	case lost != nil:
		return lost
	case now.loses && err == nil:
		return errLost
	}
	return err
}

// hub passes hints from each core to the others, but for those that are deaf.
type hub struct {
	mu   sync.Mutex
	ears map[chan vpn.Hint]*ears
}

// ears say whether a core hears hints.
type ears struct {
	mu   sync.Mutex
	deaf bool
}

func (e *ears) set(deaf bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deaf = deaf
}

func (e *ears) hear() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.deaf
}

// give passes a hint on; who has not read the last ones does not get it.
func (h *hub) give(hint vpn.Hint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c, e := range h.ears {
		if !e.hear() {
			continue
		}
		select {
		case c <- hint:
		default:
		}
	}
}

func (h *hub) take(ctx context.Context, e *ears) iter.Seq[vpn.Hint] {
	c := make(chan vpn.Hint, 16)
	h.mu.Lock()
	h.ears[c] = e
	h.mu.Unlock()
	return func(yield func(vpn.Hint) bool) {
		defer func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.ears, c)
		}()
		for {
			select {
			case <-ctx.Done():
				return
			case hint := <-c:
				if !yield(hint) {
					return
				}
			}
		}
	}
}

// backend is the database as one core has it: its own way there, and hints of all.
type backend struct {
	*kvstore.Stores

	hub  *hub
	ears *ears
}

// Feed implements vpn.Stores.
func (b backend) Feed() vpn.Feed { return feed{b.Stores.Feed(), b} }

type feed struct {
	vpn.Feed

	b backend
}

// Hints implements vpn.Feed.
func (f feed) Hints(ctx context.Context) iter.Seq[vpn.Hint] { return f.b.hub.take(ctx, f.b.ears) }

// newBackend begins to pass on the hints of a core's own writes, until ctx ends.
func newBackend(ctx context.Context, wg *sync.WaitGroup, db kvstore.DB, h *hub, e *ears) backend {
	b := backend{kvstore.New(db), h, e}
	own := b.Stores.Feed().Hints(ctx)
	wg.Go(func() {
		for hint := range own {
			h.give(hint)
		}
	})
	return b
}

func newDatabase() kvstore.DB { return memstore.NewDB() }
