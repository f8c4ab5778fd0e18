//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/holdfastvpn/holdfast/internal/testnet/clients"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
)

const (
	// dead is how long after its last word a client has no session any more.
	dead = 180 * time.Second
	// steps is how many clients connect at once: that is not what is measured.
	steps = 32
)

// failoverMany loses a gateway that carries many clients. How fast they come over is
// mostly how fast this machine is at being all of them: see clients_cpu_ms.
func failoverMany() Scenario {
	return Scenario{
		Name:     "failover-many",
		Does:     "a gateway with many clients is lost; those who talk are taken over in turn, and idle ones are not dialled",
		Promises: []string{"P13"},
		Limit:    10 * time.Minute,
		Lossless: "every client is counted",
		Play:     func(ctx context.Context, r *Run) error { return with(ctx, r, playFailoverMany) },
	}
}

// throng is the clients: those who talk, and those who have been idle for too long.
type throng struct {
	world  *world
	at     netip.AddrPort
	active []*clients.Client
	idle   []*clients.Client
}

func playFailoverMany(ctx context.Context, w *world) error {
	if err := w.float(ctx); err != nil {
		return err
	}
	m := &throng{world: w, at: netip.AddrPortFrom(scene.Public4, w.office.Port)}
	defer m.close()
	if err := m.gather(ctx); err != nil {
		return err
	}
	if err := m.talk(ctx); err != nil {
		return err
	}
	if err := w.lose(w.gateways[0]); err != nil {
		return err
	}
	return m.comeOver(ctx)
}

// gather makes the clients, and a place in the location for each.
func (m *throng) gather(ctx context.Context) error {
	w := m.world
	host := w.scene.Net.Host("crowd")
	if err := w.scene.Internet.Attach(host, scene.WAN, netip.MustParsePrefix("203.0.113.60/24")); err != nil {
		return err
	}
	idle := w.run.Crowd / 4
	for n := range w.run.Crowd + idle {
		c, err := clients.New(host)
		if err != nil {
			return err
		}
		if n < idle {
			m.idle = append(m.idle, c)
		} else {
			m.active = append(m.active, c)
		}
		if _, err := w.add(ctx, fmt.Sprintf("client-%d", n), c.Key()); err != nil {
			return err
		}
	}
	w.run.Metrics.Fact("active", len(m.active))
	w.run.Metrics.Fact("idle", len(m.idle))
	return w.settled(ctx)
}

// talk has the idle ones connect, and fall silent for as long as a session can live,
// where that costs no time; the others talk when the gateway is lost.
func (m *throng) talk(ctx context.Context) error {
	if m.world.run.Clock != clockWall {
		if err := m.connect(ctx, m.idle); err != nil {
			return err
		}
		for _, c := range m.idle {
			if err := c.Quiet(m.world.office.PublicKey); err != nil {
				return err
			}
		}
		if err := sleep(ctx, dead+20*time.Second); err != nil {
			return err
		}
	}
	if err := m.connect(ctx, m.active); err != nil {
		return err
	}
	if err := m.carried(ctx); err != nil {
		return err
	}
	return sleep(ctx, 2*time.Second) // the other gateway has been told, too
}

// carried waits until the core knows that the first gateway carries all who talk.
func (m *throng) carried(ctx context.Context) error {
	return eventually(ctx, time.Minute, func() error {
		o, err := m.world.overview(ctx)
		if err != nil {
			return err
		}
		for _, g := range o.Gateways {
			if g.ID == m.world.gateways[0].id && g.Carries >= len(m.active) {
				return nil
			}
		}
		return errors.New("the gateway does not carry all clients")
	})
}

// connect connects clients, some at a time.
func (m *throng) connect(ctx context.Context, all []*clients.Client) error {
	for some := range slices.Chunk(all, steps) {
		began := time.Now()
		for _, c := range some {
			if err := c.Connect(m.world.office.PublicKey, m.at, 10*time.Second); err != nil {
				return err
			}
		}
		for _, c := range some {
			if err := m.hears(ctx, c, began); err != nil {
				return err
			}
		}
	}
	return nil
}

// hears waits until the client's session is there: its handshake was answered.
func (m *throng) hears(ctx context.Context, c *clients.Client, since time.Time) error {
	return eventually(ctx, 20*time.Second, func() error {
		if _, ok := c.Answered(since); !ok {
			return errors.New("a client's handshake is not answered")
		}
		return nil
	})
}

// comeOver moves the address, and waits until all who talk hear the other gateway.
func (m *throng) comeOver(ctx context.Context) error {
	w := m.world
	before := cpu()
	if err := w.scene.Public.Move(w.gateways[1].host, scene.WAN); err != nil {
		return err
	}
	_, came := w.scene.Public.Moved()
	var took []time.Duration
	err := eventually(ctx, 2*time.Minute, func() error {
		took = took[:0]
		for _, c := range m.active {
			if at, ok := c.Heard(came); ok {
				took = append(took, at.Sub(came))
			}
		}
		if len(took) < len(m.active) {
			return fmt.Errorf("%d of %d clients have come over", len(took), len(m.active))
		}
		return nil
	})
	if err != nil {
		return err
	}
	spent := cpu() - before
	slices.Sort(took)
	dialled, idle, own := 0, 0, 0
	for _, c := range m.active {
		dialled += max(c.Dialled(came)-1, 0)
		if c.Dialled(came) == 0 {
			own++ // it began a handshake by itself, and was left alone
		}
	}
	if err := sleep(ctx, 3*time.Second); err != nil { // nobody else is dialled later either
		return err
	}
	for _, c := range m.idle {
		idle += c.Dialled(came)
	}
	r := w.run.Metrics
	last := took[len(took)-1]
	r.Millis("first_ms", took[0])
	r.Millis("half_ms", took[len(took)/2])
	if len(took) >= 500 {
		r.Millis("500th_ms", took[499])
	}
	r.Millis("last_ms", last)
	r.Millis("process_cpu_ms", spent)
	r.Count("dialled_again", int64(dialled))
	r.Count("by_themselves", int64(own))
	r.Count("idle_dialled", int64(idle))
	switch patience := 5*time.Second + time.Duration(len(m.active))*perClient; {
	case idle > 0:
		return fmt.Errorf("%d handshakes were begun with clients that have been idle for %v", idle, dead)
	case last > patience:
		return fmt.Errorf("the last of %d clients came over after %v, want at most %v", len(m.active), last, patience)
	}
	return nil
}

// perClient is what a machine may take for a handshake, both ends, at the most.
const perClient = 20 * time.Millisecond

// cpu is what this process has used: the clients, and what of the gateways is no kernel.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (m *throng) close() {
	var wg sync.WaitGroup
	for _, c := range slices.Concat(m.active, m.idle) {
		wg.Go(c.Close)
	}
	wg.Wait()
}
