// Package memdevice is a gateway.Device in memory, with the rules of a kernel: a
// prefix moves to the last peer that claims it, a peer that comes back has no
// session and no counters, routes go with the link, keepalives are whole
// seconds. It passes gatewaytest.RunDevice, as the real ones do.
//
// Tests meddle with it: [Device.Meddle] and [Device.Hear] are what others and
// peers do to an interface, [Device.SetOwned] moves addresses, [Device.FailSteps], [Device.FailObserve] and
// [Device.Block] are a system that is sick.
//
// It carries no packets.
package memdevice

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Backend is what State.Backend says of a Device of this package.
const Backend = "memory"

var (
	_ gateway.Device = (*Device)(nil)
	_ gateway.Owner  = (*Device)(nil)

	_ gateway.Tracker = (*Device)(nil)
)

// Device is a handle on an interface in memory. It is safe for concurrent use,
// although a gateway.Device need not be: tests meddle while a reconciler works.
type Device struct {
	link *link

	mu     sync.Mutex
	closed bool
}

// link is the interface, which outlives its handles.
type link struct {
	mu       sync.Mutex
	exists   bool
	foreign  bool
	up       bool
	forward  bool
	filter   bool // our table is as iface asks
	iface    gateway.Interface
	self     wgkey.Public // of iface.Key
	routes   map[netip.Prefix]bool
	peers    peers
	floating floating
	detours  []gateway.Detour
	flows    flows
	taken    map[uint16]bool // ports that somebody else listens on

	kicked      func(gateway.Peer)
	failStep    func(gateway.Step) error
	failObserve error
	problems    []string
	blocked     chan struct{} // closed when nothing blocks
}

// New returns a handle on an interface that is not there yet.
func New() *Device {
	free := make(chan struct{})
	close(free)
	return &Device{link: &link{
		routes: map[netip.Prefix]bool{}, taken: map[uint16]bool{}, blocked: free,
	}}
}

// Open returns another handle on the same interface, as a process has that was
// started anew, or somebody else on the same machine.
func (d *Device) Open() *Device { return &Device{link: d.link} }

// Close closes the handle and leaves everything in place.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return nil
}

// enter waits until nothing blocks, and locks the interface: whoever gets no
// error calls d.link.mu.Unlock.
func (d *Device) enter(ctx context.Context, what string) error {
	for {
		if err := ctx.Err(); err != nil {
			return fail(what, err)
		}
		d.mu.Lock()
		closed := d.closed
		d.mu.Unlock()
		if closed {
			return fail(what, os.ErrClosed)
		}
		d.link.mu.Lock()
		gate := d.link.blocked
		select {
		case <-gate:
			return nil
		default:
		}
		d.link.mu.Unlock()
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
}

// Observe implements gateway.Device.
func (d *Device) Observe(ctx context.Context, s *gateway.State) error {
	if err := d.enter(ctx, "observe"); err != nil {
		return err
	}
	defer d.link.mu.Unlock()
	l := d.link
	switch {
	case l.failObserve != nil:
		return fail("observe", l.failObserve)
	case l.foreign:
		return fail("observe", gateway.ErrForeign)
	}
	l.observe(s)
	return nil
}

// observe overwrites s and reuses its memory.
func (l *link) observe(s *gateway.State) {
	addrs, masquerade, destinations := s.Interface.Addrs[:0], s.Interface.Masquerade[:0], s.Interface.Destinations[:0]
	moving, inner, owned := s.Interface.Floating[:0], s.Interface.Inner[:0], s.Owned[:0]
	routes, peers, problems := s.Routes[:0], s.Peers[:0], s.Problems[:0]
	*s = gateway.State{Backend: Backend, Problems: append(problems, l.problems...)}
	if !l.exists {
		s.Peers, s.Routes = peers, routes
		return
	}
	s.Exists, s.Up, s.Forwarding, s.Filtered = true, l.up, l.forward, l.filter
	addrs = append(addrs, l.iface.Addrs...)
	s.Interface = l.iface
	if l.filter {
		masquerade = append(masquerade, l.iface.Masquerade...)
		destinations = append(destinations, l.iface.Destinations...)
		inner = append(inner, l.iface.Inner...)
	} else {
		s.Interface.Isolated = false
	}
	s.Interface.Addrs, s.Interface.Masquerade, s.Interface.Destinations = addrs, masquerade, destinations
	moving = append(moving, l.iface.Floating...)
	owned = append(owned, l.floating.of(l.iface.Floating)...)
	s.Interface.Floating, s.Interface.Inner, s.Owned = moving, inner, owned
	s.Sourced = len(l.iface.Floating) == 0 || !l.floating.broken && l.floating.mark == l.iface.Mark
	for r := range l.routes {
		routes = append(routes, r)
	}
	slices.SortFunc(routes, netip.Prefix.Compare)
	s.Routes = routes
	s.Peers = l.peers.observe(peers)
}

// Apply implements gateway.Device.
func (d *Device) Apply(ctx context.Context, p gateway.Plan) error {
	if err := d.enter(ctx, "apply"); err != nil {
		return err
	}
	defer d.link.mu.Unlock()
	if d.link.foreign {
		return fail("apply", gateway.ErrForeign)
	}
	var failed map[int]error
	for i, step := range p {
		var err error
		if d.link.failStep != nil {
			err = d.link.failStep(step)
		}
		if err == nil {
			err = d.link.do(step)
		}
		if err == nil {
			continue
		}
		if failed == nil {
			failed = map[int]error{}
		}
		failed[i] = fail(step.Verb.String(), err)
		if step.Verb == gateway.Configure && !d.link.exists {
			break // without an interface there is nothing to do the rest to
		}
	}
	if failed != nil {
		return &gateway.ApplyError{Failed: failed}
	}
	return nil
}

func fail(what string, err error) error {
	return fmt.Errorf("memdevice: %s: %w", what, err)
}
