//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// changes is how often twoGateways changes something.
const changes = 200

// twoGateways makes random changes and then compares what the gateways' devices
// have, peer by peer, with each other and with what the store asks for.
func twoGateways() Scenario {
	return Scenario{
		Name:     "two-gateways",
		Does:     "200 random changes end in the same revision and the same peers on both gateways",
		Promises: []string{"P1"},
		Limit:    3 * time.Minute,
		Play: func(ctx context.Context, r *Run) error {
			return with(ctx, r, playTwoGateways)
		},
	}
}

func playTwoGateways(ctx context.Context, w *world) error {
	c := &changer{w: w}
	for i := range changes {
		start := time.Now()
		what, err := c.change(ctx, i)
		if err != nil {
			return fmt.Errorf("change %d, %s: %w", i+1, what, err)
		}
		if c.w.run.Rand.IntN(3) == 0 && i < changes-1 {
			continue // changes also come faster than they are applied
		}
		if err := w.settled(ctx); err != nil {
			return fmt.Errorf("after change %d, %s: %w", i+1, what, err)
		}
		w.run.Metrics.Millis("converged_ms", time.Since(start))
	}
	w.run.Metrics.Count("changes", changes)
	return errors.Join(w.identical(ctx), c.sane())
}

// identical compares the devices of all gateways with the plain projection, peer
// by peer, once each has verified the newest revision by a full look.
func (w *world) identical(ctx context.Context) error {
	head, err := w.head(ctx)
	if err != nil {
		return err
	}
	want, err := w.want(ctx)
	if err != nil {
		return err
	}
	err = eventually(ctx, 20*time.Second, func() error {
		o, err := w.overview(ctx)
		if err != nil {
			return err
		}
		for _, g := range o.Gateways {
			if g.Applied != head || g.Verified != head || len(g.Failed) > 0 {
				return fmt.Errorf("%s: applied %v, verified %v, want %v; failed %v",
					g.Name, g.Applied, g.Verified, head, g.Failed)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, g := range w.gateways {
		have, err := g.state(ctx)
		if err != nil {
			return err
		}
		if err := same(want, have); err != nil {
			return fmt.Errorf("%s differs from revision %v: %w", g.host.Name(), head, err)
		}
	}
	w.run.Metrics.Fact("revision", head.String())
	w.run.Metrics.Fact("peers", len(want.Peers))
	return nil
}

// same compares without Diff, whose mistakes it has to find as well.
func same(want gateway.Config, have gateway.State) error {
	if !have.Exists || !have.Up || !have.Filtered || !have.Forwarding {
		return fmt.Errorf("exists %v, up %v, filtered %v, forwarding %v", have.Exists, have.Up, have.Filtered, have.Forwarding)
	}
	i, j := want.Interface, have.Interface
	if i.Key != j.Key || i.Port != j.Port || i.MTU != j.MTU || i.Mark != j.Mark ||
		!slices.Equal(i.Addrs, j.Addrs) || !slices.Equal(i.Masquerade, j.Masquerade) {
		return fmt.Errorf("the interface has %v, want %v", j, i)
	}
	if routes := routed(want); !slices.Equal(routes, have.Routes) {
		return fmt.Errorf("routes %v, want %v", have.Routes, routes)
	}
	if len(want.Peers) != len(have.Peers) {
		return fmt.Errorf("%d peers, want %d", len(have.Peers), len(want.Peers))
	}
	for n, p := range want.Peers {
		q := have.Peers[n]
		if p.Key != q.Key || p.Preshared != q.Preshared || p.Keepalive != q.Keepalive ||
			!slices.Equal(p.AllowedIPs, q.AllowedIPs) {
			return fmt.Errorf("peer %d is %s %v every %v, want %s %v every %v",
				n, q.Key, q.AllowedIPs, q.Keepalive, p.Key, p.AllowedIPs, p.Keepalive)
		}
	}
	return nil
}

// routed are the prefixes of peers that the interface's own networks lack.
func routed(want gateway.Config) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range want.Peers {
		for _, a := range p.AllowedIPs {
			if !slices.ContainsFunc(want.Interface.Addrs, func(n netip.Prefix) bool { return n.Contains(a.Addr()) }) {
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

// changer makes changes of every kind, drawn from the run's seed.
type changer struct {
	w       *world
	devices []peer.DeviceID
	done    map[string]int
}

// change makes one, and says which.
func (c *changer) change(ctx context.Context, i int) (what string, err error) {
	kinds := []struct {
		name   string
		weight int
		do     func(context.Context, int) error
	}{
		{"add a device", 8, c.add},
		{"delete a device", 2, c.remove},
		{"disable or enable a device", 3, c.toggle},
		{"give a device a route", 2, c.route},
		{"give a device static addresses", 2, c.static},
		{"give a device another key", 2, c.rekey},
		{"edit the location", 2, c.edit},
	}
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	n := c.w.run.Rand.IntN(total)
	for _, k := range kinds {
		if n -= k.weight; n >= 0 {
			continue
		}
		if len(c.devices) == 0 {
			k = kinds[0]
		}
		if c.done == nil {
			c.done = make(map[string]int)
		}
		c.done[k.name]++
		return k.name, k.do(ctx, i)
	}
	return "", errors.New("no kind was drawn")
}

// sane makes sure that the run has tried something of everything that matters.
func (c *changer) sane() error {
	if len(c.done) < 5 || c.done["add a device"] < changes/8 {
		return fmt.Errorf("the seed drew a poor mix: %v", c.done)
	}
	return nil
}

func (c *changer) pick() peer.DeviceID { return c.devices[c.w.run.Rand.IntN(len(c.devices))] }

func (c *changer) add(ctx context.Context, i int) error {
	d, err := c.w.add(ctx, fmt.Sprintf("device-%d", i), wgkey.NewPrivate().Public())
	c.devices = append(c.devices, d.ID)
	return err
}

func (c *changer) remove(ctx context.Context, _ int) error {
	n := c.w.run.Rand.IntN(len(c.devices))
	id := c.devices[n]
	c.devices = append(c.devices[:n], c.devices[n+1:]...)
	return c.w.core.Devices().Delete(ctx, id)
}

func (c *changer) toggle(ctx context.Context, _ int) error {
	return c.update(ctx, func(d *peer.Device) { d.Disabled = !d.Disabled })
}

func (c *changer) rekey(ctx context.Context, _ int) error {
	key := wgkey.NewPrivate().Public()
	return c.update(ctx, func(d *peer.Device) { d.Key = key })
}

// route gives each change a network of its own, and sometimes takes all away.
func (c *changer) route(ctx context.Context, i int) error {
	routes := []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), 0}), 24),
		netip.MustParsePrefix(fmt.Sprintf("fd30:%x::/64", i+1)),
	}
	if c.w.run.Rand.IntN(4) == 0 {
		routes = nil
	}
	return c.place(ctx, peer.Place{Location: c.w.office.ID, Routes: routes})
}

func (c *changer) static(ctx context.Context, i int) error {
	addrs := []netip.Addr{
		netip.AddrFrom4([4]byte{10, 20, 200, byte(i + 1)}),
		netip.MustParseAddr(fmt.Sprintf("fd20::aaaa:%x", i+1)),
	}
	return c.place(ctx, peer.Place{Location: c.w.office.ID, Addrs: addrs})
}

func (c *changer) place(ctx context.Context, p peer.Place) error {
	_, err := c.w.core.Devices().Place(ctx, c.pick(), p)
	return err
}

func (c *changer) update(ctx context.Context, edit func(*peer.Device)) error {
	_, err := c.w.core.Devices().Update(ctx, c.pick(), func(d *peer.Device) error {
		edit(d)
		return nil
	})
	return err
}

func (c *changer) edit(ctx context.Context, i int) error {
	mtu := 1280 + c.w.run.Rand.IntN(200)
	mark := c.w.run.Rand.Uint32N(1 << 16)
	_, err := c.w.core.Locations().Update(ctx, c.w.office.ID, func(l *location.Location) error {
		switch i % 3 {
		case 0:
			l.MTU = mtu
		case 1:
			l.Mark = mark
		default:
			l.Search = []string{fmt.Sprintf("n%d.example.org", i)}
		}
		return nil
	})
	return err
}
