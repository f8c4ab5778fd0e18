package wgmodel

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Backend is what State.Backend says of a Device of this package: it does as the
// kernel does.
const Backend = "kernel"

var (
	_ gateway.Device = (*Device)(nil)
	_ gateway.Owner  = (*Device)(nil)
)

// Device is a handle on a WireGuard interface of a machine. What is not WireGuard's it
// has from memdevice, with its means to meddle with it. A gateway answers each
// question that comes through the tunnel.
type Device struct {
	*memdevice.Device

	f *iface
}

// NewDevice returns a handle on an interface that is not there yet.
func (h *Host) NewDevice() *Device {
	d := &Device{Device: memdevice.New(), f: newIface(h)}
	d.f.deliver = func(p *peer, in inner) {
		if !in.reply {
			p.send(&inner{size: in.size, sent: in.sent, reply: true})
		}
	}
	h.net.mu.Lock()
	h.devices = append(h.devices, d)
	extra := slices.Clone(h.extra)
	h.net.mu.Unlock()
	d.SetOwned(extra...)
	return d
}

// Open returns another handle on the same interface.
func (d *Device) Open() *Device { return &Device{Device: d.Device.Open(), f: d.f} }

// End takes the interface away, with all that it had, as a machine that goes down
// does. The Device is of no use any more.
func (d *Device) End() {
	h := d.f.host
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	d.f.clear()
	h.devices = slices.DeleteFunc(h.devices, func(o *Device) bool { return o.f == d.f })
}

// Own implements gateway.Owner. While nobody is told, what WireGuard sends leaves from
// where it left last.
func (d *Device) Own(ctx context.Context, i gateway.Interface) <-chan []netip.Addr {
	n := d.f.host.net
	n.mu.Lock()
	d.f.follow++
	n.mu.Unlock()
	context.AfterFunc(ctx, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		d.f.look()
		d.f.follow--
	})
	return d.Device.Own(ctx, i)
}

// Observe implements gateway.Device.
func (d *Device) Observe(ctx context.Context, s *gateway.State) error {
	if err := d.Device.Observe(ctx, s); err != nil {
		return err
	}
	d.tell(s)
	return nil
}

// tell fills in what WireGuard knows.
func (d *Device) tell(s *gateway.State) {
	n := d.f.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	s.Backend = Backend
	for i := range s.Peers {
		if p := d.f.peers[s.Peers[i].Key]; p != nil {
			have := &s.Peers[i]
			have.Endpoint, have.Handshake, have.Rx, have.Tx = p.endpoint, p.confirmed, p.rx, p.tx
		}
	}
}

// Apply implements gateway.Device.
func (d *Device) Apply(ctx context.Context, p gateway.Plan) error {
	err := d.Device.Apply(ctx, p)
	var partly *gateway.ApplyError
	if err != nil && !errors.As(err, &partly) {
		return err
	}
	d.follow(func(want map[wgkey.Public]*gateway.PeerState) { //nolint:contextcheck // it waits for nothing
		for i, step := range p {
			if partly == nil || partly.Failed[i] == nil {
				d.f.step(step, want)
			}
		}
	})
	return err
}

// follow makes WireGuard be as the rest of the machine has it, and does something in
// between, when the interface is right and the peers are as they were.
func (d *Device) follow(do func(want map[wgkey.Public]*gateway.PeerState)) {
	var s gateway.State
	if d.Device.Open().Observe(context.Background(), &s) != nil { // it is sick, and fails for whoever looks
		return
	}
	n := d.f.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if !s.Exists {
		d.f.clear()
		return
	}
	d.f.up = s.Up
	if d.f.private != s.Interface.Key { // which costs something to work out
		d.f.private = s.Interface.Key
		d.f.rename(s.Interface.Key.Public())
	}
	d.f.listen(s.Interface.Port)
	d.f.floating = nil
	if s.Sourced {
		d.f.floating = slices.Clone(s.Interface.Floating)
	}
	want := make(map[wgkey.Public]*gateway.PeerState, len(s.Peers))
	for i := range s.Peers {
		want[s.Peers[i].Key] = &s.Peers[i]
	}
	do(want)
	for key := range d.f.peers {
		if want[key] == nil {
			d.f.remove(key)
		}
	}
}

// step does what a step does to peers.
func (f *iface) step(s gateway.Step, want map[wgkey.Public]*gateway.PeerState) {
	switch s.Verb {
	case gateway.Remove:
		f.remove(s.Peer.Key)
	case gateway.Set:
		if want[s.Peer.Key] == nil {
			return // it was removed again, or is the interface's own
		}
		p, fresh := f.add(s.Peer.Key)
		if fresh {
			p.endpoint = s.Peer.Endpoint
		}
		p.preshared = s.Peer.Preshared
		p.keepalives(s.Peer.Keepalive)
	case gateway.Kick:
		if p := f.peers[s.Peer.Key]; p != nil {
			p.kick(s.Peer.Endpoint, s.Peer.Keepalive)
		}
	default: // the rest is memdevice's
	}
}

// Meddle is somebody else's hand on the machine, as in memdevice.
func (d *Device) Meddle(edit func(s *gateway.State)) {
	d.Device.Meddle(func(s *gateway.State) {
		d.tell(s)
		edit(s)
	})
	d.follow(func(want map[wgkey.Public]*gateway.PeerState) {
		for key, have := range want {
			p, fresh := d.f.add(key)
			if fresh {
				p.endpoint = have.Endpoint
			}
			p.preshared = have.Preshared
			p.keepalives(have.Keepalive)
		}
	})
}

// Session identifies the session that the interface sends with to a peer; 0: it has
// none.
func (d *Device) Session(key wgkey.Public) uint64 {
	n := d.f.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := d.f.peers[key]; p != nil {
		return p.session()
	}
	return 0
}

// Send has somebody behind the gateway ask a peer something. It says whether the peer
// is there, and WireGuard knows where.
func (d *Device) Send(key wgkey.Public) bool {
	n := d.f.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	p := d.f.peers[key]
	if p == nil || !p.endpoint.IsValid() {
		return false
	}
	p.send(&inner{size: askSize, sent: p.now()})
	return true
}
