//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// crowd is how many peers noReset has beside the one with traffic.
const crowd = 999

// noReset does everything to a location that must not touch the tunnel of a peer
// that did not change, and watches that tunnel: its handshake, its counters, its
// packets.
func noReset() Scenario {
	return Scenario{
		Name:     "no-reset",
		Does:     "1,000 peers; edits, others coming and going, restarts and adoption cost the one with traffic nothing",
		Promises: []string{"P8", "P2"},
		Limit:    4 * time.Minute,
		Lossless: "it counts lost packets",
		Play: func(ctx context.Context, r *Run) error {
			return with(ctx, r, playNoReset)
		},
	}
}

func playNoReset(ctx context.Context, w *world) error {
	var others []peer.DeviceID
	for i := range crowd {
		d, err := w.add(ctx, fmt.Sprintf("other-%d", i), wgkey.NewPrivate().Public())
		if err != nil {
			return err
		}
		others = append(others, d.ID)
	}
	d, err := w.join(ctx)
	if err != nil {
		return err
	}
	p, err := w.talk(ctx, 10*time.Millisecond)
	if err != nil {
		return err
	}
	if err := steady(ctx, p); err != nil {
		return err
	}
	first := p.Replies()[0].Number

	watch := &watcher{w: w, key: d.Key}
	if err := watch.look(ctx); err != nil {
		return err
	}
	for _, step := range noResetSteps(w, others) {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		if err := w.settled(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		// Traffic has to have passed after it as well.
		if _, err := p.WaitReply(ctx, time.Now()); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		if err := watch.look(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		w.run.Metrics.Count("steps", 1)
	}
	if err := w.identical(ctx); err != nil {
		return err
	}
	outage := p.Outage(p.Replies()[0].Received)
	lost, _, err := w.run.Line.lost(ctx, p, first)
	if err = errors.Join(err, p.Close()); err != nil {
		return err
	}
	w.run.Metrics.Count("lost", int64(lost))
	w.run.Metrics.Count("sent", int64(p.Sent()))
	w.run.Metrics.Millis("longest_silence_ms", outage)
	w.run.Metrics.Count("handshakes", int64(watch.handshakes))
	if lost > 0 {
		return fmt.Errorf("%d of %d packets were lost", lost, p.Sent())
	}
	return nil
}

// step is something that must not touch the peer.
type step struct {
	name string
	do   func(ctx context.Context) error
}

func noResetSteps(w *world, others []peer.DeviceID) []step {
	edit := func(f func(*location.Location)) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := w.core.Locations().Update(ctx, w.office.ID, func(l *location.Location) error {
				f(l)
				return nil
			})
			return err
		}
	}
	return []step{
		{"another name, resolver and route for clients", edit(func(l *location.Location) {
			l.Name = "headquarters"
			l.DNS = []netip.Addr{netip.MustParseAddr("10.99.0.53")}
			l.AllowedIPs = append(l.AllowedIPs, netip.MustParsePrefix("10.98.0.0/24"))
		})},
		{"a smaller MTU", edit(func(l *location.Location) { l.MTU = 1380 })},
		{"a firewall mark", edit(func(l *location.Location) { l.Mark = 0x51 })},
		{"the old MTU, no mark", edit(func(l *location.Location) { l.MTU, l.Mark = location.DefaultMTU, 0 })},
		{"another network", edit(func(l *location.Location) {
			l.Networks = append(l.Networks, netip.MustParsePrefix("10.21.0.0/16"))
		})},
		{"100 peers come", func(ctx context.Context) error {
			for i := range 100 {
				if _, err := w.add(ctx, fmt.Sprintf("late-%d", i), wgkey.NewPrivate().Public()); err != nil {
					return err
				}
			}
			return nil
		}},
		{"100 peers go", func(ctx context.Context) error {
			for _, id := range others[:100] {
				if err := w.core.Devices().Delete(ctx, id); err != nil {
					return err
				}
			}
			return nil
		}},
		{"100 peers change their key", func(ctx context.Context) error {
			for _, id := range others[100:200] {
				_, err := w.core.Devices().Update(ctx, id, func(d *peer.Device) error {
					d.Key = wgkey.NewPrivate().Public()
					return nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"the gateways restart and adopt their interfaces", func(context.Context) error {
			for _, g := range w.gateways {
				if err := errors.Join(g.halt(), g.start()); err != nil {
					return err
				}
			}
			return nil
		}},
		{"the gateways are away while peers come and go", func(ctx context.Context) error {
			for _, g := range w.gateways {
				if err := g.halt(); err != nil {
					return err
				}
			}
			if _, err := w.add(ctx, "meanwhile", wgkey.NewPrivate().Public()); err != nil {
				return err
			}
			if err := w.core.Devices().Delete(ctx, others[200]); err != nil {
				return err
			}
			for _, g := range w.gateways {
				if err := g.start(); err != nil {
					return err
				}
			}
			return nil
		}},
		{"the core restarts", func(context.Context) error {
			if err := w.stopCore(); err != nil {
				return err
			}
			for _, g := range w.gateways { // they hold the core that is gone
				if err := g.halt(); err != nil {
					return err
				}
			}
			if err := w.startCore(); err != nil {
				return err
			}
			for _, g := range w.gateways {
				if err := g.start(); err != nil {
					return err
				}
			}
			return nil
		}},
	}
}

// watcher compares what the carrying gateway knows of a peer with what it knew.
type watcher struct {
	w          *world
	key        wgkey.Public
	last       gateway.PeerState
	handshakes int
}

func (w *watcher) look(ctx context.Context) error {
	s, err := w.w.gateways[0].state(ctx)
	if err != nil {
		return err
	}
	for _, p := range s.Peers {
		if p.Key != w.key {
			continue
		}
		was := w.last
		w.last = p
		switch {
		case p.Handshake.IsZero():
			return errors.New("the handshake is lost")
		case p.Handshake.Before(was.Handshake):
			return fmt.Errorf("the handshake went back from %v to %v", was.Handshake, p.Handshake)
		case p.Rx < was.Rx || p.Tx < was.Tx:
			return fmt.Errorf("counters went back: received %d to %d, sent %d to %d", was.Rx, p.Rx, was.Tx, p.Tx)
		case p.Rx == was.Rx:
			return errors.New("no traffic")
		case !p.Endpoint.IsValid():
			return errors.New("the endpoint is lost")
		}
		if !was.Handshake.IsZero() && !p.Handshake.Equal(was.Handshake) {
			w.handshakes++
			// The client makes a new session every 120 s by itself; any other one means
			// that the old one was lost.
			if age := p.Handshake.Sub(was.Handshake); age < 110*time.Second {
				return fmt.Errorf("another handshake after %v", age)
			}
		}
		return nil
	}
	return errors.New("the peer is gone")
}
