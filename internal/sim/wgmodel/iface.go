package wgmodel

import (
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// iface is a WireGuard interface. Whoever calls its methods holds Network.mu.
type iface struct {
	host     *Host
	key      wgkey.Public
	private  wgkey.Private // of a Device
	port     uint16
	up       bool
	floating []netip.Addr // from the first of these that the machine has it sends, if it has one
	prefers  netip.Addr   // which that is, as far as somebody followed it
	follow   int          // how many do
	peers    map[wgkey.Public]*peer
	sessions map[uint64]*peer // by which peer has them
	deliver  func(*peer, inner)
	said     time.Time // when something was sent last
}

func newIface(h *Host) *iface {
	return &iface{host: h, peers: map[wgkey.Public]*peer{}, sessions: map[uint64]*peer{}}
}

// listen makes the interface listen on a port; 0: on none.
func (f *iface) listen(port uint16) {
	if f.port == port {
		return
	}
	if f.host.sockets[f.port] == f {
		delete(f.host.sockets, f.port)
	}
	f.port = port
	if port != 0 {
		f.host.sockets[port] = f
	}
}

// rename gives the interface another key: with the sessions of the one before nothing
// is sent any more.
func (f *iface) rename(key wgkey.Public) {
	if f.key == key {
		return
	}
	f.key = key
	for _, p := range f.peers {
		p.pending = 0
		for _, k := range [...]*keypair{p.keys.current, p.keys.next} {
			if k != nil {
				k.sends = false
			}
		}
	}
}

// add returns the peer with a key, which is made if it is not there.
func (f *iface) add(key wgkey.Public) (p *peer, fresh bool) {
	if p = f.peers[key]; p != nil {
		return p, false
	}
	p = &peer{f: f, key: key}
	f.peers[key] = p
	return p, true
}

// remove ends a peer, with all that is known of it.
func (f *iface) remove(key wgkey.Public) {
	if p := f.peers[key]; p != nil {
		p.end()
		delete(f.peers, key)
	}
}

// clear ends all that the interface is.
func (f *iface) clear() {
	for key := range f.peers {
		f.remove(key)
	}
	f.listen(0)
	f.up, f.key, f.private, f.floating, f.prefers = false, wgkey.Public{}, wgkey.Private{}, nil, netip.Addr{}
}

// look brings up to date which address is preferred, if somebody does that: the routes
// of a machine whose gateway is dead go on preferring an address that has left.
func (f *iface) look() {
	if f.follow == 0 {
		return
	}
	f.prefers = netip.Addr{}
	for _, a := range f.floating {
		if f.host.has(a) {
			f.prefers = a
			return
		}
	}
}

// from is where to send from: the address that the peer spoke to, a floating one that
// the machine has, or the machine's own. false: it has none.
func (f *iface) from(source netip.Addr) (netip.AddrPort, bool) {
	if source.IsValid() {
		return netip.AddrPortFrom(source, f.port), true
	}
	f.look()
	if f.prefers.IsValid() {
		return netip.AddrPortFrom(f.prefers, f.port), true
	}
	if len(f.host.own) == 0 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(f.host.own[0], f.port), true
}

// kick has the peer be sent something, at a place, now.
func (p *peer) kick(at netip.AddrPort, keepalive time.Duration) {
	const nudge = 25 * time.Second
	p.endpoint, p.source = at, netip.Addr{}
	if keepalive > 0 {
		p.keepalives(0)
	} else {
		p.keepalives(nudge)
	}
	p.keepalives(keepalive)
}
