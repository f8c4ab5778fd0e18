//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
	"github.com/holdfastvpn/holdfast/location"
)

// proven is how long a takeover may take beyond the round trips on a network that loses
// nothing: 100 ms by a clock that nobody disturbs (P13). By the wall clock of a machine
// that others use, too, it only has to be the gateway's doing, and not WireGuard's own,
// which tries again after 5 s at the earliest; figures of many runs tell the rest.
func (r *Run) proven() time.Duration {
	if r.Clock == clockWall {
		return 3 * time.Second
	}
	return provenMost
}

// moved loses a gateway while the client sends: its machine is cut off and its
// process is gone, and a moment later the address is at the other one. The client is
// what it always is: WireGuard, with a wg-quick file.
func moved() Scenario {
	return Scenario{
		Name:     "moved",
		Does:     "a gateway is lost under traffic, and its address moves at once; the one that gets it starts the handshakes",
		Promises: []string{"P13"},
		Limit:    90 * time.Second,
		Judge:    judgeTakeovers,
		Play:     func(ctx context.Context, r *Run) error { return with(ctx, r, playMoved) },
	}
}

// failoverIdle is about a client that says nothing but its keepalives: somebody in the
// office wants to reach it.
func failoverIdle() Scenario {
	return Scenario{
		Name:     "failover-idle",
		Does:     "a gateway is lost while the client is idle; the office reaches it through the other one",
		Promises: []string{"P13"},
		Limit:    2 * time.Minute,
		Play:     func(ctx context.Context, r *Run) error { return with(ctx, r, playFailoverIdle) },
	}
}

// pingPong moves the address to and fro, with nobody lost: what a gateway forgets too
// late costs its clients 7 to 13 s on the way back.
func pingPong() Scenario {
	return Scenario{
		Name:     "ping-pong",
		Does:     "the address moves between two living gateways every 2 s, twenty times",
		Promises: []string{"P13"},
		Limit:    3 * time.Minute,
		Lossless: "each move is measured",
		Judge:    judgeTakeovers,
		Play:     func(ctx context.Context, r *Run) error { return with(ctx, r, playPingPong) },
	}
}

// float makes the public address a floating one of the location.
func (w *world) float(ctx context.Context) error {
	var err error
	w.office, err = w.core.Locations().Update(ctx, w.office.ID, func(l *location.Location) error {
		l.Floating = []netip.Addr{scene.Public4, scene.Public6}
		return nil
	})
	return err
}

// traffic brings the client up, and sends through the tunnel for a while, as long and
// as often as the seed says.
func (w *world) traffic(ctx context.Context) (*testnet.Probe, error) {
	return w.trafficEvery(ctx, time.Duration(5+w.run.Rand.IntN(26))*time.Millisecond)
}

// trafficEvery is traffic of a known interval.
func (w *world) trafficEvery(ctx context.Context, every time.Duration) (*testnet.Probe, error) {
	age := 3*time.Second + time.Duration(w.run.Rand.IntN(5000))*time.Millisecond
	w.run.Metrics.Sample("interval_ms", float64(every.Milliseconds()))
	p, err := w.connect(ctx, every)
	if err != nil {
		return nil, err
	}
	if err := w.carriedBy(ctx, w.gateways[0]); err != nil {
		return nil, err
	}
	first := p.Replies()[0].Received
	if err := sleep(ctx, age-time.Since(first)); err != nil {
		return nil, err
	}
	w.run.Metrics.Millis("session_age_ms", time.Since(first))
	return p, nil
}

// lose cuts the gateway off, and ends its process: it says no more to anybody.
func (w *world) lose(g *gw) error {
	w.lost = time.Now()
	return errors.Join(w.scene.Internet.Cut(g.host), w.scene.Office.Cut(g.host), g.halt())
}

// takeover moves the address to a gateway, and measures how long it takes, from the
// instant at which the address is there, until the client hears something that it asked
// for since the address had left. How long the moving takes is somebody else's work, and
// a figure of its own; the outage is all of it, from the loss of the gateway or else
// from when the address left it.
func (w *world) takeover(ctx context.Context, p *testnet.Probe, to *gw) error {
	// How often the client sends is part of the outage, and not of the takeover.
	fine, err := w.probe(2 * time.Millisecond)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := w.scene.Public.Move(to.host, scene.WAN); err != nil {
		return err
	}
	moved := time.Now()
	left, came := w.scene.Public.Moved()
	again, err := w.back(ctx, fine, left)
	if err != nil {
		return fmt.Errorf("no traffic after the address moved: %w", err)
	}
	if _, err := w.back(ctx, p, start); err != nil {
		return fmt.Errorf("no traffic after the address moved: %w", err)
	}
	if err := fine.Close(); err != nil {
		return err
	}
	took := again.Received.Sub(came)
	w.run.Metrics.Millis("takeover_ms", took)
	since := left
	if !w.lost.IsZero() {
		since, w.lost = w.lost, time.Time{}
	}
	w.run.Metrics.Millis("outage_ms", again.Received.Sub(since))
	w.run.Metrics.Millis("moving_ms", moved.Sub(start))
	w.run.Metrics.Fact("trip_ms", millis(w.run.Line.trip()))
	return w.run.timely(took)
}

// timely says when a takeover took too long for the run's line.
func (r *Run) timely(took time.Duration) error {
	again, bounded := r.Line.again()
	if limit := r.proven() + r.Line.takeover() + again; bounded && took > limit {
		return fmt.Errorf("the takeover took %v, want at most %v", took, limit)
	}
	return nil
}

// back is the first reply to a packet that was sent since.
func (w *world) back(ctx context.Context, p *testnet.Probe, start time.Time) (testnet.Reply, error) {
	return since(ctx, p, start)
}

func max2(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func playMoved(ctx context.Context, w *world) error {
	if err := w.float(ctx); err != nil {
		return err
	}
	p, err := w.traffic(ctx)
	if err != nil {
		return err
	}
	if err := w.lose(w.gateways[0]); err != nil {
		return err
	}
	if err := w.takeover(ctx, p, w.gateways[1]); err != nil {
		return err
	}
	if err := w.carriedBy(ctx, w.gateways[1]); err != nil {
		return err
	}
	w.run.Metrics.Count("sent", int64(p.Sent()))
	return p.Close()
}

func playPingPong(ctx context.Context, w *world) error {
	const moves = 20
	if err := w.float(ctx); err != nil {
		return err
	}
	// Most of the time of a move is a pause, and what is sent then tells nothing: the
	// session only has to be in use.
	p, err := w.trafficEvery(ctx, 100*time.Millisecond+time.Duration(w.run.Rand.IntN(50))*time.Millisecond)
	if err != nil {
		return err
	}
	for n := range moves {
		if err := w.takeover(ctx, p, w.gateways[(n+1)%2]); err != nil {
			return fmt.Errorf("move %d: %w", n+1, err)
		}
		if err := sleep(ctx, 2*time.Second); err != nil {
			return err
		}
	}
	return p.Close()
}

func playFailoverIdle(ctx context.Context, w *world) error {
	if err := w.float(ctx); err != nil {
		return err
	}
	p, err := w.traffic(ctx)
	if err != nil {
		return err
	}
	if err := p.Close(); err != nil {
		return err
	}
	// From here on the client only sends its keepalives, each 25 s.
	if err := sleep(ctx, time.Duration(5+w.run.Rand.IntN(25))*time.Second); err != nil {
		return err
	}
	inner := netip.MustParseAddr("10.20.0.2") // the first that there is to give
	echo, err := w.scene.Client.Echo(netip.AddrPortFrom(inner, scene.EchoPort))
	if err != nil {
		return err
	}
	if err := w.lose(w.gateways[0]); err != nil {
		return err
	}
	start := time.Now()
	if err := w.scene.Public.Move(w.gateways[1].host, scene.WAN); err != nil {
		return err
	}
	// The gateway itself asks: which of them the office sends to is another matter.
	from, err := w.gateways[1].host.Probe(testnet.ProbeConfig{To: netip.AddrPortFrom(inner, scene.EchoPort), Every: 5 * time.Millisecond})
	if err != nil {
		return err
	}
	again, err := from.WaitReply(ctx, start)
	if err != nil {
		return fmt.Errorf("the client cannot be reached: %w", err)
	}
	_, came := w.scene.Public.Moved()
	took := again.Received.Sub(came)
	w.run.Metrics.Millis("takeover_ms", took)
	w.run.Metrics.Fact("trip_ms", millis(w.run.Line.trip()))
	return errors.Join(w.run.timely(took), from.Close(), echo.Close())
}
