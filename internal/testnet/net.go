//go:build linux

package testnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrClosed is what everything returns after [Net.Close].
var ErrClosed = errors.New("testnet: the network is closed")

// Config holds what [New] needs. The zero value is fine.
type Config struct {
	Log     *slog.Logger // nil discards
	Capture bool         // every host has its packets in the timeline, from birth
	Packets int          // how many lines the timeline keeps; 0: 4,096
}

// Net is one network. Make one with [New] or [ForTest].
type Net struct {
	log     *slog.Logger
	dead    netlink.Handle // what a host without a namespace has for netlink
	start   time.Time
	capture bool
	packets int
	ring    ring

	mu      sync.RWMutex
	closed  bool
	nodes   []*Host // every namespace in order of birth, switches included
	workers map[io.Closer]struct{}
	sockets []socket
}

// socket is what [Host.ListenUDP] and its siblings return.
type socket interface {
	io.Closer
	syscall.Conn
}

// New returns an empty network, or an error that says in words what this
// machine or this user lacks (as [Check] does for [Netns]). ctx bounds New
// alone; the network lives until [Net.Close].
func New(ctx context.Context, c Config) (*Net, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("testnet: new: %w", err)
	}
	if err := Check(Netns); err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Packets <= 0 {
		c.Packets = 4096
	}
	n := &Net{log: c.Log, start: time.Now(), capture: c.Capture, packets: c.Packets, workers: make(map[io.Closer]struct{})}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("testnet: open netlink: %w", err)
	}
	n.dead = *nl // keeps the socket that is closed now
	nl.Close()
	return n, nil
}

// Err says which hosts and switches could not be made; nil means none failed.
func (n *Net) Err() error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var errs []error
	for _, h := range n.nodes {
		errs = append(errs, h.err)
	}
	return errors.Join(errs...)
}

// Close frees everything: probes, echoes and sockets of all hosts (also those
// that callers still hold), and the namespaces with all devices in them.
// Processes that callers started are the callers'. Closing again is no error.
func (n *Net) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	workers, sockets, nodes := n.workers, n.sockets, n.nodes
	n.workers, n.sockets = nil, nil
	n.mu.Unlock()

	var errs []error
	for w := range workers {
		errs = append(errs, w.Close())
	}
	for _, s := range sockets {
		if err := s.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range nodes {
		errs = append(errs, h.free())
	}
	return errors.Join(errs...)
}

// use runs f while the network is certainly open. f must be short, and must not
// call use again.
func (n *Net) use(f func() error) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.closed {
		return ErrClosed
	}
	return f()
}

// employ has Close end w.
func (n *Net) employ(w io.Closer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrClosed
	}
	n.workers[w] = struct{}{}
	return nil
}

// dismiss is the opposite of employ.
func (n *Net) dismiss(w io.Closer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.workers, w)
}

// keep has Close close s. Sockets that were closed meanwhile are forgotten
// whenever the list would grow.
func (n *Net) keep(s socket) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		_ = s.Close()
		return ErrClosed
	}
	if len(n.sockets) == cap(n.sockets) {
		live := make([]socket, 0, 16+2*len(n.sockets))
		for _, o := range n.sockets {
			if open(o) {
				live = append(live, o)
			}
		}
		n.sockets = live
	}
	n.sockets = append(n.sockets, s)
	return nil
}

// open reports whether s has not been closed.
func open(s socket) bool {
	c, err := s.SyscallConn()
	return err == nil && c.Control(func(uintptr) {}) == nil
}
