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

// baseline is the scenario that the others with keepalived are held against.
const baseline = "vanilla"

// vanilla is what failover is without us: the location does not know that its address
// floats, and the client waits until WireGuard's own timers are over.
func vanilla() Scenario {
	return Scenario{
		Name:       baseline,
		Does:       "the same without takeover: the client waits for WireGuard's own timers",
		Promises:   []string{"P13"},
		Limit:      2 * time.Minute,
		Keepalived: true,
		Play: func(ctx context.Context, r *Run) error {
			return fronted(ctx, r, setting{open: true, plain: r.Backend == wgdevice.Kernel, vanilla: true}, playVanilla)
		},
	}
}

// failoverNAT is failover with a client at home.
func failoverNAT() Scenario {
	return Scenario{
		Name:       "failover-nat",
		Does:       "failover with a client behind the address translation of a home",
		Promises:   []string{"P13"},
		Limit:      90 * time.Second,
		Keepalived: true,
		Judge:      judgeTakeovers,
		Play: func(ctx context.Context, r *Run) error {
			return fronted(ctx, r, setting{plain: r.Backend == wgdevice.Kernel}, playLost)
		},
	}
}

// failoverIPv6 is failover with a client that speaks to the location by IPv6.
func failoverIPv6() Scenario {
	return Scenario{
		Name:       "failover-ipv6",
		Does:       "failover with IPv6 between client and location",
		Promises:   []string{"P13"},
		Limit:      90 * time.Second,
		Keepalived: true,
		Judge:      judgeTakeovers,
		Play: func(ctx context.Context, r *Run) error {
			return fronted(ctx, r, setting{open: true, plain: r.Backend == wgdevice.Kernel, six: true}, playLost)
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
	for _, g := range w.gateways {
		if err := g.health(); err != nil {
			return err
		}
	}
	return w.front.begin(ctx, s.outer(), w.scene.Gateways...)
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
	return start, errors.Join(w.scene.Internet.Cut(g.host), w.scene.Office.Cut(g.host), w.front.kill(g.host), g.halt())
}

// lost is what was seen of a lost machine.
type lost struct {
	detection, takeover, outage time.Duration
}

// watch is what is looked at while a machine is lost.
type watch struct {
	host    *testnet.Host // that gets the address
	address netip.Addr
	probe   *testnet.Probe // of the client
	fine    *testnet.Probe // the same, more often; nil: the probe has to do
}

// until has something happen to the machine that has the address, and measures until
// the client hears something again by way of the other one.
func (w watch) until(ctx context.Context, r *Run, happens func() (time.Time, error)) (l lost, err error) {
	came, stop, err := arrival(w.host, w.address)
	if err != nil {
		return l, err
	}
	defer stop()
	start, err := happens()
	if err != nil {
		return l, err
	}
	var moved time.Time
	select {
	case moved = <-came:
	case <-ctx.Done():
		return l, fmt.Errorf("keepalived has not moved the address: %w", context.Cause(ctx))
	}
	again, err := since(ctx, w.probe, start)
	if err == nil && w.fine != nil {
		again, err = since(ctx, w.fine, start)
	}
	if err != nil {
		return l, fmt.Errorf("no traffic after the address moved: %w", err)
	}
	r.Log.Info("traffic is back", "moved", moved.Sub(start), "after", again.Received.Sub(start))
	return lost{moved.Sub(start), again.Received.Sub(moved), w.probe.Outage(start)}, nil
}

// note makes figures of it.
func (l lost) note(r *Run) {
	r.Metrics.Millis("detection_ms", l.detection)
	r.Metrics.Millis("takeover_ms", l.takeover)
	r.Metrics.Millis("outage_ms", l.outage)
	r.Metrics.Fact("trip_ms", millis(r.Line.trip()))
}

// since is the first reply to a packet that was sent since.
func since(ctx context.Context, p *testnet.Probe, start time.Time) (r testnet.Reply, err error) {
	for err == nil && r.Sent.Before(start) {
		r, err = p.WaitReply(ctx, max2(start, r.Received.Add(1)))
	}
	return r, err
}

// powerLoss takes the power from the first gateway.
func (w *world) powerLoss(ctx context.Context, s setting, p *testnet.Probe) (l lost, err error) {
	// How often the client sends is part of the outage, and not of the takeover.
	fine, err := w.probe(2 * time.Millisecond)
	if err != nil {
		return l, err
	}
	look := watch{host: w.gateways[1].host, address: s.outer(), probe: p, fine: fine}
	l, err = look.until(ctx, w.run, func() (time.Time, error) { return w.fall(w.gateways[0]) })
	if err != nil {
		return l, err
	}
	return l, errors.Join(fine.Close(), w.carriedBy(ctx, w.gateways[1]))
}

// right says what was wrong: by a clock that nobody disturbs, an outage is a second at
// most, and what of it is ours is what a takeover may take.
func (l lost) right(r *Run) error {
	outage := time.Second
	if r.Clock == clockWall {
		outage = r.unheard() + r.proven()
	}
	switch way := r.Line.takeover(); {
	case r.Line.retries() > 0:
		return nil
	case l.takeover > r.proven()+way:
		return fmt.Errorf("the takeover took %v, want at most %v", l.takeover, r.proven()+way)
	case l.outage > outage+way:
		return fmt.Errorf("an outage of %v, want at most %v", l.outage, outage+way)
	default:
		return nil
	}
}

func playLost(ctx context.Context, w *world, s setting, p *testnet.Probe) error {
	l, err := w.powerLoss(ctx, s, p)
	if err != nil {
		return err
	}
	l.note(w.run)
	return l.right(w.run)
}

func playVanilla(ctx context.Context, w *world, s setting, p *testnet.Probe) error {
	l, err := w.powerLoss(ctx, s, p)
	if err != nil {
		return err
	}
	w.run.Metrics.Millis("outage_ms", l.outage)
	if most := w.run.unheard() + longest(w.run.Line); l.outage > most {
		return fmt.Errorf("an outage of %v, want at most %v: WireGuard's own timers take 15.4 s and each further try 5.4 s", l.outage, most)
	}
	return nil
}
