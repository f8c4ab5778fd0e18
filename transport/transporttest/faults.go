// Package transporttest is for tests of what runs over links: connections that break on
// request ([Faults]), a network in memory ([Network]), records in memory ([Records]), and
// a whole deployment with its authority ([New]).
package transporttest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// ErrCut is what connections fail with that were cut.
var ErrCut = errors.New("transporttest: the connection was cut")

// Faults breaks the connections that it wraps, all at once. The zero Faults lets all
// pass. It is safe for concurrent use, and works in a bubble of testing/synctest.
type Faults struct {
	mu      sync.Mutex
	changed chan struct{}
	now     state
	conns   map[*faulty]bool
}

type state int

const (
	healthy state = iota
	stalled       // nothing passes, and writers block
	hole          // nothing passes, and writers do not notice
	cut           // connections are reset, new ones refused
)

// Cut resets all connections and refuses new ones until Heal.
func (f *Faults) Cut() { f.set(cut) }

// Stall lets nothing pass until Heal, and loses nothing: as when a machine is suspended.
func (f *Faults) Stall() { f.set(stalled) }

// BlackHole loses everything that is sent from now on, and nobody is told: as when a
// firewall drops. Heal resets the connections that lost something.
func (f *Faults) BlackHole() { f.set(hole) }

// Heal ends what the others did.
func (f *Faults) Heal() { f.set(healthy) }

func (f *Faults) set(s state) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = s
	if f.changed != nil {
		close(f.changed)
	}
	f.changed = make(chan struct{})
	for c := range f.conns {
		if s == cut || s == healthy && c.lost {
			_ = c.Conn.Close()
		}
	}
}

func (f *Faults) look() (state, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.now, f.changed
}

// Conn wraps a connection. One end is enough.
func (f *Faults) Conn(c net.Conn) net.Conn {
	w := &faulty{Conn: c, f: f, done: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns == nil {
		f.conns = map[*faulty]bool{}
	}
	f.conns[w] = true
	if f.now == cut {
		_ = c.Close()
	}
	return w
}

// Dialer wraps what transport.Config.Dialer takes; nil is TCP. Dialling fails while all
// is cut, and waits while nothing passes.
func (f *Faults) Dialer(dial func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	if dial == nil {
		dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	return func(ctx context.Context, addr string) (net.Conn, error) {
		for {
			now, changed := f.look()
			switch now {
			case stalled, hole:
			case cut:
				return nil, ErrCut
			case healthy:
				c, err := dial(ctx, addr)
				if err != nil {
					return nil, err
				}
				return f.Conn(c), nil
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-changed:
			}
		}
	}
}

type faulty struct {
	net.Conn

	f    *Faults
	done chan struct{}
	once sync.Once
	held []byte // what came while nothing passed; the reader's
	lost bool   // something, or to be closed; under f.mu

	mu          sync.Mutex
	read, write time.Time
}

// pass waits until something may pass, or for ever in a black hole.
func (c *faulty) pass(deadline func() time.Time) error {
	for {
		now, changed := c.f.look()
		switch now {
		case stalled, hole:
		case healthy:
			return nil
		case cut:
			return ErrCut
		}
		// A deadline may be moved while we wait: look again now and then.
		t := time.NewTimer(50 * time.Millisecond)
		select {
		case <-c.done:
			t.Stop()
			return net.ErrClosed
		case <-changed:
			t.Stop()
		case <-t.C:
			if d := deadline(); !d.IsZero() && !time.Now().Before(d) {
				return os.ErrDeadlineExceeded
			}
		}
	}
}

func (c *faulty) Read(b []byte) (int, error) {
	n, err := len(c.held), error(nil)
	if n > 0 {
		n = copy(b, c.held)
	} else {
		n, err = c.Conn.Read(b)
	}
	if passErr := c.pass(func() time.Time { return c.deadline(&c.read) }); passErr != nil {
		if len(c.held) == 0 {
			c.held = bytes.Clone(b[:n])
		}
		return 0, passErr
	}
	c.held = c.held[min(n, len(c.held)):]
	if c.hasLost() {
		return 0, ErrCut
	}
	return n, err
}

func (c *faulty) hasLost() bool {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	return c.lost
}

func (c *faulty) Write(b []byte) (int, error) {
	c.f.mu.Lock()
	if c.f.now == hole {
		c.lost = true
		c.f.mu.Unlock()
		return len(b), nil
	}
	c.f.mu.Unlock()
	if err := c.pass(func() time.Time { return c.deadline(&c.write) }); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *faulty) deadline(of *time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *of
}

func (c *faulty) note(read, write bool, t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if read {
		c.read = t
	}
	if write {
		c.write = t
	}
}

func (c *faulty) SetDeadline(t time.Time) error {
	c.note(true, true, t)
	return c.Conn.SetDeadline(t)
}

func (c *faulty) SetReadDeadline(t time.Time) error {
	c.note(true, false, t)
	return c.Conn.SetReadDeadline(t)
}

func (c *faulty) SetWriteDeadline(t time.Time) error {
	c.note(false, true, t)
	return c.Conn.SetWriteDeadline(t)
}

// Close hides from the other end while nothing passes: Heal and Cut close then.
func (c *faulty) Close() error {
	c.once.Do(func() { close(c.done) })
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if c.f.now == stalled || c.f.now == hole {
		c.lost = true
		return c.Conn.SetDeadline(time.Unix(1, 0)) // our own reader has to hear of it
	}
	delete(c.f.conns, c)
	return c.Conn.Close()
}
