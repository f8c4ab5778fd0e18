//go:build linux

package wgdevice

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Changes implements gateway.Notifier. Peers are not watched, since WireGuard
// tells nobody of them; forwarding is. What this Device does itself it hears of
// too. The watching goes on when the Device is closed, until ctx ends.
func (d *Device) Changes(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	if d.closed {
		return out
	}
	w := &watch{name: d.name, table: d.filter.table}
	if link, err := d.nl.LinkByName(d.name); err == nil {
		w.index = int32(link.Attrs().Index)
	}
	sources := []struct {
		protocol int
		groups   []uint
		matters  func(syscall.NetlinkMessage) bool
	}{
		{unix.NETLINK_ROUTE, []uint{
			unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
			unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF,
			unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
		}, w.route},
		{unix.NETLINK_NETFILTER, []uint{unix.NFNLGRP_NFTABLES}, w.nft},
	}
	for _, s := range sources {
		var socket *nl.NetlinkSocket
		err := d.ns.do(func() (err error) {
			socket, err = nl.Subscribe(s.protocol, s.groups...)
			return err
		})
		if err != nil {
			d.log.Warn("changes are noticed at the next look only", "interface", d.name, "err", err)
			continue
		}
		context.AfterFunc(ctx, socket.Close)
		go listen(socket, s.matters, out)
	}
	return out
}

// listen signals each message that matters until the socket is closed.
func listen(socket *nl.NetlinkSocket, matters func(syscall.NetlinkMessage) bool, out chan<- struct{}) {
	for {
		messages, _, err := socket.Receive()
		signal := errors.Is(err, unix.ENOBUFS) // some were lost, and who knows which
		if err != nil && !signal && !errors.Is(err, unix.EINTR) {
			return
		}
		for _, m := range messages {
			signal = matters(m) || signal
		}
		if signal {
			select {
			case out <- struct{}{}:
			default: // one is waiting already
			}
		}
	}
}

// watch knows which messages are about the interface.
type watch struct {
	name, table string

	mu    sync.Mutex // guards what follows
	index int32      // 0: not there
}

// route looks at a message about links, addresses, routes, rules or settings.
func (w *watch) route(m syscall.NetlinkMessage) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return w.link(m)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return len(m.Data) >= unix.SizeofIfAddrmsg && w.index != 0 && nl.DeserializeIfAddrmsg(m.Data).Index == uint32(w.index)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return w.index != 0 && w.number(m.Data, unix.SizeofRtMsg, unix.RTA_OIF) == w.index
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return w.index != 0 && w.number(m.Data, unix.SizeofRtMsg, nl.FRA_PRIORITY) == sourcePriority
	case unix.RTM_NEWNETCONF:
		return w.number(m.Data, sizeofNetconf, netconfIndex) == netconfAll
	default:
		return false
	}
}

// What unix does not have of linux/netconf.h.
const (
	sizeofNetconf = 1
	netconfIndex  = 1
	netconfAll    = -1
)

// link follows the interface: it may go, and come back with another index.
func (w *watch) link(m syscall.NetlinkMessage) bool {
	if len(m.Data) < unix.SizeofIfInfomsg {
		return false
	}
	index := nl.DeserializeIfInfomsg(m.Data).Index
	name := strings.TrimRight(string(attribute(m.Data, unix.SizeofIfInfomsg, unix.IFLA_IFNAME)), "\x00")
	known := w.index != 0 && index == w.index
	switch {
	case name == w.name && m.Header.Type == unix.RTM_NEWLINK:
		w.index = index
	case known:
		w.index = 0 // gone, or called something else now
	}
	return known || name == w.name
}

// nft looks at a message about nftables. In each of them the first attribute is
// the name of the table.
func (w *watch) nft(m syscall.NetlinkMessage) bool {
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Header.Type&0xff == unix.NFT_MSG_NEWGEN {
		return false
	}
	return strings.TrimRight(string(attribute(m.Data, nl.SizeofNfgenmsg, unix.NFTA_TABLE_NAME)), "\x00") == w.table
}

// number is the attribute as a number; 0 without it.
func (w *watch) number(data []byte, header int, kind uint16) int32 {
	v := attribute(data, header, kind)
	if len(v) < 4 {
		return 0
	}
	return int32(binary.NativeEndian.Uint32(v))
}

// attribute returns what the message has under kind, after a header of a size.
func attribute(data []byte, header int, kind uint16) []byte {
	header = (header + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1)
	if len(data) < header {
		return nil
	}
	attrs, err := nl.ParseRouteAttr(data[header:])
	if err != nil {
		return nil
	}
	for _, a := range attrs {
		if a.Attr.Type&typeMask == kind {
			return a.Value
		}
	}
	return nil
}
