//go:build linux

package testnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Echo sends every UDP datagram back to where it came from, until Close. Make
// one with [Host.Echo].
type Echo struct {
	net   *Net
	conn  *net.UDPConn
	addr  netip.AddrPort
	count atomic.Uint64
	done  sync.WaitGroup
	once  sync.Once
}

// Echo starts an echo server. The host need not have the address yet: with one
// that floats, each host can run an echo at it, and the one that has the address
// answers. Given a wildcard, replies come from the address that the host prefers,
// which may not be the one that was asked.
func (h *Host) Echo(at netip.AddrPort) (*Echo, error) {
	conn, err := h.listenFree(at)
	if err != nil {
		return nil, fmt.Errorf("testnet: host %s: echo at %s: %w", h.name, at, err)
	}
	e := &Echo{net: h.net, conn: conn, addr: local(conn)}
	if err := h.net.employ(e); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	e.done.Go(e.serve)
	return e, nil
}

func (e *Echo) serve() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := e.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			<-time.After(time.Millisecond) // a passing fault of the network; never a busy loop
			continue
		}
		e.count.Add(1)
		_, _ = e.conn.WriteToUDPAddrPort(b[:n], from) // a lost reply is what probes measure
	}
}

// Addr returns where the server listens, with the port it got if none was asked
// for.
func (e *Echo) Addr() netip.AddrPort {
	return e.addr
}

// Count returns how many datagrams have arrived.
func (e *Echo) Count() uint64 { return e.count.Load() }

// Close ends the server. Closing again is no error.
func (e *Echo) Close() (err error) {
	e.once.Do(func() {
		err = e.conn.Close()
		e.done.Wait()
		e.net.dismiss(e)
	})
	return err
}
