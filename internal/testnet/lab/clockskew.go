//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/runstate"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
)

// year is how far off a clock can be whose battery is empty.
const year = 365 * 24 * time.Hour

// itself is how long a client takes at least that has to notice by itself that its
// gateway is another one: WireGuard says nothing new for 5 s. Mostly it is 15 s.
const itself = 4 * time.Second

// clockSkew loses a gateway, and the clock of the one that survives is wrong. In the
// virtual machine that is the machine's clock, by which WireGuard stamps handshakes, set
// when the other gateway has said its last word. Elsewhere it is what the gateway takes
// for it: whether the gateway refuses is seen there, and not what it prevents.
func clockSkew() Scenario {
	return Scenario{
		Name:     "clock-skew",
		Does:     "the surviving gateway's clock is wrong: it starts no handshake that would have clients refuse later ones",
		Promises: []string{"P13"},
		Limit:    4 * time.Minute,
		Lossless: "each handshake that is refused is told from one that is lost",
		Play: func(ctx context.Context, r *Run) error {
			s := &skew{machine: os.Getenv(clockEnv) != ""}
			boot, err := runstate.OpenClock()
			if err != nil {
				return err
			}
			w := &world{run: r, tune: func(n int, c *gateway.ProcessConfig) {
				c.Boot, c.Guard, c.Synced = boot, s.guard, func() bool { return true }
				if n == 1 {
					c.Now = s.now
				}
			}}
			return w.host(ctx, func(ctx context.Context, w *world) error { return s.play(ctx, w) })
		},
	}
}

// skew is a clock that is wrong at times.
type skew struct {
	machine bool         // it is the machine's: it may be set
	off     atomic.Int64 // else what the second gateway adds
	blind   atomic.Bool  // gateways do not mind
}

func (s *skew) now() time.Time { return time.Now().Add(time.Duration(s.off.Load())) }

func (s *skew) guard(c gateway.Clocks) error {
	if s.blind.Load() {
		return nil
	}
	return c.Fit()
}

// set sets the clock ahead, or back.
func (s *skew) set(by time.Duration) error {
	if !s.machine {
		s.off.Add(int64(by))
		return nil
	}
	t := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &t); err != nil {
		return fmt.Errorf("set the machine's clock: %w", err)
	}
	return nil
}

// wrong is one clock that is wrong.
type wrong struct {
	name    string
	by      time.Duration
	blind   bool // nobody minds
	refused bool
	harm    bool // the next gateway whose clock is right cannot take over
}

func (s *skew) play(ctx context.Context, w *world) error {
	draws := [][]wrong{
		{{name: "behind_3s", by: -3 * time.Second}, {name: "ahead_3s", by: 3 * time.Second, refused: true}},
		{{name: "behind_60s", by: -time.Minute}, {name: "ahead_60s", by: time.Minute, refused: true}},
		{{name: "ahead_1y", by: year, refused: true}},
	}
	all := draws[w.run.Rand.IntN(len(draws))]
	if s.machine { // what it is all about; it comes last, for the client refuses handshakes for a year
		all = append(all, wrong{name: "ahead_1y_unguarded", by: year, blind: true, harm: true})
	} else { // nothing shortens the waiting
		all = all[len(all)-1:]
	}
	if err := w.float(ctx); err != nil {
		return err
	}
	d, err := w.join(ctx)
	if err != nil {
		return err
	}
	p, err := w.talk(ctx, every)
	if err != nil {
		return err
	}
	before, err := w.lasting(ctx, p, d.Key)
	if err != nil {
		return err
	}
	if s.machine {
		if err := s.sway(ctx, w, p, before); err != nil {
			return err
		}
	}
	for _, c := range all {
		if err := s.survive(ctx, w, p, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return p.Close()
}

// sway sets the clock of everybody to and fro by an hour, for longer than a gateway
// waits until it forgets whom another one carries. Nobody is to notice.
func (s *skew) sway(ctx context.Context, w *world, p *testnet.Probe, before gateway.PeerState) error {
	for _, by := range []time.Duration{time.Hour, -2 * time.Hour, time.Hour} {
		if err := errors.Join(s.set(by), sleep(ctx, 7*time.Second)); err != nil {
			return err
		}
	}
	return errors.Join(w.unmoved(ctx, before), w.gapless(ctx, p))
}

// survive loses the first gateway, has the clock be wrong while the second one gets the
// address, and sees whether the first one, which is back, can take over again.
func (s *skew) survive(ctx context.Context, w *world, p *testnet.Probe, c wrong) error {
	first, second := w.gateways[0], w.gateways[1]
	before := refusals(second)
	// It comes back as after a reboot: its WireGuard would begin a handshake by itself
	// after 15 s, by the machine's clock, which is only to be wrong for the other one.
	if err := errors.Join(w.lose(first), first.end(ctx)); err != nil {
		return err
	}
	if err := s.set(c.by); err != nil {
		return err
	}
	s.blind.Store(c.blind)
	outage, err := w.move(ctx, p, second)
	w.run.Metrics.Millis(c.name+"_ms", outage)
	if back := s.set(-c.by); err == nil {
		err = back
	}
	s.blind.Store(false)
	if err != nil {
		return fmt.Errorf("the client did not come back: %w", err)
	}
	switch refused := refusals(second) > before; {
	case refused != c.refused:
		return fmt.Errorf("it is %v that the gateway refused, want %v", refused, c.refused)
	case refused && outage < itself:
		return fmt.Errorf("traffic was back after %v, although the gateway refused: who started a handshake?", outage)
	case c.blind && outage > itself:
		return fmt.Errorf("with no guard the takeover took %v", outage)
	}
	if err := errors.Join(w.scene.Internet.Heal(first.host), w.scene.Office.Heal(first.host), first.start()); err != nil {
		return err
	}
	// They talk, the client is carried by one and known to both.
	if err := eventually(ctx, 20*time.Second, func() error {
		if r := first.process.Reconciler(gateway.LocationID(w.office.ID)); r == nil || len(r.Clocks().Others) == 0 {
			return fmt.Errorf("%s has not heard of the other clock", first.host.Name())
		} else if err := r.Fit(); err != nil {
			return err
		}
		return nil
	}); err != nil {
		return err
	}
	if err := sleep(ctx, 3*time.Second); err != nil {
		return err
	}
	outage, err = w.move(ctx, p, first)
	w.run.Metrics.Millis(c.name+"_back_ms", outage)
	switch {
	case err != nil:
		return fmt.Errorf("the client did not come back to the first gateway: %w", err)
	case c.harm && outage < itself:
		return fmt.Errorf("the guard is for nothing: without it the next takeover took %v", outage)
	case !c.harm && outage > w.run.proven()+w.run.Line.takeover()+2*every:
		return fmt.Errorf("the next takeover took %v", outage)
	}
	return sleep(ctx, 3*time.Second)
}

// move moves the address to a gateway, and says how long the client heard nothing.
func (w *world) move(ctx context.Context, p *testnet.Probe, to *gw) (time.Duration, error) {
	start := time.Now()
	if err := w.scene.Public.Move(to.host, scene.WAN); err != nil {
		return 0, err
	}
	_, came := w.scene.Public.Moved()
	again, err := w.back(ctx, p, came)
	return again.Received.Sub(start), err
}

// refusals is how many takeovers a gateway did not begin, for its clock.
func refusals(g *gw) uint64 {
	if r := g.process.Reconciler(gateway.LocationID(g.world.office.ID)); r != nil {
		return r.Refused()
	}
	return 0
}
