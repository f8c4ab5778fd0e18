//go:build linux

package wgdevice

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// freePorts bounds the search for a port that is free in both families.
const freePorts = 100

// udpBind is the UDP sockets of WireGuard in user space: one for IPv4 and one
// for IPv6, on the same port. Answers leave from the address at which a peer's
// packet came in, for as long as that is right (see routes). All methods may be
// called at any time, by anybody.
//
// The library has one of its own, conn.StdNetBind, which sends packets for IPv6
// to wrong addresses once it has sent one by IPv4. It keeps to itself what goes
// wrong there, so that it can be replaced, but not repaired.
type udpBind struct {
	listen func(family int, port uint16) (*udpSocket, error)

	mu    sync.Mutex               // of Open and Close
	ports atomic.Pointer[udpPorts] // nil: closed

	writers sync.Pool     // of *udpWriter
	changes atomic.Uint64 // of routes
}

// udpPorts is what is open. Once made it does not change.
type udpPorts struct {
	ip4, ip6 *udpSocket // nil: this machine has no such family
	routes   *routes
}

func newBind() *udpBind {
	return &udpBind{listen: listenUDP, writers: sync.Pool{New: func() any { return newUDPWriter() }}}
}

// Open opens the sockets, in the namespace of the calling thread, on a port that
// is free in both families if port is 0. A family that the machine does not
// have is left out; with neither the error is EAFNOSUPPORT. A port that somebody
// has in either family is EADDRINUSE.
func (b *udpBind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ports.Load() != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	p, err := b.open(port)
	for i := 1; i < freePorts && port == 0 && errors.Is(err, unix.EADDRINUSE); i++ {
		p, err = b.open(port)
	}
	if err != nil {
		return nil, 0, err
	}
	if p.routes, err = newRoutes(&b.changes); err != nil {
		p.close()
		return nil, 0, err
	}
	var receive []conn.ReceiveFunc
	for _, s := range p.all() {
		receive = append(receive, newUDPReader(s).receive)
		port = s.port
	}
	b.ports.Store(p)
	return receive, port, nil
}

// open opens the sockets once.
func (b *udpBind) open(port uint16) (*udpPorts, error) {
	p := new(udpPorts)
	for _, f := range []struct {
		family int
		socket **udpSocket
	}{{unix.AF_INET, &p.ip4}, {unix.AF_INET6, &p.ip6}} {
		s, err := b.listen(f.family, port)
		switch {
		case errors.Is(err, unix.EAFNOSUPPORT):
		case err != nil:
			p.close()
			return nil, err
		default:
			*f.socket, port = s, s.port
		}
	}
	if p.ip4 == nil && p.ip6 == nil {
		return nil, fmt.Errorf("there is neither IPv4 nor IPv6: %w", unix.EAFNOSUPPORT)
	}
	return p, nil
}

// Close closes the sockets: who waits for packets gets net.ErrClosed. Closing
// again is no error.
func (b *udpBind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.ports.Swap(nil); p != nil {
		p.close()
	}
	return nil
}

// SetMark sets the mark of all packets from now on, until Close; 0: none.
func (b *udpBind) SetMark(mark uint32) error {
	p := b.ports.Load()
	if p == nil {
		return nil
	}
	for _, s := range p.all() {
		if err := s.setMark(mark); err != nil {
			return err
		}
	}
	p.routes.setMark(mark)
	return nil
}

// Send sends the packets to the endpoint, which has to be one of ours. One that
// cannot be sent is left out; the error is that of the first of them. Without a
// socket of the family it is EAFNOSUPPORT, and net.ErrClosed if there is none
// at all.
func (b *udpBind) Send(packets [][]byte, to conn.Endpoint) error {
	e, ok := to.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	p := b.ports.Load()
	if p == nil {
		return net.ErrClosed
	}
	s := p.ip4
	if e.dst.Addr().Is6() {
		s = p.ip6
	}
	if s == nil {
		return fmt.Errorf("send to %s: %w", e.dst, unix.EAFNOSUPPORT)
	}
	stick := p.routes.stick(e)
	w, _ := b.writers.Get().(*udpWriter)
	defer b.writers.Put(w)
	var first error
	for len(packets) > 0 {
		n := min(len(packets), batchSize)
		if err := w.send(s, packets[:n], e, stick); first == nil {
			first = err
		}
		packets = packets[n:]
	}
	return first
}

// ParseEndpoint takes an address with a port. A zone may be the number of a
// link, or its name while the bind is open.
func (b *udpBind) ParseEndpoint(text string) (conn.Endpoint, error) {
	dst, err := netip.ParseAddrPort(text)
	if err != nil {
		return nil, err
	}
	var zone uint32
	if name := dst.Addr().Zone(); name != "" {
		if zone, err = b.zone(name); err != nil {
			return nil, fmt.Errorf("endpoint %s: %w", text, err)
		}
	}
	return newEndpoint(dst, zone, arrival{}), nil
}

// zone is the number of a link.
func (b *udpBind) zone(name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	p := b.ports.Load()
	if p == nil {
		return 0, errors.New("the zone has to be a number")
	}
	return p.routes.link(name)
}

// BatchSize is how many packets go to or come from the kernel at once.
func (b *udpBind) BatchSize() int { return batchSize }

// all are the sockets that there are.
func (p *udpPorts) all() []*udpSocket {
	var out []*udpSocket
	for _, s := range []*udpSocket{p.ip4, p.ip6} {
		if s != nil {
			out = append(out, s)
		}
	}
	return out
}

func (p *udpPorts) close() {
	for _, s := range p.all() {
		s.close()
	}
	if p.routes != nil {
		p.routes.close()
	}
}
