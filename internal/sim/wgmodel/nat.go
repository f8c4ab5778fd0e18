package wgmodel

import (
	"net/netip"
	"time"
)

// How long a mapping lives that nobody uses: until it was answered, and after that
// (Linux's conntrack).
const (
	unanswered = 30 * time.Second
	answered   = 120 * time.Second
)

// NAT is what stands before clients: behind it they have one address together. What
// comes passes if it comes from where a client has sent to.
type NAT struct {
	net    *Network
	addr   netip.Addr
	byPort map[uint16]*mapping
}

// mapping is one flow.
type mapping struct {
	host     *Host
	at       netip.AddrPort // of the machine behind
	remote   netip.AddrPort
	until    time.Time
	answered bool
}

// NAT adds one, with its outer address.
func (n *Network) NAT(addr netip.Addr) *NAT {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := &NAT{net: n, addr: addr, byPort: map[uint16]*mapping{}}
	n.nats[addr] = t
	return t
}

// Host adds a machine behind it.
func (t *NAT) Host(inner netip.Addr) *Host {
	h := t.net.Host()
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	h.own, h.nat = []netip.Addr{inner}, t
	return h
}

// Forget makes it lose all mappings, as one that was started anew: flows get other
// ports.
func (t *NAT) Forget() {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	clear(t.byPort)
}

// out returns what a packet of a machine behind it comes from, for others.
func (t *NAT) out(h *Host, from, to netip.AddrPort) netip.AddrPort {
	now := time.Now()
	for port, m := range t.byPort {
		if m.host == h && m.at == from && m.remote == to && m.until.After(now) {
			m.use(now)
			return netip.AddrPortFrom(t.addr, port)
		}
	}
	port := uint16(1024 + t.net.rand.IntN(60000))
	for t.byPort[port] != nil && t.byPort[port].until.After(now) {
		port++
	}
	m := &mapping{host: h, at: from, remote: to}
	m.use(now)
	t.byPort[port] = m
	return netip.AddrPortFrom(t.addr, port)
}

func (m *mapping) use(now time.Time) {
	m.until = now.Add(unanswered)
	if m.answered {
		m.until = now.Add(answered)
	}
}

// in returns for whom a packet is that came; false: for nobody.
func (t *NAT) in(from, to netip.AddrPort) (*mapping, bool) {
	m, now := t.byPort[to.Port()], time.Now()
	if m == nil || !m.until.After(now) || m.remote != from {
		return nil, false
	}
	m.answered = true
	m.use(now)
	return m, true
}

// behind is who has a port now; nil: nobody.
func (t *NAT) behind(port uint16) *Host {
	if m := t.byPort[port]; m != nil {
		return m.host
	}
	return nil
}
