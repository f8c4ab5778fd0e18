//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice/announce"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
)

// twoOwners has both machines believe that the address is theirs.
func twoOwners() Scenario {
	return Scenario{
		Name:       "two-owners",
		Does:       "keepalived cannot hear the other one: both have the address for 10 s, and the client reaches one or the other",
		Promises:   []string{"P13"},
		Limit:      2 * time.Minute,
		Keepalived: true,
		Play: func(ctx context.Context, r *Run) error {
			return fronted(ctx, r, setting{open: true}, playTwoOwners)
		},
	}
}

func playTwoOwners(ctx context.Context, w *world, s setting, p *testnet.Probe) error {
	first, second := w.gateways[0], w.gateways[1]
	deaf := time.Now()
	if err := w.part(false); err != nil {
		return err
	}
	if err := w.front.comes(ctx, second.host, s.outer()); err != nil {
		return err
	}
	// Who announces the address last, gets the client.
	for n := 0; time.Since(deaf) < 10*time.Second; n++ {
		if err := sleep(ctx, time.Duration(500+w.run.Rand.IntN(3000))*time.Millisecond); err != nil {
			return err
		}
		if err := w.gateways[n%2].announces(s.outer()); err != nil {
			return err
		}
	}
	if mine, err := owns(first.host, s.outer()); err != nil || !mine {
		return errors.Join(err, fmt.Errorf("%s has given the address up: %v", first.host.Name(), !mine))
	}
	w.run.Metrics.Millis("outage_both_ms", p.Outage(deaf))
	if err := w.part(true); err != nil {
		return err
	}
	heard := time.Now()
	if _, err := w.oneOwner(ctx, s.outer()); err != nil {
		return err
	}
	one := time.Now()
	again, err := since(ctx, p, one)
	if err != nil {
		return fmt.Errorf("no traffic after there was one owner again: %w", err)
	}
	after := again.Received.Sub(one)
	w.run.Metrics.Millis("agreed_ms", one.Sub(heard))
	w.run.Metrics.Millis("stuck_ms", after)
	limit := longest(w.run.Line)
	if w.run.Line.retries() == 0 { // siblings tell each other within 0.1 s
		limit = 100*time.Millisecond + w.run.proven() + w.run.Line.takeover()
	}
	if after > limit {
		return fmt.Errorf("for %v after there was one owner again the client heard nothing, want at most %v", after, limit)
	}
	return nil
}

// oneOwner waits until exactly one gateway has the address.
func (w *world) oneOwner(ctx context.Context, a netip.Addr) (owner *gw, err error) {
	return owner, eventually(ctx, 20*time.Second, func() error {
		count := 0
		for _, g := range w.gateways {
			mine, err := owns(g.host, a)
			if err != nil {
				return err
			}
			if mine {
				owner, count = g, count+1
			}
		}
		if count != 1 {
			return fmt.Errorf("%d gateways have the address", count)
		}
		return nil
	})
}

// part makes the gateways deaf for each other on the internet, or lets them hear again:
// each sends what is for the other to a machine that is not there.
func (w *world) part(heal bool) error {
	nobody := net.HardwareAddr{2, 0, 0, 0, 0, 0x99}
	var errs []error
	for n, g := range w.gateways {
		nl := g.host.Netlink()
		wan, err := nl.LinkByName(scene.WAN)
		if err != nil {
			return err
		}
		other := netip.AddrFrom4([4]byte{203, 0, 113, byte(12 - n)})
		way := &netlink.Neigh{
			LinkIndex: wan.Attrs().Index, State: netlink.NUD_PERMANENT, IP: other.AsSlice(), HardwareAddr: nobody,
		}
		if heal {
			errs = append(errs, nl.NeighDel(way))
		} else {
			errs = append(errs, nl.NeighSet(way))
		}
	}
	return errors.Join(errs...)
}

// announces tells the internet that the address is at this gateway.
func (g *gw) announces(a netip.Addr) error {
	wan, err := g.host.Netlink().LinkByName(scene.WAN)
	if err != nil {
		return err
	}
	frame := announce.Frame(a, [announce.MACLen]byte(wan.Attrs().HardwareAddr), true)
	return g.host.Do(func() error {
		s, err := announce.Open()
		if err != nil {
			return err
		}
		return errors.Join(s.Send(wan.Attrs().Index, frame), s.Close())
	})
}
