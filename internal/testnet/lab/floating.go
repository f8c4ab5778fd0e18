//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
)

// floatingAddress moves the public address from one gateway to the other while
// the client sends, and measures how long nothing comes back. Nobody helps:
// what passes is the client's own patience, KEEPALIVE_TIMEOUT + REKEY_TIMEOUT
// = 15 s and up to 1/3 s of jitter (WireGuard white paper, section 6).
func floatingAddress() Scenario {
	return Scenario{
		Name:     "floating-address",
		Does:     "the public address moves to another gateway under traffic; WireGuard's own timers recover",
		Promises: []string{"P1"},
		Limit:    90 * time.Second,
		Play: func(ctx context.Context, r *Run) error {
			return with(ctx, r, playFloatingAddress)
		},
	}
}

func playFloatingAddress(ctx context.Context, w *world) error {
	_, err := w.join(ctx)
	if err != nil {
		return err
	}
	// What differs from run to run: how often the client sends, how old its
	// session is, and where between two packets the move falls.
	every := time.Duration(5+w.run.Rand.IntN(26)) * time.Millisecond
	age := time.Duration(500+w.run.Rand.IntN(2500)) * time.Millisecond
	w.run.Metrics.Sample("interval_ms", float64(every.Milliseconds()))
	p, err := w.probe(every)
	if err != nil {
		return err
	}
	first, err := w.up(ctx, p)
	if err != nil {
		return err
	}
	if err := w.carriedBy(ctx, w.gateways[0]); err != nil {
		return err
	}
	if err := sleep(ctx, age-time.Since(first.Received)); err != nil {
		return err
	}
	start := time.Now()
	w.run.Metrics.Millis("session_age_ms", start.Sub(first.Received))
	if err := w.scene.Public.Move(w.gateways[1].host, scene.WAN); err != nil {
		return err
	}
	// A reply can still be under way through the old gateway.
	again, err := p.WaitReply(ctx, start.Add(250*time.Millisecond))
	if err != nil {
		return fmt.Errorf("no traffic after the address moved: %w", err)
	}
	outage := p.Outage(start)
	w.run.Metrics.Millis("outage_ms", outage)
	w.run.Log.Info("traffic is back", "after", again.Received.Sub(start), "outage", outage)
	if err := w.carriedBy(ctx, w.gateways[1]); err != nil {
		return err
	}
	if err := p.Close(); err != nil {
		return err
	}
	w.run.Metrics.Count("lost", int64(p.Lost()))
	w.run.Metrics.Count("sent", int64(p.Sent()))
	if limit := longest(w.run.Line); outage > limit {
		return fmt.Errorf("outage of %v, want at most %v: WireGuard's own timers take 15.4 s and each further try 5.4 s", outage, limit)
	}
	return nil
}

// longest is the outage that is still right: one further try is, and what the
// line makes of it. After the last try a handshake and a packet go both ways.
func longest(l line) time.Duration {
	return 25*time.Second + time.Duration(l.retries())*retry + 2*l.trip()
}

// carriedBy waits until the overview says that the gateway carries the client.
func (w *world) carriedBy(ctx context.Context, g *gw) error {
	return eventually(ctx, 15*time.Second, func() error {
		o, err := w.overview(ctx)
		if err != nil {
			return err
		}
		for _, p := range o.Peers {
			if p.Name == client {
				if p.Carrier != g.id {
					return fmt.Errorf("%s is carried by %q, want %q (%s)", client, p.Carrier, g.id, g.host.Name())
				}
				return nil
			}
		}
		return fmt.Errorf("the overview lacks %s", client)
	})
}

// sleep waits for d, which is part of a scenario, or for ctx.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
