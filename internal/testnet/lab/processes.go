//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// joinScenario brings a third gateway in while the client sends.
func joinScenario() Scenario {
	return Scenario{
		Name:      "join",
		Processes: true,
		Does:      "a third machine becomes a gateway by one command, under traffic; all have the same peers",
		Promises:  []string{"P1"},
		Limit:     2 * time.Minute,
		Lossless:  "it counts lost packets",
		Play: func(ctx context.Context, r *Run) error {
			return within(ctx, r, plantConfig{gateways: 3, joined: 2}, playJoin)
		},
	}
}

func playJoin(ctx context.Context, p *plant) error {
	t, err := p.traffic(ctx)
	if err != nil {
		return err
	}
	for i := range 50 {
		if _, err := p.add(ctx, fmt.Sprintf("device-%d", i), wgkey.NewPrivate().Public()); err != nil {
			return err
		}
	}
	start := time.Now()
	if err := p.sites[2].join(ctx); err != nil {
		return err
	}
	if err := p.settled(ctx); err != nil {
		return err
	}
	p.run.Metrics.Millis("joined_ms", time.Since(start))
	p.run.Metrics.Count("peers", 51)
	return errors.Join(p.identical(ctx), t.undisturbed(ctx))
}

// coreDown kills the core for half a minute while the client sends.
func coreDown() Scenario {
	return Scenario{
		Name:      "core-down",
		Processes: true,
		Does:      "the core is killed for 30 s under traffic; nobody notices, and what it is told afterwards arrives",
		Promises:  []string{"P2", "P8", "P9"},
		Limit:     3 * time.Minute,
		Lossless:  "it counts lost packets",
		Play:      func(ctx context.Context, r *Run) error { return within(ctx, r, plantConfig{}, playCoreDown) },
	}
}

func playCoreDown(ctx context.Context, p *plant) error {
	t, err := p.traffic(ctx)
	if err != nil {
		return err
	}
	if err := p.core.kill(); err != nil {
		return err
	}
	if err := sleep(ctx, 30*time.Second); err != nil {
		return err
	}
	start := time.Now()
	if err := p.startCore(ctx); err != nil {
		return err
	}
	if _, err := p.add(ctx, "later", wgkey.NewPrivate().Public()); err != nil {
		return err
	}
	if err := p.settled(ctx); err != nil {
		return err
	}
	p.run.Metrics.Millis("caught_up_ms", time.Since(start))
	return errors.Join(t.undisturbed(ctx), p.identical(ctx))
}

// gatewayKilled kills the process of the gateway that carries the client.
func gatewayKilled() Scenario {
	return Scenario{
		Name:      "gateway-killed",
		Processes: true,
		Does:      "the process of the carrying gateway is killed and started again, under traffic; nobody notices",
		Promises:  []string{"P2", "P8"},
		Limit:     2 * time.Minute,
		Lossless:  "it counts lost packets",
		Play:      func(ctx context.Context, r *Run) error { return within(ctx, r, plantConfig{}, playGatewayKilled) },
	}
}

func playGatewayKilled(ctx context.Context, p *plant) error {
	t, err := p.traffic(ctx)
	if err != nil {
		return err
	}
	for i := range 3 {
		if err := p.sites[0].process.kill(); err != nil {
			return err
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
		if _, err := p.add(ctx, fmt.Sprintf("meanwhile-%d", i), wgkey.NewPrivate().Public()); err != nil {
			return err
		}
		start := time.Now()
		if err := p.sites[0].process.start(); err != nil {
			return err
		}
		if err := p.settled(ctx); err != nil {
			return err
		}
		p.run.Metrics.Millis("back_ms", time.Since(start))
	}
	return errors.Join(t.undisturbed(ctx), p.identical(ctx))
}

// revokedGateway removes a gateway while its machine would like to go on.
func revokedGateway() Scenario {
	return Scenario{
		Name:      "revoked-gateway",
		Processes: true,
		Does:      "a gateway is removed: it lets go of its interface, its link ends, and it does not come back",
		Promises:  []string{"P14"},
		Limit:     time.Minute,
		Play:      func(ctx context.Context, r *Run) error { return within(ctx, r, plantConfig{}, playRevokedGateway) },
	}
}

func playRevokedGateway(ctx context.Context, p *plant) error {
	t, err := p.traffic(ctx)
	if err != nil {
		return err
	}
	gone := p.sites[1]
	start := time.Now()
	told, err := p.admin.RemoveGateway(ctx, gone.id, "the machine was sold")
	if err != nil {
		return err
	}
	if !told {
		return errors.New("the gateway was connected, and was not told")
	}
	p.run.Metrics.Millis("removed_ms", time.Since(start))
	err = eventually(ctx, 5*time.Second, func() error {
		s, err := gone.state(ctx, 0)
		if err == nil && s.Exists {
			err = errors.New("the interface is still there")
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := errors.Join(gone.process.kill(), gone.process.start()); err != nil {
		return err
	}
	if err := sleep(ctx, 5*time.Second); err != nil {
		return err
	}
	s, err := gone.state(ctx, 0)
	if err != nil {
		return err
	}
	if s.Exists {
		return errors.New("a removed gateway that starts again serves")
	}
	gone.id = "" // nobody waits for it
	if _, err := p.add(ctx, "later", wgkey.NewPrivate().Public()); err != nil {
		return err
	}
	return errors.Join(p.settled(ctx), t.undisturbed(ctx))
}

// reboot takes a gateway's machine down and up again while the core is away.
func reboot() Scenario {
	return Scenario{
		Name:      "reboot",
		Processes: true,
		Does:      "a gateway's machine reboots with the core away: it is back from its snapshot within 5 s",
		Promises:  []string{"P2"},
		Limit:     2 * time.Minute,
		Play:      func(ctx context.Context, r *Run) error { return within(ctx, r, plantConfig{}, playReboot) },
	}
}

func playReboot(ctx context.Context, p *plant) error {
	t, err := p.traffic(ctx)
	if err != nil {
		return err
	}
	for i := range 100 {
		if _, err := p.add(ctx, fmt.Sprintf("device-%d", i), wgkey.NewPrivate().Public()); err != nil {
			return err
		}
	}
	if err := p.settled(ctx); err != nil {
		return err
	}
	// What was told last is written soon, not at once: a reboot leaves time for that.
	if err := sleep(ctx, 2*time.Second); err != nil {
		return err
	}
	s := p.sites[0]
	want, err := s.state(ctx, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(p.core.kill(), s.process.kill()); err != nil {
		return err
	}
	err = s.device(0, func(dev gateway.Device) error { return dev.Apply(ctx, gateway.Plan{{Verb: gateway.Destroy}}) })
	if err != nil {
		return err
	}
	start := time.Now()
	if err := s.process.start(); err != nil {
		return err
	}
	err = eventually(ctx, 20*time.Second, func() error {
		now, err := s.state(ctx, 0)
		if err == nil && (!now.Up || len(now.Peers) != len(want.Peers)) {
			err = fmt.Errorf("up %v, %d of %d peers", now.Up, len(now.Peers), len(want.Peers))
		}
		return err
	})
	if err != nil {
		return err
	}
	back := time.Since(start)
	p.run.Metrics.Millis("restored_ms", back)
	if back > 5*time.Second {
		return fmt.Errorf("back after %v, want at most 5 s", back)
	}
	// The client's session went with the interface; its own timers make another.
	if _, err := t.probe.WaitReply(ctx, time.Now()); err != nil {
		return fmt.Errorf("no traffic after the reboot: %w", err)
	}
	p.run.Metrics.Millis("outage_ms", t.probe.Outage(start))
	if err := t.probe.Close(); err != nil {
		return err
	}
	if err := p.startCore(ctx); err != nil {
		return err
	}
	return errors.Join(p.settled(ctx), p.identical(ctx))
}

// rotate has all certificates renewed under traffic.
func rotate() Scenario {
	return Scenario{
		Name:      "rotate",
		Processes: true,
		Does:      "every certificate is renewed three times, under traffic; no link ends and nobody notices",
		Promises:  []string{"P8"},
		Limit:     2 * time.Minute,
		Lossless:  "it counts lost packets",
		Play: func(ctx context.Context, r *Run) error {
			return within(ctx, r, plantConfig{core: []string{"--certificate-lifetime", "15s"}}, playRotate)
		},
	}
}

func playRotate(ctx context.Context, p *plant) error {
	t, err := p.traffic(ctx)
	if err != nil {
		return err
	}
	const times = 3
	start := time.Now()
	seen := map[string]map[string]bool{} // by gateway
	err = eventually(ctx, time.Minute, func() error {
		now, err := p.certificates()
		if err != nil {
			return err
		}
		var few error
		for name, c := range now {
			if seen[name] == nil {
				seen[name] = map[string]bool{}
			}
			seen[name][c] = true
			if n := len(seen[name]) - 1; n < times {
				few = fmt.Errorf("%s has renewed %d times, want %d", name, n, times)
			}
		}
		return few
	})
	if err != nil {
		return err
	}
	p.run.Metrics.Count("renewals", times)
	// A link that ended and came again would have begun another watch.
	took := time.Since(start)
	o, err := p.overview(ctx, 0)
	if err != nil {
		return err
	}
	for _, g := range o.Gateways {
		if time.Duration(g.Since) < took {
			return fmt.Errorf("%s began to watch %v ago, and certificates were renewed for %v: its link ended", g.Name, time.Duration(g.Since), took)
		}
	}
	if _, err := p.add(ctx, "later", wgkey.NewPrivate().Public()); err != nil {
		return err
	}
	return errors.Join(p.settled(ctx), t.undisturbed(ctx))
}

// certificates are the files with which gateways prove who they are.
func (p *plant) certificates() (map[string]string, error) {
	out := map[string]string{}
	for _, s := range p.sites {
		b, err := os.ReadFile(filepath.Join(p.dir, s.host.Name(), "identity.pem"))
		if err != nil {
			return nil, err
		}
		out[s.host.Name()] = string(b)
	}
	return out, nil
}

// slowGateway stops the process of one gateway for a while.
func slowGateway() Scenario {
	return Scenario{
		Name:      "slow-gateway",
		Processes: true,
		Does:      "one gateway's process stands still; the other is not delayed, and the first catches up",
		Promises:  []string{"P1", "P9"},
		Limit:     2 * time.Minute,
		Play:      func(ctx context.Context, r *Run) error { return within(ctx, r, plantConfig{}, playSlowGateway) },
	}
}

func playSlowGateway(ctx context.Context, p *plant) error {
	if err := p.settled(ctx); err != nil {
		return err
	}
	slow, fast := p.sites[1], p.sites[0]
	if err := slow.process.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for i := range 50 {
		start := time.Now()
		if _, err := p.add(ctx, fmt.Sprintf("device-%d", i), wgkey.NewPrivate().Public()); err != nil {
			return err
		}
		err := eventually(ctx, 5*time.Second, func() error {
			o, err := p.overview(ctx, 0)
			if err != nil {
				return err
			}
			for _, g := range o.Gateways {
				if g.ID == fast.id && g.Applied != o.Revision {
					return fmt.Errorf("%s is behind", g.Name)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		p.run.Metrics.Millis("converged_ms", time.Since(start))
	}
	start := time.Now()
	if err := slow.process.signal(syscall.SIGCONT); err != nil {
		return err
	}
	if err := p.settled(ctx); err != nil {
		return err
	}
	p.run.Metrics.Millis("caught_up_ms", time.Since(start))
	return p.identical(ctx)
}
