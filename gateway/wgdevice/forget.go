//go:build linux

package wgdevice

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// leaving forgets the connections of inner addresses that have left the machine.
// They go on at another gateway, and by the time they are back their numbers are far
// from where they were: connection tracking would take their segments for nonsense,
// and let them pass untranslated.
type leaving struct {
	*sources

	inner []netip.Addr
	left  chan struct{}
}

// forgetLeaving does so until ctx ends. What left while nobody looked is made good for
// at once.
func (s *sources) forgetLeaving(ctx context.Context, inner []netip.Addr) {
	if len(inner) == 0 || !s.take() {
		return
	}
	l := &leaving{sources: s, inner: slices.Clone(inner), left: make(chan struct{}, 1)}
	err := s.ns.do(func() error {
		socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
		if err == nil {
			context.AfterFunc(ctx, socket.Close)
			go listen(socket, l.matters, l.left)
		}
		return err
	})
	if err != nil {
		s.log.Warn("nobody tells when an inner address leaves: connections that come back to it may hang", "interface", s.name, "err", err)
	}
	go l.run(ctx)
}

func (l *leaving) matters(m syscall.NetlinkMessage) bool {
	return m.Header.Type == unix.RTM_DELADDR && addressOf(m.Data, l.inner)
}

// run forgets whatever is away, at first and whenever something left.
func (l *leaving) run(ctx context.Context) {
	defer func() { _ = l.give() }()
	for {
		var again <-chan time.Time
		looked, err := l.forgetAway(ctx)
		if !looked {
			again = time.After(time.Second)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.log.Warn("connections that come back to an inner address may hang", "interface", l.name, "err", err)
		}
		select {
		case <-l.left:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// forgetAway forgets what is away. Nobody adopts connections meanwhile, for an address
// that comes back.
func (l *leaving) forgetAway(ctx context.Context) (looked bool, err error) {
	l.flows.Lock()
	defer l.flows.Unlock()
	have, err := l.has(ctx, l.inner)
	if err != nil {
		return false, err
	}
	return true, l.forget(ctx, slices.DeleteFunc(slices.Clone(l.inner), func(a netip.Addr) bool { return slices.Contains(have, a) }))
}

// has are those of the addresses that the machine has.
func (s *sources) has(ctx context.Context, addrs []netip.Addr) ([]netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.look(ctx)
	return m.owned(addrs), err
}

// forget drops what connection tracking knows of connections of these addresses.
func (l *leaving) forget(ctx context.Context, addrs []netip.Addr) error {
	if len(addrs) == 0 {
		return nil
	}
	return l.ns.do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
		if err != nil {
			return fmt.Errorf("connect to connection tracking: %w", explain(err))
		}
		defer h.Close()
		for _, a := range addrs {
			family := netlink.InetFamily(familyOf(a))
			n, err := again(ctx, func() (uint, error) {
				return h.ConntrackDeleteFilters(netlink.ConntrackTable, family, translated(a.AsSlice()))
			})
			if err != nil {
				return fmt.Errorf("forget the connections of %s (modprobe nf_conntrack_netlink): %w", a, explain(err))
			}
			l.log.Debug("connections are forgotten with their address", "interface", l.name, "address", a, "count", n)
		}
		return nil
	})
}

// tcpLoose is the switch by which connection tracking makes a connection of segments
// that do not begin one.
const tcpLoose = "net/netfilter/nf_conntrack_tcp_loose"

// unloosed says what stands in the way of picking up connections. It is on unless
// somebody switched it off, for a reason of his own.
func (d *Device) unloosed() (problems []string) {
	_ = d.ns.do(func() error {
		if on, err := readSwitch(tcpLoose); err == nil && !on {
			problems = append(problems, "TCP connections do not survive a takeover: net.netfilter.nf_conntrack_tcp_loose is 0: "+
				"set it to 1 (sysctl -w net.netfilter.nf_conntrack_tcp_loose=1)")
		}
		return nil
	})
	return problems
}

// translated matches connections whose answers come to an address.
type translated net.IP

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (a translated) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	return flow.Reverse.DstIP.Equal(net.IP(a))
}
