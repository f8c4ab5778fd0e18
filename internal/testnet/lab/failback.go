//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
)

// failback is the way back: the lost machine returns, and an operator gives it the
// address again.
func failback() Scenario {
	return Scenario{
		Name:       "failback",
		Does:       "the lost machine comes back and does not claim the address; then an operator hands it back, under traffic",
		Promises:   []string{"P13"},
		Limit:      2 * time.Minute,
		Keepalived: true,
		Play: func(ctx context.Context, r *Run) error {
			return fronted(ctx, r, setting{open: true}, playFailback)
		},
	}
}

func playFailback(ctx context.Context, w *world, s setting, p *testnet.Probe) error {
	l, err := w.powerLoss(ctx, s, p)
	if err != nil {
		return err
	}
	l.note(w.run)
	if err := l.right(w.run); err != nil {
		return err
	}
	first, second := w.gateways[0], w.gateways[1]
	if err := w.rise(ctx, first); err != nil {
		return err
	}
	// It hears of the other one, and leaves it the address.
	quiet := time.Now()
	if err := sleep(ctx, 3*time.Second); err != nil {
		return err
	}
	if claimed, err := owns(first.host, s.outer()); err != nil || claimed {
		return errors.Join(err, fmt.Errorf("%s has taken the address back: %v", first.host.Name(), claimed))
	}
	if gap := p.Outage(quiet); w.run.Line.retries() == 0 && gap > w.run.proven() {
		return fmt.Errorf("nothing moved, and for %v the client heard nothing", gap)
	}
	return w.handBack(ctx, s, p, first, second)
}

// handBack stops the keepalived that has the address, as 'systemctl restart' does, and
// measures.
func (w *world) handBack(ctx context.Context, s setting, p *testnet.Probe, to, from *gw) error {
	look := watch{host: to.host, address: s.outer(), probe: p}
	l, err := look.until(ctx, w.run, func() (time.Time, error) {
		start, k := time.Now(), w.front.on[from.host]
		return start, errors.Join(k.stop(ctx), w.front.start(from.host))
	})
	if err != nil {
		return err
	}
	w.run.Metrics.Millis("handed_back_ms", l.detection)
	w.run.Metrics.Millis("handed_back_outage_ms", l.outage)
	return errors.Join(l.right(w.run), w.carriedBy(ctx, to))
}

// rise brings a lost machine back: half of them were only unplugged, and have kept what
// they knew, and the others start anew.
func (w *world) rise(ctx context.Context, g *gw) error {
	if w.run.Rand.IntN(2) == 0 {
		w.run.Metrics.Count("rebooted", 1)
		if err := g.end(ctx); err != nil {
			return err
		}
	}
	// Neither a machine that starts nor a keepalived that lost its link has the address.
	nl := g.host.Netlink()
	wan, err := nl.LinkByName(scene.WAN)
	if err != nil {
		return err
	}
	all, err := nl.AddrList(wan, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.IP.Equal(scene.Public4.AsSlice()) || a.IP.Equal(scene.Public6.AsSlice()) {
			if err := nl.AddrDel(wan, &a); err != nil {
				return err
			}
		}
	}
	err = errors.Join(w.scene.Office.Heal(g.host), w.scene.Internet.Heal(g.host), g.start(), w.front.start(g.host))
	if err != nil {
		return err
	}
	return w.settled(ctx)
}
