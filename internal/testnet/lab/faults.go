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

// halfOpen black-holes the links between the core and the gateways.
func halfOpen() Scenario {
	return Scenario{
		Name:      "half-open",
		Processes: true,
		Does:      "links to the core swallow everything: noticed within 5 s, the configuration stays, and it heals by itself",
		Promises:  []string{"P2", "P8", "P9"},
		Limit:     2 * time.Minute,
		Lossless:  "it counts lost packets",
		Play:      func(ctx context.Context, r *Run) error { return within(ctx, r, plantConfig{}, playHalfOpen) },
	}
}

func playHalfOpen(ctx context.Context, p *plant) error {
	t, err := p.traffic(ctx)
	if err != nil {
		return err
	}
	cut := p.sites[1]
	start := time.Now()
	if err := p.control.Cut(cut.host); err != nil {
		return err
	}
	err = eventually(ctx, 20*time.Second, func() error {
		o, err := p.overview(ctx, 0)
		if err != nil {
			return err
		}
		for _, g := range o.Gateways {
			if g.ID == cut.id && g.Connected {
				return errors.New("the core takes the gateway for connected")
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	noticed := time.Since(start)
	p.run.Metrics.Millis("noticed_ms", noticed)
	if noticed > 5*time.Second+500*time.Millisecond {
		return fmt.Errorf("the core noticed after %v, want at most 5 s", noticed)
	}
	if _, err := p.add(ctx, "meanwhile", wgkey.NewPrivate().Public()); err != nil {
		return err
	}
	if err := sleep(ctx, 10*time.Second); err != nil {
		return err
	}
	s, err := cut.state(ctx, 0)
	if err != nil {
		return err
	}
	if len(s.Peers) != 1 || !s.Up {
		return fmt.Errorf("the gateway that was cut off has %d peers, up %v: want what it had", len(s.Peers), s.Up)
	}
	start = time.Now()
	if err := p.control.Heal(cut.host); err != nil {
		return err
	}
	if err := p.settled(ctx); err != nil {
		return err
	}
	p.run.Metrics.Millis("healed_ms", time.Since(start))
	return errors.Join(t.undisturbed(ctx), p.identical(ctx))
}

// twoLocations breaks one location and looks at the other.
func twoLocations() Scenario {
	return Scenario{
		Name:      "two-locations",
		Processes: true,
		Does:      "one location cannot be served; the other one on the same gateways does not notice",
		Promises:  []string{"P1"},
		Limit:     time.Minute,
		Lossless:  "it counts lost packets",
		Play: func(ctx context.Context, r *Run) error {
			return within(ctx, r, plantConfig{offices: 2}, playTwoLocations)
		},
	}
}

func playTwoLocations(ctx context.Context, p *plant) error {
	t, err := p.traffic(ctx)
	if err != nil {
		return err
	}
	// Somebody has the port that the second location is to move to.
	taken := p.offices[1]
	taken.Port = 5333
	for _, s := range p.sites {
		conn, err := s.host.ListenUDP(anyAddr(taken.Port))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
	}
	if _, _, err := p.admin.UpdateLocation(ctx, taken, "port"); err != nil {
		return err
	}
	err = eventually(ctx, 10*time.Second, func() error {
		o, err := p.overview(ctx, 1)
		if err != nil {
			return err
		}
		for _, g := range o.Gateways {
			if len(g.Failed) == 0 {
				return fmt.Errorf("%s does not say that it fails", g.Name)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range 5 {
		start := time.Now()
		if _, err := p.add(ctx, fmt.Sprintf("meanwhile-%d", i), wgkey.NewPrivate().Public()); err != nil {
			return err
		}
		err := eventually(ctx, 5*time.Second, func() error {
			o, err := p.overview(ctx, 0)
			if err != nil {
				return err
			}
			for _, g := range o.Gateways {
				if g.Applied != o.Revision {
					return fmt.Errorf("%s is behind", g.Name)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		p.run.Metrics.Millis("converged_ms", time.Since(start))
		// The other location is tried again and again meanwhile.
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	var s gateway.State
	if s, err = p.sites[0].state(ctx, 1); err != nil {
		return err
	}
	if !s.Exists || s.Interface.Port == taken.Port {
		return fmt.Errorf("the broken location: exists %v, port %d", s.Exists, s.Interface.Port)
	}
	return t.undisturbed(ctx)
}
