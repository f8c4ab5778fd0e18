//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
	"github.com/holdfastvpn/holdfast/location"
)

// failover loses the machine of a gateway while the client sends: no link, no process.
// The keepalived of the other machine has to notice, and to move the address. The client
// has no code of ours, where the kernel has WireGuard: wg and ip set it up.
func failover() Scenario {
	return Scenario{
		Name:       "failover",
		Does:       "a gateway's machine is lost under traffic; keepalived moves the address, and the survivor starts the handshakes",
		Promises:   []string{"P13"},
		Limit:      90 * time.Second,
		Keepalived: true,
		Judge:      judgeTakeovers,
		Play: func(ctx context.Context, r *Run) error {
			return fronted(ctx, r, setting{open: true, plain: r.Backend == wgdevice.Kernel}, playLost)
		},
	}
}

// vanilla is what failover is without us: the location does not know that its address
// floats, and the client waits until WireGuard's own timers are over.
func vanilla() Scenario {
	return Scenario{
		Name:       "vanilla",
		Does:       "the same without takeover: the client waits for WireGuard's own timers",
		Promises:   []string{"P13"},
		Limit:      2 * time.Minute,
		Keepalived: true,
		Play: func(ctx context.Context, r *Run) error {
			return fronted(ctx, r, setting{open: true, plain: r.Backend == wgdevice.Kernel, vanilla: true}, playVanilla)
		},
	}
}

// setting is how a scenario with keepalived differs from the usual one.
type setting struct {
	open    bool // the client has addresses of its own; else a NAT
	plain   bool // the client is set up by wg and ip
	six     bool // outside, the client uses IPv6
	vanilla bool // the location does not know its floating addresses
}

// outer is the address that the client speaks to.
func (s setting) outer() netip.Addr {
	if s.six {
		return scene.Public6
	}
	return scene.Public4
}

// fronted builds a world in which keepalived has given the address to the first gateway,
// and whose client sends; plays in it, and takes it down.
func fronted(ctx context.Context, r *Run, s setting, play func(context.Context, *world, setting, *testnet.Probe) error) error {
	w := &world{run: r, open: s.open, plain: s.plain}
	r.Metrics.Fact("client", "wgdevice")
	if s.plain {
		r.Metrics.Fact("client", "wg")
	}
	return w.host(ctx, func(ctx context.Context, w *world) error {
		if err := w.moveIn(ctx, s); err != nil {
			return err
		}
		p, err := w.traffic(ctx)
		if err != nil {
			return err
		}
		if err := play(ctx, w, s, p); err != nil {
			return err
		}
		w.run.Metrics.Count("sent", int64(p.Sent()))
		return p.Close()
	})
}

// moveIn hands the address over to keepalived.
func (w *world) moveIn(ctx context.Context, s setting) (err error) {
	if !s.vanilla {
		if err := w.float(ctx); err != nil {
			return err
		}
	}
	w.office, err = w.core.Locations().Update(ctx, w.office.ID, func(l *location.Location) error {
		l.Host = s.outer().String()
		return nil
	})
	if err != nil {
		return err
	}
	if err := w.settled(ctx); err != nil {
		return err
	}
	if err := w.scene.Public.Drop(); err != nil {
		return err
	}
	if w.front, err = newFront(w.run, w.scene.Gateways); err != nil {
		return err
	}
	for n, g := range w.gateways {
		if err := errors.Join(g.health(), w.front.start(g.host)); err != nil {
			return err
		}
		if n == 0 {
			if err := w.front.comes(ctx, g.host, s.outer()); err != nil {
				return err
			}
		}
	}
	return nil
}

// fall takes the power from a gateway's machine, and returns when: from one instant on
// nobody hears anything of it.
func (w *world) fall(g *gw) (time.Time, error) {
	k := w.front.on[g.host]
	// What is told through memory has no cable that could be pulled, and a keepalived
	// that notices the loss of its link would tidy up.
	if err := errors.Join(k.signal(syscall.SIGSTOP), g.hush()); err != nil {
		return time.Time{}, err
	}
	start := time.Now()
	return start, errors.Join(w.scene.Internet.Cut(g.host), w.scene.Office.Cut(g.host), k.kill(), g.halt())
}

// lost is what was seen of a lost machine.
type lost struct {
	detection, takeover, outage time.Duration
}

// powerLoss takes the power from the first gateway, and measures until the client hears
// something again by way of the second.
func (w *world) powerLoss(ctx context.Context, s setting, p *testnet.Probe) (l lost, err error) {
	// How often the client sends is part of the outage, and not of the takeover.
	fine, err := w.probe(2 * time.Millisecond)
	if err != nil {
		return l, err
	}
	came, stop, err := arrival(w.gateways[1].host, s.outer())
	if err != nil {
		return l, err
	}
	defer stop()
	start, err := w.fall(w.gateways[0])
	if err != nil {
		return l, err
	}
	var moved time.Time
	select {
	case moved = <-came:
	case <-ctx.Done():
		return l, fmt.Errorf("keepalived has not moved the address: %w", context.Cause(ctx))
	}
	again, err := w.back(ctx, fine, start)
	if err == nil {
		_, err = w.back(ctx, p, start)
	}
	if err != nil {
		return l, fmt.Errorf("no traffic after the address moved: %w", err)
	}
	l = lost{moved.Sub(start), again.Received.Sub(moved), p.Outage(start)}
	w.run.Metrics.Millis("detection_ms", l.detection)
	w.run.Metrics.Millis("takeover_ms", l.takeover)
	w.run.Metrics.Millis("outage_ms", l.outage)
	return l, errors.Join(fine.Close(), w.carriedBy(ctx, w.gateways[1]))
}

// right says what was wrong: by a clock that nobody disturbs, an outage is a second at
// most, and what of it is ours is what a takeover may take.
func (l lost) right(r *Run) error {
	outage := time.Second
	if r.Clock == clockWall {
		outage = r.unheard() + r.proven()
	}
	switch trips := 2 * r.Line.trip(); {
	case r.Line.retries() > 0:
		return nil
	case l.takeover > r.proven()+trips:
		return fmt.Errorf("the takeover took %v, want at most %v", l.takeover, r.proven()+trips)
	case l.outage > outage+trips:
		return fmt.Errorf("an outage of %v, want at most %v", l.outage, outage+trips)
	default:
		return nil
	}
}

func playLost(ctx context.Context, w *world, s setting, p *testnet.Probe) error {
	l, err := w.powerLoss(ctx, s, p)
	if err != nil {
		return err
	}
	return l.right(w.run)
}

func playVanilla(ctx context.Context, w *world, s setting, p *testnet.Probe) error {
	l, err := w.powerLoss(ctx, s, p)
	if err != nil {
		return err
	}
	if most := w.run.unheard() + longest(w.run.Line); l.outage > most {
		return fmt.Errorf("an outage of %v, want at most %v: WireGuard's own timers take 15.4 s and each further try 5.4 s", l.outage, most)
	}
	return nil
}
