//go:build linux

package main

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// deafStores are a backend whose hints get lost.
type deafStores struct{ vpn.Stores }

// Feed is the backend's, without hints.
func (d deafStores) Feed() vpn.Feed { return deafFeed{d.Stores.Feed()} }

type deafFeed struct{ vpn.Feed }

// Hints has none.
func (deafFeed) Hints(ctx context.Context) iter.Seq[vpn.Hint] {
	return func(func(vpn.Hint) bool) { <-ctx.Done() }
}

// lostHints changes things at a core that hears of nothing.
func lostHints() Scenario {
	return Scenario{
		Name:     "lost-hints",
		Does:     "hints of the store are lost; every change arrives all the same, within a second",
		Promises: []string{"P9"},
		Limit:    time.Minute,
		Play: func(ctx context.Context, r *Run) error {
			return with(ctx, r, playLostHints)
		},
	}
}

func playLostHints(ctx context.Context, w *world) error {
	if err := w.stopCore(); err != nil {
		return err
	}
	for _, g := range w.gateways { // they hold the core that is gone
		if err := g.halt(); err != nil {
			return err
		}
	}
	w.deaf = true
	if err := w.startCore(); err != nil {
		return err
	}
	for _, g := range w.gateways {
		if err := g.start(); err != nil {
			return err
		}
	}
	if err := w.settled(ctx); err != nil {
		return err
	}
	for i := range 20 {
		start := time.Now()
		if _, err := w.add(ctx, fmt.Sprintf("device-%d", i), wgkey.NewPrivate().Public()); err != nil {
			return err
		}
		if err := w.settled(ctx); err != nil {
			return err
		}
		took := time.Since(start)
		w.run.Metrics.Millis("converged_ms", took)
		if took > time.Second {
			return fmt.Errorf("change %d took %v, want at most 1 s", i+1, took)
		}
	}
	return w.identical(ctx)
}
