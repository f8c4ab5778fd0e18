//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

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
