package memdevice

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Traffic is what a peer does to its row.
type Traffic struct {
	Rx, Tx    uint64         // bytes more than before
	Handshake time.Time      // when it confirmed a session; zero: it did not
	Endpoint  netip.AddrPort // where it is now; zero: where it was
}

// Hear lets a peer be heard. It says whether the peer is there.
func (d *Device) Hear(key wgkey.Public, t Traffic) bool {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	p := d.link.peers.byKey[key]
	if p == nil {
		return false
	}
	p.Rx += t.Rx
	p.Tx += t.Tx
	if !t.Handshake.IsZero() {
		p.Handshake = t.Handshake
	}
	if t.Endpoint.IsValid() {
		p.Endpoint = t.Endpoint
	}
	return true
}

// Meddle is somebody else's hand on the machine: edit gets what Observe would
// give, and the interface is then as edit leaves it. A link that goes down, or
// is gone, loses its routes.
func (d *Device) Meddle(edit func(s *gateway.State)) {
	l := d.link
	l.mu.Lock()
	defer l.mu.Unlock()
	var s gateway.State
	l.observe(&s)
	before := s.Clone()
	edit(&s)
	l.floating.meddle(before, s)
	if !s.Exists {
		l.destroy()
		return
	}
	if !s.Filtered { // a table that is not there, or not whole, asks for nothing
		s.Interface.Masquerade, s.Interface.Destinations, s.Interface.Isolated, s.Interface.Inner = nil, nil, false, nil
	}
	l.exists, l.up, l.forward, l.filter = true, s.Up, s.Forwarding, s.Filtered
	l.iface, l.self = s.Interface, s.Interface.Key.Public()
	l.iface.Masquerade, l.iface.Destinations = slices.Clone(s.Interface.Masquerade), slices.Clone(s.Interface.Destinations)
	l.iface.Floating, l.iface.Inner = slices.Clone(s.Interface.Floating), slices.Clone(s.Interface.Inner)
	clear(l.routes)
	for _, r := range s.Routes {
		if s.Up {
			l.routes[r] = true
		}
	}
	l.peers = peers{}
	for _, p := range s.Peers {
		l.peers.set(gateway.Peer{Key: p.Key, Preshared: p.Preshared, AllowedIPs: p.AllowedIPs, Keepalive: p.Keepalive})
		have := l.peers.byKey[p.Key]
		have.Endpoint, have.Handshake, have.Rx, have.Tx = p.Endpoint, p.Handshake, p.Rx, p.Tx
	}
}

// OnKick has kicked called, with the Device locked, with each peer that is there
// and gets a Kick: whoever plays the peer answers later, with Hear. nil ends that.
func (d *Device) OnKick(kicked func(gateway.Peer)) {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	d.link.kicked = kicked
}

// SetForeign says whether the interface of this name is somebody else's.
func (d *Device) SetForeign(foreign bool) {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	d.link.foreign = foreign
}

// SetProblems sets what State.Problems says.
func (d *Device) SetProblems(words ...string) {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	d.link.problems = words
}

// TakePort lets somebody else listen on a UDP port, and end lets him go.
func (d *Device) TakePort(port uint16) (end func()) {
	set := func(taken bool) {
		d.link.mu.Lock()
		defer d.link.mu.Unlock()
		d.link.taken[port] = taken
	}
	set(true)
	return func() { set(false) }
}

// FailSteps makes the steps fail for which err returns an error; nil ends that.
// err is called with the Device locked.
func (d *Device) FailSteps(err func(gateway.Step) error) {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	d.link.failStep = err
}

// FailObserve makes Observe fail; nil ends that.
func (d *Device) FailObserve(err error) {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	d.link.failObserve = err
}

// Block makes Observe and Apply wait, by whichever handle, until release is
// called or their context ends.
func (d *Device) Block() (release func()) {
	gate := make(chan struct{})
	d.link.mu.Lock()
	d.link.blocked = gate
	d.link.mu.Unlock()
	return sync.OnceFunc(func() { close(gate) })
}
