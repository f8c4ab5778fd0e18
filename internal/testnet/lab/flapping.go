//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
)

// flappingHash has both gateways own the address, as anycast or a balancer does it, and
// the way to it lead to the one and the other in turns, a second each: what no balancer
// should do, and some do when a member comes and goes.
func flappingHash() Scenario {
	return Scenario{
		Name:     "flapping-hash",
		Does:     "a client's packets reach both gateways in turns, a second each; when that ends, it is not stuck",
		Promises: []string{"P8"},
		Limit:    3 * time.Minute,
		Lossless: "what gets lost is measured",
		Play: func(ctx context.Context, r *Run) error {
			owns := make(chan int, 2)
			w := &world{run: r, tune: func(n int, c *gateway.ProcessConfig) {
				c.OnOwn = func(context.Context, gateway.LocationID, []netip.Addr) { owns <- n }
			}}
			return w.host(ctx, func(ctx context.Context, w *world) error { return playFlappingHash(ctx, w, owns) })
		},
	}
}

// lead has the home's router send what is for the location's address to a gateway.
func (w *world) lead(n int) error {
	return w.scene.Home.Route(testnet.Route{To: netip.PrefixFrom(scene.Public4, 32), Via: own(n)})
}

func playFlappingHash(ctx context.Context, w *world, owns <-chan int) error {
	times := 6
	if w.run.Clock != clockWall {
		times = 20
	}
	if err := w.scene.Public.Drop(); err != nil {
		return err
	}
	for _, g := range w.gateways {
		if err := g.host.Addr("lo", netip.PrefixFrom(scene.Public4, 32)); err != nil {
			return err
		}
	}
	if err := w.float(ctx); err != nil {
		return err
	}
	for range w.gateways {
		select {
		case <-owns:
		case <-ctx.Done():
			return fmt.Errorf("not all gateways know that they have the address: %w", context.Cause(ctx))
		}
	}
	if err := w.lead(0); err != nil {
		return err
	}
	p, err := w.traffic(ctx)
	if err != nil {
		return err
	}
	start, sent := time.Now(), p.Sent()
	for n := range times {
		if err := errors.Join(w.lead((n+1)%2), sleep(ctx, time.Second)); err != nil {
			return err
		}
	}
	last := w.run.Rand.IntN(2)
	if err := w.lead(last); err != nil {
		return err
	}
	end := time.Now()
	w.run.Metrics.Millis("flapping_outage_ms", p.Outage(start))
	w.run.Metrics.Count("flapping_sent", int64(p.Sent()-sent))
	w.run.Metrics.Count("flapping_lost", int64(missing(p.Replies(), sent, p.Sent())))
	again, err := w.back(ctx, p, end)
	if err != nil {
		return fmt.Errorf("the client is stuck: %w", err)
	}
	settled := again.Received.Sub(end)
	w.run.Metrics.Millis("settled_ms", settled)
	if limit := longest(w.run.Line); settled > limit {
		return fmt.Errorf("traffic is back after %v, want at most %v", settled, limit)
	}
	if err := w.carriedBy(ctx, w.gateways[last]); err != nil {
		return err
	}
	// Once there, it stays: nobody takes it back who had it meanwhile.
	calm := time.Now()
	if err := sleep(ctx, 7*time.Second); err != nil {
		return err
	}
	if gap := p.Outage(calm); gap > time.Second+w.run.Line.trip() {
		return fmt.Errorf("once it was settled, the client heard nothing for %v", gap)
	}
	return errors.Join(w.carriedBy(ctx, w.gateways[last]), p.Close())
}
