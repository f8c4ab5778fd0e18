//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

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
