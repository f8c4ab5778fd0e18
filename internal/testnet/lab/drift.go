//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"github.com/google/nftables"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// drift has somebody change the interface by hand, in every way, and expects it
// repaired and reported each time.
func drift() Scenario {
	return Scenario{
		Name:     "drift",
		Does:     "what somebody changes by hand on a gateway is repaired, and shows in the overview",
		Promises: []string{"P1"},
		Limit:    2 * time.Minute,
		Play: func(ctx context.Context, r *Run) error {
			return with(ctx, r, playDrift)
		},
	}
}

func playDrift(ctx context.Context, w *world) error {
	victim := wgkey.NewPrivate().Public()
	for i, key := range []wgkey.Public{victim, wgkey.NewPrivate().Public(), wgkey.NewPrivate().Public()} {
		if _, err := w.add(ctx, fmt.Sprintf("device-%d", i), key); err != nil {
			return err
		}
	}
	p, err := w.connect(ctx, 10*time.Millisecond)
	if err != nil {
		return err
	}
	g := w.gateways[0]
	for _, m := range meddling(g, victim) {
		if err := w.repaired(ctx, g, m); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if _, err := p.WaitReply(ctx, time.Now()); err != nil {
			return fmt.Errorf("%s: no traffic afterwards: %w", m.name, err)
		}
		w.run.Metrics.Count("repaired", 1)
	}
	return w.identical(ctx)
}

// meddle is something that somebody does by hand.
type meddle struct {
	name string
	do   func(ctx context.Context) error
	says string // what the report has to name
}

func meddling(g *gw, victim wgkey.Public) []meddle {
	stranger := wgkey.NewPrivate().Public()
	apply := func(steps ...gateway.Step) func(context.Context) error {
		return func(ctx context.Context) error {
			return g.by(func(dev gateway.Device) error { return dev.Apply(ctx, steps) })
		}
	}
	return []meddle{
		{"a peer removed", apply(gateway.Step{Verb: gateway.Remove, Peer: gateway.Peer{Key: victim}}), "device-0"},
		{"a foreign peer added", apply(gateway.Step{Verb: gateway.Set, Peer: gateway.Peer{
			Key: stranger, AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.20.9.9/32")},
		}}), stranger.String()},
		{"an allowed-ip changed", apply(gateway.Step{Verb: gateway.Set, Peer: gateway.Peer{
			Key: victim, AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.20.7.7/32")},
		}}), "device-0"},
		{"an address removed", func(context.Context) error { return g.unaddress() }, "address"},
		{"the link down", func(context.Context) error { return g.host.Down(ifname) }, "down"},
		{"the nftables table flushed", func(ctx context.Context) error { return g.flush(ctx) }, "filter"},
		{"the nftables table deleted", func(context.Context) error { return g.unfilter() }, "filter"},
		{"forwarding switched off", func(context.Context) error { return g.host.Sysctl("net.ipv4.ip_forward", "0") }, "forwarding"},
	}
}

// repaired does it, and waits until the device is right again and the overview
// tells of it.
func (w *world) repaired(ctx context.Context, g *gw, m meddle) error {
	want, err := w.want(ctx)
	if err != nil {
		return err
	}
	before, err := w.member(ctx, g)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := m.do(ctx); err != nil {
		return err
	}
	err = eventually(ctx, 15*time.Second, func() error {
		now, err := w.member(ctx, g)
		if err != nil {
			return err
		}
		if now.Drifts == before.Drifts {
			return errors.New("the overview tells of no drift")
		}
		told := fmt.Sprint(now.Drift)
		if !strings.Contains(told, m.says) {
			return fmt.Errorf("the overview tells of %s, and not of %q", told, m.says)
		}
		have, err := g.state(ctx)
		if err != nil {
			return err
		}
		return same(want, have)
	})
	w.run.Metrics.Millis("repaired_ms", time.Since(start))
	return err
}

// member is what the overview says of a gateway.
func (w *world) member(ctx context.Context, g *gw) (vpn.GatewayOverview, error) {
	o, err := w.overview(ctx)
	if err != nil {
		return vpn.GatewayOverview{}, err
	}
	for _, m := range o.Gateways {
		if m.ID == g.id {
			return m, nil
		}
	}
	return vpn.GatewayOverview{}, fmt.Errorf("the overview lacks gateway %s", g.host.Name())
}

// unaddress takes the first IPv4 address off the interface.
func (g *gw) unaddress() error {
	nl := g.host.Netlink()
	l, err := nl.LinkByName(ifname)
	if err != nil {
		return err
	}
	addrs, err := nl.AddrList(l, 2) // AF_INET
	if err != nil || len(addrs) == 0 {
		return errors.Join(err, errors.New("no address to remove"))
	}
	return nl.AddrDel(l, &addrs[0])
}

// flush empties our table as an operator would: with nft, where it is installed.
func (g *gw) flush(ctx context.Context) error {
	table := "holdfast-" + ifname
	return g.host.Do(func() error {
		if nft, err := exec.LookPath("nft"); err == nil {
			out, err := exec.CommandContext(ctx, nft, "flush", "table", "inet", table).CombinedOutput()
			if err != nil {
				return fmt.Errorf("nft: %w: %s", err, out)
			}
			return nil
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: table})
		return c.Flush()
	})
}

// unfilter deletes our table.
func (g *gw) unfilter() error {
	return g.host.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "holdfast-" + ifname})
		return c.Flush()
	})
}
