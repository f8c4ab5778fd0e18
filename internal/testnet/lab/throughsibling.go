//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// throughSibling has the core lose its way to the gateway that carries the client, and to
// that one only.
func throughSibling() Scenario {
	return Scenario{
		Name:      "through-sibling",
		Processes: true,
		Does:      "the core cannot reach one gateway any more: it does by way of the other one, and a revocation gets there within 1 s",
		Promises:  []string{"P9", "P14"},
		Limit:     3 * time.Minute,
		Lossless:  "it counts lost packets",
		Play:      func(ctx context.Context, r *Run) error { return within(ctx, r, plantConfig{}, playThroughSibling) },
	}
}

func playThroughSibling(ctx context.Context, p *plant) error {
	t, err := p.traffic(ctx)
	if err != nil {
		return err
	}
	cut := p.sites[0]
	to := netip.PrefixFrom(cut.address.Addr(), cut.address.Addr().BitLen())
	nowhere := netip.MustParseAddr("10.88.0.99") // in the network, and nobody has it
	start := time.Now()
	if err := p.core.host.Route(testnet.Route{To: to, Via: nowhere, Link: control}); err != nil {
		return err
	}
	for _, connected := range []bool{false, true} {
		if err := p.connected(ctx, cut, connected); err != nil {
			return err
		}
	}
	p.run.Metrics.Millis("relayed_ms", time.Since(start))
	other, err := p.add(ctx, "meanwhile", wgkey.NewPrivate().Public())
	if err != nil {
		return err
	}
	if err := p.settled(ctx); err != nil {
		return err
	}
	start = time.Now()
	if _, err := p.admin.DeleteDevice(ctx, other.ID); err != nil {
		return err
	}
	if err := p.settled(ctx); err != nil {
		return err
	}
	revoked := time.Since(start)
	p.run.Metrics.Millis("revoked_ms", revoked)
	s, err := cut.state(ctx, 0)
	if err != nil {
		return err
	}
	switch {
	case len(s.Peers) != 1:
		return fmt.Errorf("the gateway that the core cannot reach has %d peers, want 1", len(s.Peers))
	case p.run.Clock != clockWall && revoked > time.Second:
		return fmt.Errorf("what was revoked was gone everywhere after %v, want at most 1 s", revoked)
	}
	// The way is there again: the gateway is in the network itself.
	if err := p.core.host.Route(testnet.Route{To: to, Link: control}); err != nil {
		return err
	}
	if err := sleep(ctx, 11*time.Second); err != nil {
		return err
	}
	return errors.Join(p.connected(ctx, cut, true), p.settled(ctx), p.identical(ctx), t.undisturbed(ctx))
}

// connected waits until the core says that a gateway is connected, or is not.
func (p *plant) connected(ctx context.Context, s *site, want bool) error {
	return eventually(ctx, 30*time.Second, func() error {
		o, err := p.overview(ctx, 0)
		if err != nil {
			return err
		}
		for _, g := range o.Gateways {
			if g.ID == s.id && g.Connected != want {
				return fmt.Errorf("the core says of %s: connected %v, want %v", s.host.Name(), g.Connected, want)
			}
		}
		return nil
	})
}
