//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// every is how often the client sends while the address moves, and flowing how
// long it does so before and after.
const (
	every   = 20 * time.Millisecond
	flowing = time.Second
)

// story is the run: first the parts of holdfast, then what happens to them.
type story struct {
	out     printer
	log     *slog.Logger
	result  *Result
	backend wgdevice.Backend

	scene  *scene.Scene
	core   *vpn.Core
	office location.Location
	tunnel *scene.Tunnel

	stop    context.CancelFunc // ends what runs in the background
	running sync.WaitGroup
	undo    []func(context.Context) error // newest last
}

func (s *story) tell(ctx context.Context) (err error) {
	for _, chapter := range []func(context.Context) error{s.build, s.serve, s.connect, s.move} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

// build makes the network and, in it, a core with one location.
func (s *story) build(ctx context.Context) (err error) {
	if s.scene, err = scene.Build(ctx, scene.Config{Log: s.log}); err != nil {
		return err
	}
	s.undo = append(s.undo, func(context.Context) error { return s.scene.Net.Close() })

	// A core: the control plane. Everything is in memory here.
	s.core, err = vpn.New(vpn.Config{Stores: memstore.New(), Keys: seal.Ephemeral(), Log: s.log.With("at", "core")})
	if err != nil {
		return err
	}
	var background context.Context
	background, s.stop = context.WithCancel(context.Background())
	s.running.Go(func() { _ = s.core.Run(background) })

	// A location: what people connect to. Its key is made, and sealed, here.
	s.office, err = s.core.Locations().Create(ctx, location.Location{
		Name:       "office",
		Networks:   []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd20::/64")},
		Host:       scene.Public4.String(),
		AllowedIPs: []netip.Prefix{scene.Office4, scene.Office6},
	})
	if err != nil {
		return err
	}
	s.result.Location = s.office.Name
	s.result.Networks = texts(s.office.Networks)
	s.result.Endpoint = fmt.Sprintf("%s:%d", s.office.Host, s.office.Port)
	s.out.linef("location", "%s: %s, clients dial %s", s.office.Name, strings.Join(s.result.Networks, " and "), s.result.Endpoint)

	// Gateways: each in a host of its own, all with the same key, port and peers.
	for _, h := range s.scene.Gateways {
		reg, err := s.core.Gateways().Add(ctx, vpn.Gateway{Name: h.Name(), Locations: []location.ID{s.office.ID}})
		if err != nil {
			return err
		}
		open := func(context.Context, gateway.LocationID) (gateway.Device, error) { return s.device(h) }
		p, err := gateway.NewProcess(gateway.ProcessConfig{ID: reg.ID, Plane: s.core, Open: open, Log: s.log.With("at", h.Name())})
		if err != nil {
			return err
		}
		// A gateway that stops leaves its tunnels in place, so they are ended here.
		s.undo = append(s.undo, func(ctx context.Context) error { return s.end(ctx, h) })
		s.running.Go(func() { _ = p.Run(background) })
		s.result.Gateways = append(s.result.Gateways, h.Name())
	}
	return s.scene.Public.Move(s.scene.Gateways[0], scene.WAN)
}

// device is the gateway's interface, in the namespace of its host.
func (s *story) device(h *testnet.Host) (*wgdevice.Device, error) {
	return wgdevice.Open(wgdevice.Config{
		Name: "wg-office", NetNS: scene.Path(h), Backend: s.backend, Log: s.log.With("at", h.Name()),
	})
}

func (s *story) end(ctx context.Context, h *testnet.Host) error {
	dev, err := s.device(h)
	if err != nil {
		return err
	}
	return errors.Join(scene.End(ctx, dev), dev.Close())
}

// serve adds a device and waits until every gateway would receive it.
func (s *story) serve(ctx context.Context) error {
	key := wgkey.NewPrivate() // made on the user's machine
	laptop, err := s.core.Devices().Add(ctx, peer.NewDevice{
		Name: "laptop", Owner: "alice", Key: key.Public(), Places: []peer.Place{{Location: s.office.ID}},
	})
	if err != nil {
		return err
	}
	// Only what a gateway has confirmed is there.
	o, err := s.until(ctx, "every gateway has applied the newest revision", func(l vpn.LocationOverview) bool {
		for _, g := range l.Gateways {
			if !g.Connected || !g.Ready || g.Applied != l.Revision {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	s.result.Revision = o.Locations[0].Revision.String()
	s.out.linef("gateways", "%s: same key, port and peers; both have applied revision %s",
		strings.Join(s.result.Gateways, " and "), s.result.Revision)

	profile, err := peer.NewProfile(s.office, laptop)
	if err != nil {
		return err
	}
	text := profile.WGQuick(key)
	shown := strings.ReplaceAll(text, key.RevealText(), "(stays on the laptop)")
	s.result.Client = &Client{Addresses: texts(profile.Addresses), WGQuick: shown}
	s.out.linef("client", "laptop, behind a NAT, set up from this wg-quick text:")
	s.out.block(shown)

	s.tunnel, err = scene.Up(ctx, scene.TunnelConfig{
		Host: s.scene.Client, Text: text, Backend: s.backend, Log: s.log.With("at", "client"),
	})
	if err != nil {
		return err
	}
	s.undo = append(s.undo, s.tunnel.Down)
	return nil
}

// connect sends through the tunnel to the server behind the gateways.
func (s *story) connect(ctx context.Context) error {
	start := time.Now()
	for _, to := range []struct {
		addr netip.Addr
		ms   *float64
	}{{scene.Server4, &s.result.Client.IPv4}, {scene.Server6, &s.result.Client.IPv6}} {
		p, err := s.scene.Client.Probe(testnet.ProbeConfig{To: netip.AddrPortFrom(to.addr, scene.EchoPort), Every: every})
		if err != nil {
			return err
		}
		first, err := p.WaitReply(ctx, time.Time{})
		if err != nil {
			return fmt.Errorf("the server %s does not answer through the tunnel: %w", to.addr, err)
		}
		if s.result.Client.Connected == 0 {
			s.result.Client.Connected = millis(first.Received.Sub(start))
		}
		next, err := p.WaitReply(ctx, first.Received)
		if err != nil {
			return fmt.Errorf("the server %s stopped to answer: %w", to.addr, err)
		}
		*to.ms = millis(next.Received.Sub(next.Sent))
		if err := p.Close(); err != nil {
			return err
		}
	}
	c := s.result.Client
	s.out.linef("traffic", "connected in %.1f ms; %s behind the gateways answers in %.1f ms, %s in %.1f ms",
		c.Connected, scene.Server4, c.IPv4, scene.Server6, c.IPv6)
	var err error
	s.result.Before, err = s.overview(ctx, s.scene.Gateways[0].Name())
	return err
}

// move takes the public address to the other gateway while packets flow.
func (s *story) move(ctx context.Context) error {
	from, to := s.scene.Gateways[0], s.scene.Gateways[1]
	p, err := s.scene.Client.Probe(testnet.ProbeConfig{To: netip.AddrPortFrom(scene.Server4, scene.EchoPort), Every: every})
	if err != nil {
		return err
	}
	if _, err := p.WaitReply(ctx, time.Now().Add(flowing)); err != nil {
		return err
	}
	s.out.linef("moving", "%s from %s to %s, while the client sends every %v …", scene.Public4, from.Name(), to.Name(), every)
	start := time.Now()
	if err := s.scene.Public.Move(to, scene.WAN); err != nil {
		return err
	}
	// Not before a moment has passed: an answer may still be under way.
	back, err := p.WaitReply(ctx, start.Add(5*every))
	if err == nil {
		_, err = p.WaitReply(ctx, back.Sent.Add(flowing))
	}
	if err != nil {
		return fmt.Errorf("no traffic through %s: %w", to.Name(), err)
	}
	outage := p.Outage(start)
	if err := p.Close(); err != nil {
		return err
	}
	s.result.Moved = &Move{
		From: from.Name(), To: to.Name(), OutageMS: millis(outage), EveryMS: millis(every), Sent: p.Sent(), Lost: p.Lost(),
	}
	s.out.linef("outage", "%.2f s, %d of %d packets lost: the client's own WireGuard timers found the new gateway\n"+
		"(15 s without an answer, then a new handshake)", outage.Seconds(), p.Lost(), p.Sent())
	s.result.After, err = s.overview(ctx, to.Name())
	return err
}

// overview waits until the gateways' reports say that carrier carries the
// client, and shows everything.
func (s *story) overview(ctx context.Context, carrier string) (*vpn.Overview, error) {
	o, err := s.until(ctx, carrier+" carries the client", func(l vpn.LocationOverview) bool {
		return len(l.Peers) == 1 && l.Peers[0].CarrierName == carrier
	})
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	if err := o.WriteText(&text); err != nil {
		return nil, err
	}
	s.out.linef("overview", "")
	s.out.block(text.String())
	return &o, nil
}

// until looks at the overview until it is as asked.
func (s *story) until(ctx context.Context, what string, is func(vpn.LocationOverview) bool) (vpn.Overview, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		o, err := s.core.Overview(ctx)
		if err != nil || is(o.Locations[0]) {
			return o, err
		}
		select {
		case <-ctx.Done():
			return o, fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// clean ends everything, newest first, whatever came of the story.
func (s *story) clean() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if s.stop != nil {
		s.stop()
	}
	s.running.Wait()
	var errs []error
	for _, undo := range slices.Backward(s.undo) {
		errs = append(errs, undo(ctx))
	}
	return errors.Join(errs...)
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func texts(prefixes []netip.Prefix) []string {
	var out []string
	for _, p := range prefixes {
		out = append(out, p.String())
	}
	return out
}
