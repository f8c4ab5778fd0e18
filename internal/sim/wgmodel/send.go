package wgmodel

import (
	"net/netip"
	"time"
)

// send sends an inner packet, as soon as there is a session. One for a peer of which
// no place is known is lost.
func (p *peer) send(what *inner) {
	if !p.endpoint.IsValid() {
		return
	}
	if len(p.staged) >= mostStaged {
		p.staged = p.staged[1:]
	}
	p.staged = append(p.staged, what)
	p.flush()
}

// keepalive sends an empty packet, unless something waits anyway.
func (p *peer) keepalive() {
	if len(p.staged) == 0 {
		p.staged = append(p.staged, nil)
	}
	p.flush()
}

// flush sends what waits, or begins a handshake.
func (p *peer) flush() {
	if len(p.staged) == 0 {
		return
	}
	k := p.keys.current
	if k == nil || !k.sends || k.old(p.now(), rejectAfter) {
		if k != nil {
			k.sends = false
		}
		p.handshake(false)
		return
	}
	staged := p.staged
	p.staged = nil
	p.traversed()
	p.authenticSent()
	sent := false
	for _, in := range staged {
		d := &data{session: k.id, inner: in}
		if p.emit(d, d.size()) && in != nil {
			sent = true
		}
	}
	if sent {
		p.dataSent()
	}
	if k.initiator && k.old(p.now(), rekeyAfter) {
		p.handshake(false)
	}
}

// handshake sends an initiation, if it is time for one.
func (p *peer) handshake(retry bool) {
	if !retry {
		p.attempts = 0
	}
	if !p.mayShake() || !p.f.up {
		return
	}
	p.shook = p.now()
	n := p.f.host.net
	n.ids++
	p.pending = n.ids
	p.traversed()
	p.authenticSent()
	p.emit(&initiation{id: p.pending, from: p.f.key, to: p.key, stamp: stampOf(p.f.host.clock())}, sizeInitiation)
	p.initiated()
}

// mayShake says whether the last handshake message is long enough ago.
func (p *peer) mayShake() bool { return p.shook.IsZero() || p.now().Sub(p.shook) >= rekeyTimeout }

// emit puts a message on the way, and says whether that was possible.
func (p *peer) emit(body any, size uint64) bool {
	if !p.endpoint.IsValid() || !p.f.up {
		return false
	}
	if !p.f.host.has(p.source) {
		p.source = netip.Addr{}
	}
	from, ok := p.f.from(p.source)
	if !ok {
		return false
	}
	p.tx += size
	p.f.said = p.now()
	p.f.host.transmit(packet{from: from, to: p.endpoint, body: body})
	return true
}

// keepalives sets the persistent keepalive; turning it on sends one.
func (p *peer) keepalives(d time.Duration) {
	begin := p.persistent == 0 && d > 0
	p.persistent = d
	if begin && p.f.up {
		p.keepalive()
	}
}
