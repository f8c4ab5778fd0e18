//go:build linux

package wgdevice

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// udpWriter gives packets to a socket. It is for one goroutine at a time.
type udpWriter struct {
	try func(fd uintptr) bool // w.write, made once

	datagrams [batchSize]mmsghdr
	iovecs    [batchSize]unix.Iovec
	controls  [batchSize][controlSize]byte

	todo  []mmsghdr
	errno unix.Errno // of the first of todo
}

func newUDPWriter() *udpWriter {
	w := new(udpWriter)
	w.try = w.write
	return w
}

// send sends packets, batchSize at most; with stick from the source of the
// endpoint. When that is refused, they leave from where the kernel chooses, and
// if that works, the source is forgotten. Packets of one size go to the kernel
// as one, where it can cut them; when that is refused, they go one by one.
func (w *udpWriter) send(s *udpSocket, packets [][]byte, to *endpoint, stick bool) (first error) {
	defer w.forget(len(packets))
	join, blamed := s.cuts.Load(), false
	w.load(packets, to, stick, join)
	for len(w.todo) > 0 {
		if s.raw.Write(w.try) != nil {
			return net.ErrClosed // nothing else happens to it
		}
		switch {
		case w.errno == 0:
			continue
		case join && w.todo[0].Iovlen > 1:
			join = false
			if w.errno == unix.EIO { // not over that link, and it is likely that over no other
				s.cuts.Store(false)
			}
		case stick && sourceGone(w.errno):
			stick, blamed = false, true
		default:
			if first == nil {
				first = fmt.Errorf("send to %s: %w", to.dst, w.errno)
			}
			w.todo = w.todo[1:]
			continue
		}
		w.load(packets[len(packets)-w.left():], to, stick, join)
	}
	if blamed && first == nil {
		to.ClearSrc()
	}
	return first
}

// load makes datagrams of the packets: with join as few as possible, else one
// of each.
func (w *udpWriter) load(packets [][]byte, to *endpoint, stick, join bool) {
	var n int
	for at := 0; at < len(packets); n++ {
		count := 1
		if join {
			count = joint(packets[at:])
		}
		for i, p := range packets[at : at+count] {
			point(&w.iovecs[at+i], p)
		}
		d, control, size := &w.datagrams[n], &w.controls[n], 0
		d.Name, d.Namelen = &to.name[0], to.name.size()
		d.Iov = &w.iovecs[at]
		d.SetIovlen(count)
		if count > 1 {
			size = putPieces(control[:], len(packets[at]))
		}
		if stick {
			size += copy(control[size:], to.control)
		}
		d.Control = nil
		if size > 0 {
			d.Control = &control[0]
		}
		d.SetControllen(size)
		at += count
	}
	w.todo = w.datagrams[:n]
}

// joint is how many packets at the start make one datagram that is cut into
// them again: those of one size, and one at the end that is smaller.
func joint(packets [][]byte) int {
	size := len(packets[0])
	sum := size
	for n, p := range packets[1:] {
		sum += len(p)
		if n+1 == maxPieces || len(p) == 0 || len(p) > size || sum > maxDatagram {
			return n + 1
		}
		if len(p) < size {
			return n + 2
		}
	}
	return len(packets)
}

// left is how many packets are still to be sent.
func (w *udpWriter) left() (n int) {
	for i := range w.todo {
		n += int(w.todo[i].Iovlen)
	}
	return n
}

// forget lets go of n packets.
func (w *udpWriter) forget(n int) {
	w.todo = nil
	clear(w.datagrams[:n])
	clear(w.iovecs[:n])
}

// write is false if there is no room just now.
func (w *udpWriter) write(fd uintptr) bool {
	w.errno = 0
	for len(w.todo) > 0 {
		n, errno := mmsg(unix.SYS_SENDMMSG, fd, w.todo)
		if errno != 0 {
			w.errno = errno
			return errno != unix.EAGAIN
		}
		w.todo = w.todo[n:]
	}
	return true
}

// sourceGone says whether a packet may have been refused for the address that
// it was to be sent from.
func sourceGone(errno unix.Errno) bool {
	switch errno {
	case unix.EINVAL, unix.EADDRNOTAVAIL, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENODEV, unix.ENXIO:
		return true
	default:
		return false
	}
}
