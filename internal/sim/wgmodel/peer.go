package wgmodel

import (
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// peer is what an interface has of one other end. Whoever calls its methods holds
// Network.mu.
type peer struct {
	f         *iface
	key       wgkey.Public
	preshared wgkey.Preshared

	endpoint   netip.AddrPort
	source     netip.Addr // the address that it spoke to, from where it is answered; zero: any
	persistent time.Duration
	rx, tx     uint64
	confirmed  time.Time // the last handshake, by the machine's clock

	keys   keypairs
	staged []*inner // what waits for a session; nil ones are keepalives

	pending  uint64    // the initiation of ours that waits for its response; 0: none does
	newest   int64     // the greatest stamp of an initiation that was accepted
	consumed time.Time // when one was accepted last
	shook    time.Time // when a handshake message was sent last, but for what an answer needs

	attempts   int
	lastMinute bool // a handshake was begun because data came with an old session
	another    bool // data came while a passive keepalive was due already

	retransmit, passive, renew, zero, persist *event
}

func (p *peer) now() time.Time { return time.Now() }

// set makes a timer go off after d, as the kernel's would.
func (p *peer) set(t **event, d time.Duration, do func()) {
	n := p.f.host.net
	n.cancel(*t)
	due := p.f.host.boot.Add(wheel(p.now().Sub(p.f.host.boot), d))
	*t = n.at(due, do)
}

func (p *peer) stop(t **event) { p.f.host.net.cancel(*t) }

// jitter is what the kernel adds to timers of handshakes.
func (p *peer) jitter() time.Duration {
	return time.Duration(p.f.host.net.rand.Int64N(int64(rekeyJitter)))
}

// end stops all timers: the peer is gone.
func (p *peer) end() {
	for _, t := range []**event{&p.retransmit, &p.passive, &p.renew, &p.zero, &p.persist} {
		p.stop(t)
	}
	p.index(func() { p.keys = keypairs{} })
}

// What happens, and what it does to the timers.

func (p *peer) dataSent() {
	if !p.renew.pending() {
		p.set(&p.renew, keepaliveAfter+rekeyTimeout+p.jitter(), func() { // nobody answers
			p.source = netip.Addr{}
			p.handshake(false)
		})
	}
}

func (p *peer) dataReceived() {
	if p.passive.pending() {
		p.another = true
		return
	}
	p.set(&p.passive, keepaliveAfter, p.answer)
}

// answer is the passive keepalive: data came, and there was none to send.
func (p *peer) answer() {
	p.keepalive()
	if p.another {
		p.another = false
		p.set(&p.passive, keepaliveAfter, p.answer)
	}
}

func (p *peer) authenticSent()     { p.stop(&p.passive) }
func (p *peer) authenticReceived() { p.stop(&p.renew) }

func (p *peer) traversed() {
	if p.persistent > 0 {
		p.set(&p.persist, p.persistent, func() {
			if p.persistent > 0 {
				p.keepalive()
			}
		})
	}
}

func (p *peer) initiated() {
	p.set(&p.retransmit, rekeyTimeout+p.jitter(), func() {
		if p.attempts > int(rekeyAttempt/rekeyTimeout) {
			p.stop(&p.passive)
			p.staged = nil
			if !p.zero.pending() {
				p.derived()
			}
			return
		}
		p.attempts++
		p.source = netip.Addr{}
		p.handshake(true)
	})
}

func (p *peer) completed() {
	p.stop(&p.retransmit)
	p.attempts, p.lastMinute = 0, false
	p.confirmed = p.f.host.clock()
}

func (p *peer) derived() {
	p.set(&p.zero, 3*rejectAfter, func() {
		p.index(func() { p.keys = keypairs{} })
		p.pending = 0
	})
}
