//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
	"github.com/holdfastvpn/holdfast/location"
)

// tcpThroughFailover is about connections that began before the gateway was lost. The
// one that takes over has never seen them.
func tcpThroughFailover() Scenario {
	return Scenario{
		Name:     "tcp-through-failover",
		Does:     "a gateway is lost; TCP connections through it go on, those that carry data and those that are quiet",
		Promises: []string{"P13"},
		Limit:    3 * time.Minute,
		Play: func(ctx context.Context, r *Run) error {
			for _, mode := range []location.Inner{location.SNAT, location.Routed} {
				err := with(ctx, r, func(ctx context.Context, w *world) error { return playTCP(ctx, w, mode) })
				if err != nil {
					return fmt.Errorf("%s: %w", mode, err)
				}
			}
			return nil
		},
	}
}

// enough bounds what a connection waits for: WireGuard alone would take 15 s at least,
// and after that TCP waits for another while.
const enough = 45 * time.Second

func playTCP(ctx context.Context, w *world, mode location.Inner) error {
	s, err := w.face(ctx, mode)
	if err != nil {
		return err
	}
	if mode == location.Routed {
		if err := s.routeBack(); err != nil {
			return err
		}
	}
	if err := w.there(ctx); err != nil {
		return err
	}
	var all []*wire
	defer func() {
		for _, c := range all {
			c.close()
		}
	}()
	open := func(server netip.Addr) *wire {
		c, e := s.open(ctx, server, uint16(8000+len(all)))
		err = errors.Join(err, e)
		if e == nil {
			all = append(all, c)
		}
		return c
	}
	both, down := open(scene.Server4), open(scene.Server4)
	quiet := []*wire{open(scene.Server4), open(scene.Server6), open(scene.Server4), open(scene.Server6)}
	closing := open(scene.Server4)
	if err != nil {
		return err
	}
	// Who only listens says nothing by himself, ever: his connections have no keepalives.
	// With snat a gateway that takes over knows of them by what the one before told it.
	flows := []*flow{both.flow("up", both.client, both.server), both.flow("down", both.server, both.client), down.flow("download", down.server, down.client)}
	if err := sleep(ctx, time.Duration(500+w.run.Rand.IntN(1000))*time.Millisecond); err != nil {
		return err
	}
	// There and back, with nobody lost: what the first one knew of the connections when
	// it had them is not true any more.
	for _, to := range []*gw{w.gateways[1], w.gateways[0]} {
		if err := s.shift(to); err != nil {
			return err
		}
		if err := s.goOn(ctx, "moved", flows); err != nil {
			return err
		}
	}
	if err := errors.Join(w.lose(w.gateways[0]), s.shift(w.gateways[1])); err != nil {
		return err
	}
	if err := s.resume(quiet); err != nil {
		return err
	}
	if err := closing.ends(); err != nil {
		return err
	}
	return s.goOn(ctx, "lost", flows)
}

// wire is a connection from the client to the server in the office.
type wire struct{ client, server *net.TCPConn }

// open opens one, and sees that the server hears it from where it should.
func (s *innerSide) open(ctx context.Context, server netip.Addr, port uint16) (*wire, error) {
	l, err := s.scene.Server.ListenTCP(netip.AddrPortFrom(server, port))
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	to := netip.AddrPortFrom(server, port)
	c, err := s.scene.Client.DialTCP(ctx, netip.AddrPort{}, to)
	if err != nil {
		return nil, err
	}
	far, err := l.AcceptTCP()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	w := &wire{c, far}
	from := far.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap() //nolint:forcetypeassert,errcheck // it is one of TCP
	if want := s.seen(server.Is4()); from != want {
		err = fmt.Errorf("the server hears the client from %s, want %s", from, want)
	}
	for _, end := range []*net.TCPConn{c, far} {
		err = errors.Join(err, end.SetKeepAlive(false))
	}
	if err == nil {
		err = errors.Join(said(c, far), said(far, c))
	}
	if err != nil {
		w.close()
	}
	return w, err
}

// seen is the address that the office hears the client from.
func (s *innerSide) seen(v4 bool) netip.Addr {
	switch snat := s.mode == location.SNAT; {
	case snat && v4:
		return inner4
	case snat:
		return inner6
	case v4:
		return laptop4
	default:
		return laptop6
	}
}

func (w *wire) close() { _ = errors.Join(w.client.Close(), w.server.Close()) }

// said writes a few bytes at one end, and wants them at the other.
func said(from, to net.Conn) error {
	const text = "is anybody there?"
	if _, err := from.Write([]byte(text)); err != nil {
		return err
	}
	return heard(to, text)
}

func heard(at net.Conn, text string) error {
	b := make([]byte, len(text))
	if _, err := io.ReadFull(at, b); err != nil {
		return err
	}
	if string(b) != text {
		return fmt.Errorf("heard %q, want %q", b, text)
	}
	return nil
}

// resume has quiet connections go on: in every other one the client speaks first, in
// the others the server does.
func (s *innerSide) resume(quiet []*wire) error {
	const text = "your turn"
	start := time.Now()
	for i, c := range quiet {
		if err := errors.Join(c.client.SetDeadline(start.Add(enough)), c.server.SetDeadline(start.Add(enough))); err != nil {
			return err
		}
		if i >= len(quiet)/2 {
			if _, err := c.server.Write([]byte(text)); err != nil {
				return err
			}
		}
	}
	for i, c := range quiet {
		var err error
		switch first := i < len(quiet)/2; {
		case first:
			err = errors.Join(said(c.client, c.server), said(c.server, c.client))
		default:
			err = errors.Join(heard(c.client, text), said(c.client, c.server))
		}
		if err != nil {
			return fmt.Errorf("quiet connection %d: %w", i+1, err)
		}
	}
	s.run.Metrics.Millis("quiet_ms", time.Since(start))
	return nil
}

// ends closes a connection at the client's end, and wants the server to know.
func (w *wire) ends() error {
	if err := errors.Join(w.client.CloseWrite(), w.server.SetReadDeadline(time.Now().Add(enough))); err != nil {
		return err
	}
	if _, err := w.server.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the server does not learn that a connection has ended: %w", err)
	}
	return nil
}

// flow is data that goes one way, without end.
type flow struct {
	name     string
	from, to *net.TCPConn
	got      atomic.Int64

	mu      sync.Mutex
	last    time.Time
	longest time.Duration // between two arrivals
	err     error
}

// flow begins to send, a little many times a second.
func (w *wire) flow(name string, from, to *net.TCPConn) *flow {
	f := &flow{name: name, from: from, to: to, last: time.Now()}
	go f.send()
	go f.receive()
	return f
}

// part is what a flow sends at once, and where it begins anew.
const part = 8 << 10

// pattern is what a flow sends: no part of it is like the one before.
func pattern(at int64) byte { return byte(at) ^ byte(at/part*7) }

func (f *flow) send() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	b := make([]byte, part)
	for at := int64(0); ; at += part {
		for i := range b {
			b[i] = pattern(at + int64(i))
		}
		if _, err := f.from.Write(b); err != nil {
			f.fail(err)
			return
		}
		<-tick.C
	}
}

func (f *flow) receive() {
	b := make([]byte, part)
	for {
		n, err := f.to.Read(b)
		if err != nil {
			f.fail(err)
			return
		}
		at := f.got.Load()
		for i, c := range b[:n] {
			if c != pattern(at+int64(i)) {
				f.fail(fmt.Errorf("byte %d is another one than was sent", at+int64(i)))
				return
			}
		}
		f.mu.Lock()
		now := time.Now()
		f.longest, f.last = max(f.longest, now.Sub(f.last)), now
		f.mu.Unlock()
		f.got.Add(int64(n))
	}
}

func (f *flow) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

// goOn waits until of each flow much more has arrived, and says how long nothing did
// since it was asked last.
func (s *innerSide) goOn(ctx context.Context, when string, flows []*flow) error {
	for _, f := range flows {
		stalled, err := f.goesOn(ctx)
		if err != nil {
			return fmt.Errorf("%s: the transfer %s does not go on: %w", when, f.name, err)
		}
		s.run.Metrics.Millis("stalled_"+f.name+"_"+when+"_ms", stalled)
		if limit := stall + 8*s.run.Line.trip(); s.run.Line.retries() == 0 && stalled > limit {
			return fmt.Errorf("%s: the transfer %s stood still for %v, want at most %v", when, f.name, stalled, limit)
		}
	}
	return nil
}

// stall is how long a transfer may stand still: TCP tries again after 0.2 s, and each
// time after twice as long, and WireGuard by itself after 5 s at the earliest.
const stall = 4 * time.Second

func (f *flow) goesOn(ctx context.Context) (stalled time.Duration, err error) {
	const more = 32 * part
	want := f.got.Load() + more
	err = eventually(ctx, enough, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.err != nil {
			return f.err
		}
		if got := f.got.Load(); got < want {
			return fmt.Errorf("%d bytes of %d have arrived", got, want)
		}
		return nil
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	stalled, f.longest = f.longest, 0
	return stalled, err
}
