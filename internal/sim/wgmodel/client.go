package wgmodel

import (
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// ClientConfig is what a client has in its configuration.
type ClientConfig struct {
	Key       wgkey.Public
	Server    wgkey.Public
	Preshared wgkey.Preshared
	Endpoint  netip.AddrPort
	Keepalive time.Duration
}

// Client is an unmodified WireGuard client, and somebody who asks something through
// the tunnel and waits for answers.
type Client struct {
	f    *iface
	p    *peer
	c    ClientConfig
	next *event

	began    time.Time // since when the silences are measured
	answered time.Time // the last answer since then; zero: none
	longest  time.Duration
	count    int       // answers
	reached  time.Time // when somebody behind the gateway asked last
}

// NewClient adds a client to a machine. It says nothing as long as nobody asks, but for
// keepalives if it was told so.
func (h *Host) NewClient(c ClientConfig) *Client {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	cl := &Client{c: c, f: newIface(h)}
	cl.f.up, cl.f.key = true, c.Key
	port := uint16(32768)
	for h.sockets[port] != nil {
		port++
	}
	cl.f.listen(port)
	cl.f.deliver = func(p *peer, in inner) {
		if !in.reply { // somebody behind the gateway asks: he is answered
			cl.reached = time.Now()
			p.send(&inner{size: in.size, sent: in.sent, reply: true})
			return
		}
		cl.hear()
	}
	cl.again()
	return cl
}

// again sets the peer, as one who has it new.
func (c *Client) again() {
	c.f.remove(c.c.Server)
	c.p, _ = c.f.add(c.c.Server)
	c.p.preshared, c.p.endpoint = c.c.Preshared, c.c.Endpoint
	c.p.keepalives(c.c.Keepalive)
}

func (c *Client) lock() (unlock func()) {
	c.f.host.net.mu.Lock()
	return c.f.host.net.mu.Unlock
}

// Host returns the machine that the client is on.
func (c *Client) Host() *Host { return c.f.host }

// Reset removes the peer and sets it again.
func (c *Client) Reset() {
	defer c.lock()()
	c.again()
}

// SetPreshared changes the preshared key in place.
func (c *Client) SetPreshared(key wgkey.Preshared) {
	defer c.lock()()
	c.c.Preshared, c.p.preshared = key, key
}

// Close ends the client.
func (c *Client) Close() {
	defer c.lock()()
	c.f.host.net.cancel(c.next)
	c.f.clear()
}

// Ask asks once now.
func (c *Client) Ask() {
	defer c.lock()()
	c.ask()
}

// askSize is the size of a question, with its inner headers.
const askSize = 84

func (c *Client) ask() {
	c.p.send(&inner{size: askSize, sent: time.Now()})
}

// AskEvery asks now, and each d from then on; 0 ends that.
func (c *Client) AskEvery(d time.Duration) {
	defer c.lock()()
	n := c.f.host.net
	n.cancel(c.next)
	if d <= 0 {
		return
	}
	var ask func()
	ask = func() {
		c.ask()
		c.next = n.at(time.Now().Add(d), ask)
	}
	ask()
}

// hear takes in an answer.
func (c *Client) hear() {
	c.longest = c.silence()
	c.answered = time.Now()
	c.count++
}

func (c *Client) silence() time.Duration {
	last := c.answered
	if last.Before(c.began) {
		last = c.began
	}
	return max(c.longest, time.Since(last))
}

// Measure begins a new measurement of silences.
func (c *Client) Measure() {
	defer c.lock()()
	c.began, c.longest = time.Now(), 0
}

// Outage returns the longest time without an answer since Measure.
func (c *Client) Outage() time.Duration {
	defer c.lock()()
	return c.silence()
}

// Answered returns when an answer came last, and how many came; zero: none.
func (c *Client) Answered() (last time.Time, count int) {
	defer c.lock()()
	return c.answered, c.count
}

// Reached returns when a question of somebody behind the gateway came last.
func (c *Client) Reached() time.Time {
	defer c.lock()()
	return c.reached
}

// Said returns when the client sent anything last, of whatever kind; zero: never.
func (c *Client) Said() time.Time {
	defer c.lock()()
	return c.f.said
}

// Session identifies the session that the client sends with; 0: it has none. Ends of
// one session have the same.
func (c *Client) Session() uint64 {
	defer c.lock()()
	return c.p.session()
}

// session is the identity of that which is sent with.
func (p *peer) session() uint64 {
	if k := p.keys.current; k != nil && k.sends && !k.old(time.Now(), rejectAfter) {
		return k.id
	}
	return 0
}

// Place is where the client believes the gateway to be.
func (c *Client) Place() netip.AddrPort {
	defer c.lock()()
	return c.p.endpoint
}

// Handshake is when the newest session was confirmed, by the client's clock; zero:
// never.
func (c *Client) Handshake() time.Time {
	defer c.lock()()
	return c.p.confirmed
}

// Refuses returns how far from now the stamp of an initiation has to be that the client
// accepts: more than 0 if it has accepted one from the future.
func (c *Client) Refuses() time.Duration {
	defer c.lock()()
	return time.Until(time.Unix(0, c.p.newest))
}
