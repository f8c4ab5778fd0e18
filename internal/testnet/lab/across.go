//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// across is about two clients at different gateways, each of which passes on what is
// for a client of the other.
func across() Scenario {
	return Scenario{
		Name:     "peer-to-peer-across",
		Does:     "clients at different gateways and the office reach each other, whichever gateway gets a packet, and after one moves",
		Promises: []string{"P13"},
		Limit:    90 * time.Second,
		Play:     func(ctx context.Context, r *Run) error { return with(ctx, r, playAcross) },
	}
}

// phone is the second client: it has an address of its own on the internet.
type phone struct {
	host    *testnet.Host
	key     wgkey.Private
	profile peer.Profile
	tunnel  *scene.Tunnel
	addr    netip.Addr
}

func playAcross(ctx context.Context, w *world) error {
	var err error
	w.office, err = w.core.Locations().Update(ctx, w.office.ID, func(l *location.Location) error {
		l.Inner = location.Carried
		return nil
	})
	if err != nil {
		return err
	}
	for i, g := range w.gateways {
		_, err := w.core.Gateways().Update(ctx, g.id, func(row *vpn.Gateway) error {
			row.Address = netip.AddrPortFrom(laneOf(i), 7946).String()
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := errors.Join(w.scene.Server.Route(testnet.Route{To: tunnels4, Via: laneOf(0)}), w.there(ctx)); err != nil {
		return err
	}
	p, err := w.phone(ctx)
	if err != nil {
		return err
	}
	laptop := ends{"the laptop", w.scene.Client, laptop4}
	other := ends{"the phone", p.host, p.addr}
	for _, e := range []ends{laptop, other} {
		l, err := e.host.ListenTCP(netip.AddrPortFrom(netip.IPv4Unspecified(), scene.EchoPort))
		if err != nil {
			return err
		}
		go answer(l)
	}
	for _, at := range []int{1, 0, 1} { // where the phone goes to
		if err := p.dial(ctx, w, at); err != nil {
			return err
		}
		start := time.Now()
		if err := w.meet(ctx, laptop, other); err != nil {
			return fmt.Errorf("with the phone at %s: %w", w.gateways[at].host.Name(), err)
		}
		w.run.Metrics.Millis("met_ms", time.Since(start))
	}
	for line := range strings.Lines(w.scene.Net.Timeline()) {
		if toldToRedirect(line) {
			return fmt.Errorf("a host of the office was told to send to a gateway by itself: %s", line)
		}
	}
	return nil
}

// toldToRedirect says whether a line of a timeline is a redirect in the office to anybody
// but a peer. Peers are told, as by any WireGuard interface that passes on from one of
// them to another; one that has just moved may be so by way of the gateway it comes from.
func toldToRedirect(line string) bool {
	way, is := strings.CutSuffix(strings.TrimSpace(line), " ICMP redirect")
	_, to, ok := strings.Cut(way, " > ")
	if !is || !ok || !strings.Contains(way, " "+scene.LAN+" ") {
		return false
	}
	addr, err := netip.ParseAddr(to)
	return err != nil || !tunnels4.Contains(addr)
}

// laneOf is a gateway's own address in the office.
func laneOf(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("10.99.0.%d", 11+i)) }

// ends is a client and its address in the tunnel.
type ends struct {
	name string
	host *testnet.Host
	addr netip.Addr
}

// meet has all reach all: clients each other, and the office them, by each gateway.
func (w *world) meet(ctx context.Context, a, b ends) error {
	office := ends{"the office", w.scene.Server, scene.Server4}
	for i, g := range w.gateways {
		if err := w.scene.Server.Route(testnet.Route{To: tunnels4, Via: laneOf(i)}); err != nil {
			return err
		}
		for _, pair := range [][2]ends{{a, b}, {b, a}, {office, a}, {office, b}} {
			if err := w.greet(ctx, pair[0], pair[1]); err != nil {
				return fmt.Errorf("%s does not reach %s, with %s for a router: %w", pair[0].name, pair[1].name, g.host.Name(), err)
			}
		}
	}
	return nil
}

// greet connects and has something said back.
func (w *world) greet(ctx context.Context, from, to ends) error {
	var c *net.TCPConn
	err := eventually(ctx, enough, func() (err error) {
		try, cancel := context.WithTimeout(ctx, time.Second+2*w.run.Line.trip())
		defer cancel()
		c, err = from.host.DialTCP(try, netip.AddrPort{}, netip.AddrPortFrom(to.addr, scene.EchoPort))
		return err
	})
	if err != nil {
		return err
	}
	return errors.Join(c.SetDeadline(time.Now().Add(enough)), said(c, c), c.Close())
}

// phone adds a second client.
func (w *world) phone(ctx context.Context) (*phone, error) {
	p := &phone{host: w.scene.Net.Host("phone"), key: wgkey.NewPrivate()}
	if err := w.scene.Internet.Attach(p.host, scene.WAN, netip.MustParsePrefix("203.0.113.60/24")); err != nil {
		return nil, err
	}
	d, err := w.add(ctx, "phone", p.key.Public())
	if err != nil {
		return nil, err
	}
	if p.profile, err = peer.NewProfile(w.office, d); err != nil {
		return nil, err
	}
	p.addr = p.profile.Addresses[0].Addr()
	return p, w.settled(ctx)
}

// dial has the phone go to a gateway, by that one's own address, and waits until the
// overview says that it is there.
func (p *phone) dial(ctx context.Context, w *world, at int) error {
	if p.tunnel != nil {
		if err := p.tunnel.Down(ctx); err != nil {
			return err
		}
	}
	p.profile.Host = fmt.Sprintf("203.0.113.%d", 11+at)
	t, err := scene.Up(ctx, scene.TunnelConfig{
		Host: p.host, Text: p.profile.WGQuick(p.key), Backend: w.run.Backend, Log: w.run.Log.With("at", "phone"),
	})
	if err != nil {
		return err
	}
	if p.tunnel == nil {
		w.tunnels = append(w.tunnels, t)
	} else {
		w.tunnels[len(w.tunnels)-1] = t
	}
	p.tunnel = t
	probe, err := p.host.Probe(testnet.ProbeConfig{To: netip.AddrPortFrom(netip.MustParseAddr("10.20.0.1"), scene.EchoPort), Every: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	err = eventually(ctx, 20*time.Second, func() error {
		o, err := w.overview(ctx)
		if err != nil {
			return err
		}
		for _, one := range o.Peers {
			if one.Name == "phone" && one.Carrier == w.gateways[at].id {
				return nil
			}
		}
		return fmt.Errorf("the phone is not carried by %s", w.gateways[at].host.Name())
	})
	return errors.Join(err, probe.Close())
}
