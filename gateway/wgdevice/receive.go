//go:build linux

package wgdevice

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

const (
	// readAtOnce is how many datagrams a reader takes from the kernel at once,
	// each of which may be many packets.
	readAtOnce = 16
	// known is how many peers a reader knows again.
	known = 4096
)

// udpReader takes packets from a socket. It is for one goroutine at a time.
type udpReader struct {
	socket *udpSocket
	try    func(fd uintptr) bool // r.read, made once

	datagrams [readAtOnce]mmsghdr
	iovecs    [readAtOnce]unix.Iovec
	names     [readAtOnce]sockname
	controls  [readAtOnce][controlSize]byte
	buffers   [readAtOnce][]byte

	next, have int // which datagrams are still to be handed on
	errno      unix.Errno
	rest       []byte // what is left of the one before next
	pieces     int    // the size of its packets
	from       *endpoint

	peers [known]*endpoint // those heard of late, by the slots of their names
}

func newUDPReader(s *udpSocket) *udpReader {
	r := &udpReader{socket: s}
	r.try = r.read
	for i := range r.datagrams {
		r.buffers[i] = make([]byte, 1<<16)
		point(&r.iovecs[i], r.buffers[i])
		d := &r.datagrams[i]
		d.Name, d.Control, d.Iov = &r.names[i][0], &r.controls[i][0], &r.iovecs[i]
		d.SetIovlen(1)
	}
	return r
}

// receive is a conn.ReceiveFunc.
func (r *udpReader) receive(packets [][]byte, sizes []int, from []conn.Endpoint) (int, error) {
	for len(r.rest) == 0 && !r.open() {
		if err := r.wait(); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(packets) && (len(r.rest) > 0 || r.open()) {
		piece := r.rest[:min(r.pieces, len(r.rest))]
		r.rest = r.rest[len(piece):]
		sizes[n], from[n] = 0, r.from
		if len(piece) <= len(packets[n]) {
			sizes[n] = copy(packets[n], piece)
		}
		n++
	}
	return n, nil
}

// wait waits for datagrams.
func (r *udpReader) wait() error {
	for i := range r.datagrams {
		d := &r.datagrams[i]
		r.names[i] = sockname{}
		d.Namelen = uint32(len(r.names[i]))
		d.SetControllen(controlSize)
	}
	r.next, r.have = 0, 0
	if r.socket.raw.Read(r.try) != nil {
		return net.ErrClosed // nothing else happens to it
	}
	if r.errno != 0 {
		return fmt.Errorf("receive: %w", r.errno)
	}
	return nil
}

// read is false if nothing is there.
func (r *udpReader) read(fd uintptr) bool {
	r.have, r.errno = mmsg(unix.SYS_RECVMMSG, fd, r.datagrams[:])
	return r.errno != unix.EAGAIN
}

// open begins with the next datagram that has something in it. It is false if
// there is none.
func (r *udpReader) open() bool {
	for r.next < r.have {
		i := r.next
		r.next++
		d := &r.datagrams[i]
		at, pieces := readControl(r.controls[i][:d.Controllen])
		r.from = r.peer(&r.names[i], at)
		if r.from == nil || d.len == 0 || d.Flags&unix.MSG_TRUNC != 0 {
			continue
		}
		r.rest, r.pieces = r.buffers[i][:d.len], pieces
		if pieces <= 0 {
			r.pieces = len(r.rest)
		}
		return true
	}
	return false
}

// peer is who sent a datagram. One who is known, and came in where he came in
// before, is the endpoint of before.
func (r *udpReader) peer(name *sockname, at arrival) *endpoint {
	slot := &r.peers[name.slot(known)]
	if e := *slot; e != nil && e.name == *name && e.arrival == at && !e.cleared.Load() {
		return e
	}
	dst, zone, ok := name.read()
	if !ok {
		return nil
	}
	*slot = newEndpoint(dst, zone, at)
	return *slot
}
