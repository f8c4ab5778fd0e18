package wgmodel

// receive takes a packet in that came for the interface.
func (f *iface) receive(in packet) {
	if !f.up {
		return
	}
	switch body := in.body.(type) {
	case *initiation:
		if p := f.peers[body.from]; p != nil && body.to == f.key {
			p.initiation(in, body)
		}
	case *response:
		for _, p := range f.peers {
			if p.pending == body.to {
				p.response(in, body)
				return
			}
		}
	case *data:
		if p := f.sessions[body.session]; p != nil {
			p.data(in, body)
		}
	}
}

// initiation is one that came. One that is not newer than the newest, by its stamp,
// is dropped, and so is one that comes too soon after another.
func (p *peer) initiation(in packet, i *initiation) {
	if i.stamp <= p.newest || !p.consumed.IsZero() && p.now().Sub(p.consumed) < flood {
		return
	}
	p.newest, p.consumed, p.pending = i.stamp, p.now(), 0
	p.roam(in)

	p.shook = p.now()
	n := p.f.host.net
	n.ids++
	p.begin(&keypair{id: n.ids, born: p.now(), sends: true, receives: true})
	p.derived()
	p.traversed()
	p.authenticSent()
	p.emit(&response{to: i.id, session: n.ids, preshared: p.preshared}, sizeResponse)

	p.rx += sizeInitiation
	p.authenticReceived()
	p.traversed()
}

// response is one that came, to our newest initiation.
func (p *peer) response(in packet, r *response) {
	if r.preshared != p.preshared {
		return
	}
	p.pending = 0
	p.roam(in)
	p.begin(&keypair{id: r.session, initiator: true, born: p.now(), sends: true, receives: true})
	p.derived()
	p.completed()
	p.keepalive() // which confirms the session, unless something else waits

	p.rx += sizeResponse
	p.authenticReceived()
	p.traversed()
}

// begin takes in a session.
func (p *peer) begin(k *keypair) {
	p.index(func() { p.keys.begin(k) })
}

// index keeps the interface's index of sessions while change changes those of the
// peer.
func (p *peer) index(change func()) {
	all := func(do func(id uint64)) {
		for _, k := range [...]*keypair{p.keys.current, p.keys.previous, p.keys.next} {
			if k != nil {
				do(k.id)
			}
		}
	}
	all(func(id uint64) { delete(p.f.sessions, id) })
	change()
	all(func(id uint64) { p.f.sessions[id] = p })
}

// data is a packet that came by a session.
func (p *peer) data(in packet, d *data) {
	k := p.keys.find(d.session)
	if k == nil || !k.receives || k.old(p.now(), rejectAfter) {
		if k != nil {
			k.receives = false
		}
		return
	}
	p.roam(in)
	fresh := false
	p.index(func() { fresh = p.keys.confirm(k) })
	if fresh {
		p.completed()
		p.flush()
	}
	p.refresh()
	p.authenticReceived()
	p.traversed()
	p.rx += d.size()
	if d.inner == nil {
		return
	}
	p.dataReceived()
	if p.f.deliver != nil {
		p.f.deliver(p, *d.inner)
	}
}

// refresh begins a handshake, once, before a session of ours that is only heard by
// has had its time.
func (p *peer) refresh() {
	k := p.keys.current
	if !p.lastMinute && k != nil && k.sends && k.initiator && k.old(p.now(), rejectAfter-keepaliveAfter-rekeyTimeout) {
		p.lastMinute = true
		p.handshake(false)
	}
}

// roam takes the sender's address for that of the peer: what came was authentic.
func (p *peer) roam(in packet) { p.endpoint, p.source = in.from, in.to.Addr() }
