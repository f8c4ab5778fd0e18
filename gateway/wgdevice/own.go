//go:build linux

package wgdevice

import (
	"context"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
)

// Own implements gateway.Owner. As long as it tells, what WireGuard sends follows
// addresses, links and routes of the machine, if a Configure step has asked for that
// (FieldSource) with the same Mark. It goes on when the Device is closed, until ctx
// ends; a closed Device tells nothing.
func (d *Device) Own(ctx context.Context, i gateway.Interface) <-chan []netip.Addr {
	o := &owning{
		sources: d.sources, mark: i.Mark, floating: slices.Clone(i.Floating),
		out: make(chan []netip.Addr, 1), changed: make(chan struct{}, 1),
	}
	if d.sources == nil || !d.sources.take() {
		return o.out
	}
	o.crier.ns = o.ns
	_ = o.crier.ready() // who cannot says so when there is something to announce
	err := o.listen(ctx)
	if err != nil {
		o.log.Warn("floating addresses are looked for once a second only", "interface", d.name, "err", err)
	}
	go o.run(ctx, err != nil)
	d.sources.forgetLeaving(ctx, i.Inner)
	return o.out
}

// owning is one call of Own.
type owning struct {
	*sources

	mark     uint32
	floating []netip.Addr
	crier    crier
	out      chan []netip.Addr
	changed  chan struct{}
}

// listen signals what may change anything, until ctx ends.
func (o *owning) listen(ctx context.Context) error {
	var socket *nl.NetlinkSocket
	err := o.ns.do(func() (err error) {
		socket, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
			unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
		return err
	})
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, socket.Close)
	go listen(socket, o.matters, o.changed)
	return nil
}

// run tells, as soon as the tables are right for it. If they cannot be made right it
// tells all the same: that shows in State.Sourced, and is repaired from there.
func (o *owning) run(ctx context.Context, deaf bool) {
	defer func() { _ = join(o.crier.close(), o.give()) }()
	var last []netip.Addr
	for first := true; ; {
		m, seen, err := o.keep(ctx, o.mark, o.floating)
		if ctx.Err() != nil {
			return
		}
		var again <-chan time.Time
		if err != nil || deaf {
			again = time.After(time.Second)
		}
		if err != nil {
			o.log.Warn("what is sent may not leave from the floating address", "interface", o.name, "err", err)
		}
		if now := m.owned(o.floating); seen && (first || !slices.Equal(now, last)) {
			o.arrive(m, now, last)
			o.tell(now)
			runtime.Gosched() // to whom it was told: there is more to do than here
			first, last = false, now
		}
		select {
		case <-o.changed:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// arrive announces the addresses that have come.
func (o *owning) arrive(m machine, now, last []netip.Addr) {
	fresh := slices.DeleteFunc(slices.Clone(now), func(a netip.Addr) bool { return slices.Contains(last, a) })
	if len(fresh) == 0 {
		return
	}
	if err := o.crier.announce(m, fresh); err != nil {
		o.log.Warn("neighbours may learn late where a floating address is", "interface", o.name, "err", err)
	}
}

// tell puts what is true now in place of what nobody has read yet.
func (o *owning) tell(now []netip.Addr) {
	select {
	case <-o.out:
	default:
	}
	o.out <- slices.Clone(now)
}

// matters looks at a message about addresses, links or routes. Of what we change
// ourselves nothing does.
func (o *owning) matters(m syscall.NetlinkMessage) bool {
	switch m.Header.Type {
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return o.floats(m.Data)
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return true
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return len(m.Data) >= unix.SizeofRtMsg && m.Data[rtmTable] == unix.RT_TABLE_MAIN && m.Data[rtmProtocol] != byte(protocol)
	default:
		return false
	}
}

// Where a message about a route has its table and its protocol.
const (
	rtmTable    = 4
	rtmProtocol = 5
)

// floats says whether a message is about one of the floating addresses.
func (o *owning) floats(data []byte) bool { return addressOf(data, o.floating) }

// addressOf says whether a message about an address is about one of these.
func addressOf(data []byte, list []netip.Addr) bool {
	for _, kind := range []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS} {
		a, ok := netip.AddrFromSlice(attribute(data, unix.SizeofIfAddrmsg, kind))
		if ok && slices.Contains(list, a) {
			return true
		}
	}
	return false
}
