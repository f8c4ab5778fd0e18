//go:build linux

package wgdevice

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// routes says whether sources are still right. As with WireGuard of the kernel,
// one is right while its address is one of this machine, and by IPv4 also only
// while packets from it leave over the link at which the peer's came in. The
// kernel asks when its caches say that something has changed; we listen for
// changes, and ask once for each endpoint that is sent to after one.
type routes struct {
	socket *nl.NetlinkSocket
	done   sync.WaitGroup

	changes *atomic.Uint64 // how many there were, and so which state the routes are in

	mu   sync.Mutex // guards what follows
	nl   *netlink.Handle
	mark uint32
}

// newRoutes watches those of the calling thread's namespace, until close. It
// counts changes on, beginning with one.
func newRoutes(changes *atomic.Uint64) (*routes, error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
		unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
	if err != nil {
		return nil, fmt.Errorf("watch routes: %w", err)
	}
	r := &routes{socket: socket, changes: changes}
	if r.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		socket.Close()
		return nil, fmt.Errorf("ask for routes: %w", err)
	}
	r.changes.Add(1)
	r.done.Go(r.watch)
	return r, nil
}

// close ends the watching. Nobody sticks to a source from then on.
func (r *routes) close() {
	r.socket.Close()
	r.done.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nl.Close()
	r.nl = nil
}

// watch notes each change until the socket is closed. What it is does not
// matter; that some were lost (ENOBUFS) is one, too.
func (r *routes) watch() {
	for {
		_, _, err := r.socket.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return
		}
		r.changes.Add(1)
	}
}

// setMark says with which mark packets are sent.
func (r *routes) setMark(mark uint32) {
	r.mu.Lock()
	r.mark = mark
	r.mu.Unlock()
	r.changes.Add(1)
}

// stick says whether to send from the source of e, which is forgotten if it is
// not right any more. After a change it asks the kernel, which takes some
// microseconds.
func (r *routes) stick(e *endpoint) bool {
	if e.control == nil || e.cleared.Load() {
		return false
	}
	now := r.changes.Load()
	if e.checked.Load() == now {
		return true
	}
	right, err := r.ask(e)
	switch {
	case err != nil:
		return true // no way there at the moment: no reason to forget anything
	case !right:
		e.ClearSrc()
		return false
	default:
		e.checked.Store(now)
		return true
	}
}

// ask asks the kernel whether the source of e is right.
func (r *routes) ask(e *endpoint) (bool, error) {
	if e.src.Is6() && e.src.IsLinkLocalUnicast() {
		return true, nil // goes with its link: the kernel sends from there or not at all
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nl == nil {
		return false, net.ErrClosed
	}
	if e.src.Is6() {
		way, err := r.nl.RouteGet(net.IP(e.src.AsSlice()))
		return err == nil && len(way) > 0 && way[0].Type == unix.RTN_LOCAL, nil
	}
	way, err := r.nl.RouteGetWithOptions(net.IP(e.dst.Addr().AsSlice()), &netlink.RouteGetOptions{
		SrcAddr: net.IP(e.src.AsSlice()), Mark: r.mark,
	})
	if errors.Is(err, unix.EINVAL) {
		return false, nil // not an address of this machine
	}
	return len(way) > 0 && uint32(way[0].LinkIndex) == e.link, err
}

// link is the number of a link.
func (r *routes) link(name string) (uint32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nl == nil {
		return 0, net.ErrClosed
	}
	link, err := r.nl.LinkByName(name)
	if err != nil {
		return 0, explain(err)
	}
	return uint32(link.Attrs().Index), nil
}
