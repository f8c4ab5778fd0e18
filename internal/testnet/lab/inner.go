//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
	"github.com/holdfastvpn/holdfast/location"
)

// The addresses towards the office that move with the public ones, and the first that
// there are to give to a client. Go has no constants of these types.
//
//nolint:gochecknoglobals // see above
var (
	inner4   = netip.MustParseAddr("10.99.0.10")
	inner6   = netip.MustParseAddr("fd99::10")
	laptop4  = netip.MustParseAddr("10.20.0.2")
	laptop6  = netip.MustParseAddr("fd20::2")
	tunnels4 = netip.MustParsePrefix("10.20.0.0/16")
	tunnels6 = netip.MustParsePrefix("fd20::/64")
)

// innerSide is what the office sees of the gateways: addresses that move.
type innerSide struct {
	*world

	mode  location.Inner
	inner *testnet.Floating
}

// face gives the location an inner side of a mode, and the office routes to it where
// peers keep their addresses.
func (w *world) face(ctx context.Context, mode location.Inner) (*innerSide, error) {
	s := &innerSide{world: w, mode: mode, inner: w.scene.Net.Floating(inner4, inner6)}
	var err error
	w.office, err = w.core.Locations().Update(ctx, w.office.ID, func(l *location.Location) error {
		l.Floating, l.Inner = []netip.Addr{scene.Public4, scene.Public6}, mode
		l.InnerFloating = []netip.Addr{inner4, inner6}
		return nil
	})
	return s, errors.Join(err, s.inner.Move(w.gateways[0].host, scene.LAN))
}

// there brings the client up, carried by the first gateway.
func (w *world) there(ctx context.Context) error {
	p, err := w.connect(ctx, 20*time.Millisecond)
	if err != nil {
		return err
	}
	return errors.Join(w.carriedBy(ctx, w.gateways[0]), p.Close())
}

// routeBack has the office route the peers' networks to the inner addresses.
func (s *innerSide) routeBack() error {
	return errors.Join(
		s.scene.Server.Route(testnet.Route{To: tunnels4, Via: inner4}),
		s.scene.Server.Route(testnet.Route{To: tunnels6, Via: inner6}),
	)
}

// shift moves all addresses to a gateway, those on one side a moment before those on
// the other: which, the seed says.
func (s *innerSide) shift(to *gw) error {
	moves := []func() error{
		func() error { return s.scene.Public.Move(to.host, scene.WAN) },
		func() error { return s.inner.Move(to.host, scene.LAN) },
	}
	first := s.run.Rand.IntN(len(moves))
	return errors.Join(moves[first](), moves[1-first]())
}

// innerInitiated is about hosts of the office that speak first: to a client that says
// nothing, and to one whose gateway has just been lost.
func innerInitiated() Scenario {
	return Scenario{
		Name:     "inner-initiated",
		Does:     "a host of the office opens connections to an idle client, before and after a gateway is lost",
		Promises: []string{"P13"},
		Limit:    2 * time.Minute,
		Play: func(ctx context.Context, r *Run) error {
			for _, mode := range []location.Inner{location.Routed, location.SNAT} {
				err := with(ctx, r, func(ctx context.Context, w *world) error { return playInnerInitiated(ctx, w, mode) })
				if err != nil {
					return fmt.Errorf("%s: %w", mode, err)
				}
			}
			return nil
		},
	}
}

func playInnerInitiated(ctx context.Context, w *world, mode location.Inner) error {
	s, err := w.face(ctx, mode)
	if err != nil {
		return err
	}
	if err := s.routeBack(); err != nil {
		return err
	}
	if err := w.there(ctx); err != nil {
		return err
	}
	for _, a := range []netip.Addr{laptop4, laptop6} {
		l, err := w.scene.Client.ListenTCP(netip.AddrPortFrom(a, scene.EchoPort))
		if err != nil {
			return err
		}
		go answer(l)
	}
	idle := func() error { // the client says nothing but its keepalives
		return sleep(ctx, time.Duration(500+w.run.Rand.IntN(1500))*time.Millisecond)
	}
	if err := errors.Join(idle(), s.reach(ctx, "idle")); err != nil {
		return err
	}
	if err := errors.Join(idle(), w.lose(w.gateways[0]), s.shift(w.gateways[1]), s.reach(ctx, "moved")); err != nil {
		return err
	}
	return errors.Join(idle(), s.reach(ctx, "later"))
}

// reach opens a connection from the office to the client, by each family, and wants
// something back that it said.
func (s *innerSide) reach(ctx context.Context, when string) error {
	for _, a := range []netip.Addr{laptop4, laptop6} {
		start := time.Now()
		c, err := s.dial(ctx, netip.AddrPortFrom(a, scene.EchoPort))
		if err != nil {
			return fmt.Errorf("%s: the office does not reach the client: %w", when, err)
		}
		if err := errors.Join(c.SetDeadline(start.Add(enough)), said(c, c), c.Close()); err != nil {
			return fmt.Errorf("%s: from the office to the client at %s: %w", when, a, err)
		}
		took := time.Since(start)
		s.run.Metrics.Millis("reached_"+when+"_ms", took)
		if limit := s.run.proven() + again + 4*s.run.Line.trip(); s.run.Line.retries() == 0 && took > limit {
			return fmt.Errorf("%s: the office reaches the client at %s after %v, want at most %v", when, a, took, limit)
		}
	}
	return nil
}

// again is how soon a host of the office tries once more. Until the gateway knows where
// the client is, which takes it some milliseconds, it refuses or loses what comes; and
// TCP itself would repeat a SYN after a second only.
const again = 50 * time.Millisecond

// dial connects to the client, and tries until it can.
func (s *innerSide) dial(ctx context.Context, to netip.AddrPort) (c *net.TCPConn, err error) {
	err = eventually(ctx, enough, func() error {
		try, cancel := context.WithTimeout(ctx, again+2*s.run.Line.trip())
		defer cancel()
		c, err = s.scene.Server.DialTCP(try, netip.AddrPort{}, to)
		return err
	})
	return c, err
}

// answer sends back what comes by the connections of l, until l is closed.
func answer(l *net.TCPListener) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = c.Close() }()
			b := make([]byte, 1<<10)
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				if _, err := c.Write(b[:n]); err != nil {
					return
				}
			}
		}()
	}
}
