//go:build linux

package wgdevice

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// udpRoom is how much may wait in a socket, in bytes each way: a burst of some
// thousand packets. Without CAP_NET_ADMIN the machine may allow less.
const udpRoom = 8 << 20

// udpSocket is an open UDP socket that does not block. It is spoken to by raw
// system calls, which net cannot replace: net.UDPConn translates zones on
// whichever thread runs, in whichever namespace that is.
type udpSocket struct {
	file *os.File
	raw  syscall.RawConn
	port uint16
	cuts atomic.Bool // the kernel cuts datagrams into pieces (udp(7), UDP_SEGMENT)
}

// listenUDP opens a socket of a family in the namespace of the calling thread,
// for all addresses of the family. Port 0 is any that is free.
func listenUDP(family int, port uint16) (*udpSocket, error) {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("open UDP socket: %w", err)
	}
	s := &udpSocket{}
	if s.port, err = bindUDP(fd, family, port); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open UDP port %d: %w", port, err)
	}
	// Older kernels would send the datagram as it is.
	_, err = unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	s.cuts.Store(err == nil)
	s.file = os.NewFile(uintptr(fd), "udp")
	if s.raw, err = s.file.SyscallConn(); err != nil {
		_ = s.file.Close()
		return nil, err
	}
	return s, nil
}

// bindUDP sets up the socket, and returns its port.
func bindUDP(fd, family int, port uint16) (uint16, error) {
	roomFor(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF)
	roomFor(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF)
	_ = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) // older kernels hand on each packet by itself
	var at unix.Sockaddr
	var err error
	if family == unix.AF_INET6 {
		at = &unix.SockaddrInet6{Port: int(port)}
		err = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1)
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
	} else {
		at = &unix.SockaddrInet4{Port: int(port)}
		err = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_PKTINFO, 1)
	}
	if err == nil {
		err = unix.Bind(fd, at)
	}
	if err == nil {
		at, err = unix.Getsockname(fd)
	}
	if err != nil {
		return 0, err
	}
	switch at := at.(type) {
	case *unix.SockaddrInet4:
		return uint16(at.Port), nil
	case *unix.SockaddrInet6:
		return uint16(at.Port), nil
	default:
		return 0, unix.EAFNOSUPPORT
	}
}

// roomFor sets the size of a buffer, by force where that is allowed.
func roomFor(fd, force, ask int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, udpRoom) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, ask, udpRoom)
	}
}

func (s *udpSocket) setMark(mark uint32) error {
	var err error
	closed := s.raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
	})
	if closed != nil {
		return nil //nolint:nilerr // it sends nothing any more
	}
	return err
}

// close closes the socket. When it returns, nobody uses it any more.
func (s *udpSocket) close() { _ = s.file.Close() }
