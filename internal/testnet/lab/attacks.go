//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// replayInitiation has somebody who recorded the client's initiation send it again, to
// both gateways, from the client's public address and from another one. The gateway that
// never heard the client takes it for a new one, answers, and learns a place where
// nobody is.
func replayInitiation() Scenario {
	return Scenario{
		Name:     "replay-initiation",
		Does:     "a recorded initiation is sent again to both gateways: nobody is moved, forgotten or taken over",
		Promises: []string{"P3", "P8"},
		Limit:    90 * time.Second,
		Lossless: "every packet counts",
		Play:     func(ctx context.Context, r *Run) error { return with(ctx, r, playReplayInitiation) },
	}
}

func playReplayInitiation(ctx context.Context, w *world) (err error) {
	stranger, err := w.stranger()
	if err != nil {
		return err
	}
	if err := w.float(ctx); err != nil {
		return err
	}
	s, err := sniff(w.gateways[0].host)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	d, err := w.join(ctx)
	if err != nil {
		return err
	}
	p, err := w.talk(ctx, every)
	if err != nil {
		return err
	}
	message, err := s.next(ctx, homeAddr)
	if err != nil {
		return err
	}
	before, err := w.lasting(ctx, p, d.Key)
	if err != nil {
		return err
	}
	port := w.office.Port
	targets := []netip.AddrPort{
		netip.AddrPortFrom(own(1), port), netip.AddrPortFrom(own(0), port), netip.AddrPortFrom(scene.Public4, port),
	}
	// Longer than a gateway waits until it forgets whom another one carries.
	if err := repeat(ctx, stranger, message, 40, 200*time.Millisecond, targets...); err != nil {
		return err
	}
	if err := repeat(ctx, w.scene.Home, message, 10, 50*time.Millisecond, targets...); err != nil {
		return err
	}
	if err := sleep(ctx, 1500*time.Millisecond); err != nil { // what is seen is seen each second
		return err
	}
	if err := errors.Join(w.unmoved(ctx, before), w.carriedBy(ctx, w.gateways[0]), w.gapless(ctx, p)); err != nil {
		return err
	}
	// And who takes over knows where the client is, and not where the stranger was.
	if err := w.lose(w.gateways[0]); err != nil {
		return err
	}
	return errors.Join(w.takeover(ctx, p, w.gateways[1]), p.Close())
}

// keyWithoutPSK has somebody who has the client's private key, but not the preshared
// one, try to be the client, at the gateway that carries it and at the other one.
// WireGuard takes his initiations for the client's: they show only in what was received.
func keyWithoutPSK() Scenario {
	return Scenario{
		Name:     "key-without-psk",
		Does:     "who has a client's key but not its preshared key gets no session, counts as no activity, moves nobody",
		Promises: []string{"P3", "P8"},
		Limit:    2 * time.Minute,
		Lossless: "every packet counts",
		Play: func(ctx context.Context, r *Run) error {
			psk := wgkey.NewPreshared()
			w := &world{run: r, tune: func(_ int, c *gateway.ProcessConfig) { c.Plane = presharing{c.Plane, psk} }}
			return w.host(ctx, func(ctx context.Context, w *world) error { return playKeyWithoutPSK(ctx, w, psk) })
		},
	}
}

// presharing is a plane that gives every peer a preshared key, as a session will.
type presharing struct {
	gateway.ControlPlane

	key wgkey.Preshared
}

// Watch implements gateway.ControlPlane.
func (p presharing) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) iter.Seq2[gateway.Update, error] {
	return func(yield func(gateway.Update, error) bool) {
		for u, err := range p.ControlPlane.Watch(ctx, id, at, have) {
			for i := range u.Set {
				u.Set[i].Preshared = p.key
			}
			if !yield(u, err) {
				return
			}
		}
	}
}

func playKeyWithoutPSK(ctx context.Context, w *world, psk wgkey.Preshared) error {
	stranger, err := w.stranger()
	if err != nil {
		return err
	}
	if err := w.float(ctx); err != nil {
		return err
	}
	d, stolen, err := w.enrol(ctx)
	if err != nil {
		return err
	}
	text := strings.Replace(stolen, "[Peer]\n", "[Peer]\nPresharedKey = "+psk.RevealText()+"\n", 1)
	if err := w.tunnel(ctx, text); err != nil {
		return err
	}
	p, err := w.talk(ctx, every)
	if err != nil {
		return err
	}
	before, err := w.lasting(ctx, p, d.Key)
	if err != nil {
		return err
	}
	// At the gateway that does not carry the client, for longer than it takes to be
	// forgotten there, nothing is lost. At the one that does, WireGuard sends to the
	// stranger what is for the client until the client's next packet.
	for n := 1; n >= 0; n-- {
		at := netip.AddrPortFrom(own(n), w.office.Port)
		if err := w.steal(ctx, strings.Replace(stolen, scene.Public4.String(), at.Addr().String(), 1), stranger, n); err != nil {
			return fmt.Errorf("at gw%d: %w", n+1, err)
		}
		if err := errors.Join(w.unmoved(ctx, before), w.carriedBy(ctx, w.gateways[0])); err != nil {
			return fmt.Errorf("at gw%d: %w", n+1, err)
		}
		if n == 1 {
			if err := w.gapless(ctx, p); err != nil {
				return err
			}
		}
	}
	outage := p.Outage(p.Replies()[0].Received)
	w.run.Metrics.Millis("outage_ms", outage)
	if limit := 500*time.Millisecond + w.run.Line.trip(); outage > limit {
		return fmt.Errorf("the client heard nothing for %v, want at most %v", outage, limit)
	}
	if err := w.lose(w.gateways[0]); err != nil {
		return err
	}
	return errors.Join(w.takeover(ctx, p, w.gateways[1]), p.Close())
}

// steal sets the stranger up with the client's key, has it send for a while, and makes
// sure that its initiations arrived at the nth gateway, and came to nothing.
func (w *world) steal(ctx context.Context, text string, stranger *testnet.Host, n int) (err error) {
	record, err := sniff(w.gateways[n].host)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, record.close()) }()
	t, err := scene.Up(ctx, scene.TunnelConfig{Host: stranger, Text: text, Backend: w.run.Backend, Log: w.run.Log.With("at", "stranger")})
	if err != nil {
		return err
	}
	probe, err := stranger.Probe(testnet.ProbeConfig{To: netip.AddrPortFrom(scene.Server4, scene.EchoPort), Every: every})
	if err != nil {
		return errors.Join(err, t.Down(ctx))
	}
	err = sleep(ctx, 7*time.Second) // two tries
	s, stateErr := t.State(ctx)
	_, arrived := record.next(ctx, strangerAddr.Addr())
	err = errors.Join(err, stateErr, arrived, probe.Close(), t.Down(ctx))
	switch {
	case err != nil:
		return err
	case len(s.Peers) != 1 || !s.Peers[0].Handshake.IsZero() || len(probe.Replies()) > 0:
		return errors.New("the stranger has a session")
	}
	return sleep(ctx, 1500*time.Millisecond) // what is seen is seen each second
}
