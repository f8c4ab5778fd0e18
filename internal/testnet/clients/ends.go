//go:build linux

package clients

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// bind is one socket, read one message at a time: WireGuard's own takes 8 MB for each.
type bind struct {
	host   *testnet.Host
	came   func([]byte)
	socket *net.UDPConn // nil: closed
}

// Open implements conn.Bind. Any port will do.
func (b *bind) Open(uint16) (_ []conn.ReceiveFunc, _ uint16, err error) {
	if b.socket, err = b.host.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), 0)); err != nil {
		return nil, 0, err
	}
	socket := b.socket
	at, err := netip.ParseAddrPort(socket.LocalAddr().String())
	if err != nil {
		return nil, 0, fmt.Errorf("clients: %w", err)
	}
	receive := func(packets [][]byte, sizes []int, from []conn.Endpoint) (int, error) {
		return b.receive(socket, packets, sizes, from)
	}
	return []conn.ReceiveFunc{receive}, at.Port(), nil
}

func (b *bind) receive(socket *net.UDPConn, packets [][]byte, sizes []int, from []conn.Endpoint) (int, error) {
	n, at, err := socket.ReadFromUDPAddrPort(packets[0])
	if err != nil {
		return 0, net.ErrClosed
	}
	b.came(packets[0][:n])
	sizes[0], from[0] = n, &endpoint{netip.AddrPortFrom(at.Addr().Unmap(), at.Port())}
	return 1, nil
}

// Close implements conn.Bind.
func (b *bind) Close() error {
	if b.socket == nil {
		return nil // it is closed before it is opened, too
	}
	err := b.socket.Close()
	b.socket = nil
	return err
}

// SetMark implements conn.Bind, and does nothing.
func (*bind) SetMark(uint32) error { return nil }

// Send implements conn.Bind.
func (b *bind) Send(packets [][]byte, to conn.Endpoint) error {
	at, err := netip.ParseAddrPort(to.DstToString())
	if err != nil {
		return fmt.Errorf("clients: send: %w", err)
	}
	for _, p := range packets {
		if _, err := b.socket.WriteToUDPAddrPort(p, at); err != nil {
			return fmt.Errorf("clients: send: %w", err)
		}
	}
	return nil
}

// ParseEndpoint implements conn.Bind.
func (*bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	at, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, fmt.Errorf("clients: %w", err)
	}
	return &endpoint{at}, nil
}

// BatchSize implements conn.Bind.
func (*bind) BatchSize() int { return 1 }

// endpoint implements conn.Endpoint.
type endpoint struct{ netip.AddrPort }

func (*endpoint) ClearSrc()             {}
func (*endpoint) SrcToString() string   { return "" }
func (*endpoint) SrcIP() netip.Addr     { return netip.Addr{} }
func (e *endpoint) DstToString() string { return e.String() }
func (e *endpoint) DstIP() netip.Addr   { return e.Addr() }
func (e *endpoint) DstToBytes() []byte {
	b, _ := e.MarshalBinary() // has no error
	return b
}

// hole is an interface from which nothing comes, and what it gets is gone.
type hole struct {
	events chan tun.Event
	closed chan struct{}
	once   sync.Once
}

func newHole() *hole {
	return &hole{events: make(chan tun.Event), closed: make(chan struct{})}
}

// File implements tun.Device: there is none.
func (*hole) File() *os.File { return nil }

// Read implements tun.Device.
func (h *hole) Read([][]byte, []int, int) (int, error) {
	<-h.closed
	return 0, os.ErrClosed
}

// Write implements tun.Device.
func (*hole) Write(packets [][]byte, _ int) (int, error) { return len(packets), nil }

// MTU implements tun.Device.
func (*hole) MTU() (int, error) { return 1420, nil }

// Name implements tun.Device.
func (*hole) Name() (string, error) { return "hole", nil }

// Events implements tun.Device.
func (h *hole) Events() <-chan tun.Event { return h.events }

// Close implements tun.Device.
func (h *hole) Close() error {
	h.once.Do(func() { close(h.closed); close(h.events) })
	return nil
}

// BatchSize implements tun.Device.
func (*hole) BatchSize() int { return 1 }
