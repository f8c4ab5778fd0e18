//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
)

// roaming has the client change its address while nobody can hear of it.
func roaming() Scenario {
	return Scenario{
		Name:       "roaming",
		Does:       "the client gets another address while its gateway is lost: nobody knows where it is, and its own timers bring it back",
		Promises:   []string{"P13"},
		Limit:      2 * time.Minute,
		Keepalived: true,
		Play: func(ctx context.Context, r *Run) error {
			return fronted(ctx, r, setting{open: true}, playRoaming)
		},
	}
}

func playRoaming(ctx context.Context, w *world, s setting, p *testnet.Probe) error {
	came, stop, err := arrival(w.gateways[1].host, s.outer())
	if err != nil {
		return err
	}
	defer stop()
	start, err := w.fall(w.gateways[0])
	if err != nil {
		return err
	}
	// Before the address has moved, or shortly after.
	if err := sleep(ctx, time.Duration(w.run.Rand.Int64N(int64(w.run.unheard()+200*time.Millisecond)))); err != nil {
		return err
	}
	if err := roam(w.scene.Client); err != nil {
		return err
	}
	roamed := time.Now()
	select {
	case moved := <-came:
		w.run.Metrics.Millis("detection_ms", moved.Sub(start))
		w.run.Metrics.Millis("roamed_before_ms", moved.Sub(roamed))
	case <-ctx.Done():
		return fmt.Errorf("keepalived has not moved the address: %w", context.Cause(ctx))
	}
	if _, err := since(ctx, p, roamed); err != nil {
		return fmt.Errorf("no traffic after the client got another address: %w", err)
	}
	outage := p.Outage(start)
	w.run.Metrics.Millis("outage_ms", outage)
	if limit := longest(w.run.Line); outage > limit {
		return fmt.Errorf("an outage of %v, want at most %v: WireGuard's own timers take 15.4 s and each further try 5.4 s", outage, limit)
	}
	return w.carriedBy(ctx, w.gateways[1])
}

// roam gives the client another address in place of the one that it has.
func roam(client *testnet.Host) error {
	nl := client.Netlink()
	lan, err := nl.LinkByName(scene.LAN)
	if err != nil {
		return err
	}
	at := func(last byte) *netlink.Addr {
		return &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(198, 51, 100, last).To4(), Mask: net.CIDRMask(24, 32)}}
	}
	// Otherwise the second address goes with the first.
	err = client.Sysctl("net.ipv4.conf.all.promote_secondaries", "1")
	return errors.Join(err, nl.AddrAdd(lan, at(51)), nl.AddrDel(lan, at(50)))
}
