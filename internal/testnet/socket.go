//go:build linux

package testnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// ListenUDP opens a UDP socket in the host. An invalid address means any address
// and any port. The caller closes it; [Net.Close] does if it is still open.
func (h *Host) ListenUDP(at netip.AddrPort) (*net.UDPConn, error) {
	return sock(h, "listen on udp", at, func() (*net.UDPConn, error) {
		return net.ListenUDP("udp", udpAddr(at))
	})
}

// DialUDP opens a UDP socket in the host that talks with one far end only. An
// invalid from means any address and port.
func (h *Host) DialUDP(ctx context.Context, from, to netip.AddrPort) (*net.UDPConn, error) {
	return sock(h, "dial udp", to, func() (*net.UDPConn, error) {
		return new(net.Dialer).DialUDP(ctx, "udp", from, to)
	})
}

// ListenTCP opens a TCP listener in the host. An invalid address means any
// address and any port. Connections that it accepts are the caller's.
func (h *Host) ListenTCP(at netip.AddrPort) (*net.TCPListener, error) {
	return sock(h, "listen on tcp", at, func() (*net.TCPListener, error) {
		return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	})
}

// DialTCP connects from the host, from any address if from is invalid.
func (h *Host) DialTCP(ctx context.Context, from, to netip.AddrPort) (*net.TCPConn, error) {
	return sock(h, "dial tcp", to, func() (*net.TCPConn, error) {
		return new(net.Dialer).DialTCP(ctx, "tcp", from, to)
	})
}

// sock opens a socket in the host and has the network keep it.
func sock[S interface {
	comparable
	socket
}](h *Host, what string, at netip.AddrPort, opener func() (S, error)) (S, error) {
	var none, s S
	err := h.Do(func() (err error) {
		s, err = opener()
		return err
	})
	if err == nil {
		err = h.net.keep(s)
	}
	if err != nil {
		return none, fmt.Errorf("testnet: host %s: %s %s: %w", h.name, what, at, err)
	}
	return s, nil
}

// udpAddr is at, or nil for an invalid one.
func udpAddr(at netip.AddrPort) *net.UDPAddr {
	if !at.IsValid() {
		return nil
	}
	return net.UDPAddrFromAddrPort(at)
}

// listenFree is ListenUDP for an address that the host need not have (yet), and
// without the network keeping it.
func (h *Host) listenFree(at netip.AddrPort) (conn *net.UDPConn, err error) {
	if !at.IsValid() {
		return nil, errors.New("no address")
	}
	err = h.Do(func() error {
		var to unix.Sockaddr = &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
		family := unix.AF_INET6
		if a := at.Addr().Unmap(); a.Is4() {
			to, family = &unix.SockaddrInet4{Port: int(at.Port()), Addr: a.As4()}, unix.AF_INET
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "udp")
		defer func() { _ = f.Close() }() // the connection has a copy
		if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1); err != nil {
			return err
		}
		if err := unix.Bind(fd, to); err != nil {
			return err
		}
		c, err := net.FilePacketConn(f)
		if err != nil {
			return err
		}
		var ok bool
		if conn, ok = c.(*net.UDPConn); !ok {
			return errors.Join(fmt.Errorf("got a %T", c), c.Close())
		}
		return nil
	})
	return conn, err
}

// local is where a socket listens.
func local(c *net.UDPConn) netip.AddrPort {
	a, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return a.AddrPort()
}
