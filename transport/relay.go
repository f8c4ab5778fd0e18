package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// relayName is the server name by which a connection says that its bytes are for
// somebody else.
const relayName = "relay.holdfast.invalid"

const (
	mostName = 255              // bytes of a name
	homeward = 10 * time.Second // how often the straight way is tried while there is another
)

// through connects to whoever has the ID, by way of another who can reach it. What is
// said on the connection is said to that one end to end: who relays sees bytes.
func (e *ends) through(ctx context.Context, by Target, id string) (net.Conn, error) {
	raw, err := e.connect(ctx, by.Addr)
	if err != nil {
		return nil, err
	}
	c := &conn{usage: x509.ExtKeyUsageServerAuth, want: by.Want}
	conf := e.tls(c)
	conf.ServerName = relayName
	c.Conn = tls.Client(raw, conf)
	if err := e.shake(ctx, c); err != nil {
		return nil, fmt.Errorf("transport: connecting to %s: %w", by.Addr, err)
	}
	err = e.asked(ctx, c, id)
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("transport: by way of %s: %w", by.Addr, err)
	}
	return c, nil
}

// asked says whom the bytes are for, and hears whether they can be relayed.
func (e *ends) asked(ctx context.Context, c net.Conn, id string) error {
	defer e.bounded(ctx, c)()
	if len(id) == 0 || len(id) > mostName {
		return fmt.Errorf("%q is no name", id)
	}
	var answer [1]byte
	_, err := c.Write(append([]byte{byte(len(id))}, id...))
	if err == nil {
		_, err = io.ReadFull(c, answer[:])
	}
	if err == nil && answer[0] != 0 {
		err = fmt.Errorf("it does not relay to %s: its log says why", id)
	}
	return err
}

// bounded has what is said before a relay carries anything take no longer than a
// handshake.
func (e *ends) bounded(ctx context.Context, c net.Conn) (over func()) {
	_ = c.SetDeadline(time.Now().Add(e.cfg.Handshake))
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	return func() {
		stop()
		_ = c.SetDeadline(time.Time{})
	}
}

// around connects by way of one of the target's relays.
func (e *ends) around(ctx context.Context, t Target) (net.Conn, error) {
	var all error
	for _, by := range t.Relays() {
		c, err := e.through(ctx, by, t.Want.ID)
		if err == nil {
			e.cfg.Log.InfoContext(ctx, "connected by way of another", "addr", t.Addr, "via", by.Addr)
			return c, nil
		}
		all = errors.Join(all, err)
	}
	return nil, all
}

// straighten ends a relayed connection when the target can be reached again.
func (e *ends) straighten(ctx context.Context, t Target, relayed net.Conn) {
	tick := time.NewTicker(homeward)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if c, err := e.connect(ctx, t.Addr); err == nil {
			_ = c.Close()
			e.cfg.Log.InfoContext(ctx, "the straight way is open again", "addr", t.Addr)
			_ = relayed.Close()
			return
		}
	}
}

// relays are those that go on, by who asked for them and to whom they lead: one each.
type relays struct {
	mu  sync.Mutex
	now map[[2]string]context.CancelCauseFunc
}

// begin ends the one before.
func (r *relays) begin(ctx context.Context, from, to string) (context.Context, func()) {
	key := [2]string{from, to}
	inner, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.now[key]; old != nil {
		old(ErrReplaced)
	}
	if r.now == nil {
		r.now = map[[2]string]context.CancelCauseFunc{}
	}
	r.now[key] = cancel
	return inner, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if context.Cause(inner) != ErrReplaced { //nolint:errorlint // it is what was put in
			delete(r.now, key)
		}
		cancel(nil)
	}
}

// relay carries bytes for somebody who was let in, to whom Config.Relay knows, until
// either end hangs up.
func (e *ends) relay(ctx context.Context, c *conn) error {
	defer func() { _ = c.Close() }()
	id, err := e.name(ctx, c)
	if err != nil {
		return fmt.Errorf("transport: relay for %s: %w", c.verified.Identity, err)
	}
	inner, end := e.relays.begin(ctx, c.verified.Identity.String(), id)
	defer end()
	to, err := e.onward(inner, id)
	if err != nil {
		_, _ = c.Write([]byte{1})
		return fmt.Errorf("transport: relay for %s to %q: %w", c.verified.Identity, id, err)
	}
	if _, err := c.Write([]byte{0}); err != nil {
		_ = to.Close()
		return fmt.Errorf("transport: relay for %s to %q: %w", c.verified.Identity, id, err)
	}
	e.cfg.Log.InfoContext(ctx, "relaying", "peer", c.verified.Identity.String(), "to", id)
	inner, cancel := context.WithCancelCause(inner)
	defer cancel(nil)
	var watches sync.WaitGroup
	watches.Go(func() { e.watch(inner, c, cancel) }) // who is revoked is off
	splice(inner, c, to)
	cancel(nil)
	watches.Wait()
	return nil
}

// name reads for whom the bytes are.
func (e *ends) name(ctx context.Context, c net.Conn) (string, error) {
	defer e.bounded(ctx, c)()
	var n [1]byte
	if _, err := io.ReadFull(c, n[:]); err != nil {
		return "", err
	}
	id := make([]byte, n[0])
	_, err := io.ReadFull(c, id)
	return string(id), err
}

func (e *ends) onward(ctx context.Context, id string) (net.Conn, error) {
	if e.cfg.Relay == nil {
		return nil, errors.New("this end relays for nobody")
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Handshake)
	defer cancel()
	return e.cfg.Relay(ctx, id)
}

// splice carries bytes both ways until ctx ends or one end hangs up. Who reads slowly
// is sent no more: nothing is kept here.
func splice(ctx context.Context, a, b net.Conn) {
	hangUp := func() { _ = a.Close(); _ = b.Close() }
	stop := context.AfterFunc(ctx, hangUp)
	defer stop()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			hangUp()
		})
	}
	wg.Wait()
}
