package wgmodel

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Network is the way between machines. In the beginning it is without delay, and
// loses nothing.
type Network struct {
	mu      sync.Mutex
	rand    *rand.Rand
	queue   queue
	timer   *time.Timer
	seq     uint64
	ids     uint64 // of handshakes and sessions
	running bool
	closed  bool

	holders  map[netip.Addr][]*Host // who has an address; packets come to the last one
	nats     map[netip.Addr]*NAT
	recorded map[wgkey.Public]packet // the last initiation of each key
}

// NewNetwork returns a Network whose dice the seed fixes. Whoever makes one closes
// it.
func NewNetwork(seed uint64) *Network {
	n := &Network{
		rand:    rand.New(rand.NewPCG(seed, 78)), //nolint:gosec // a seed repeats it
		holders: map[netip.Addr][]*Host{}, nats: map[netip.Addr]*NAT{}, recorded: map[wgkey.Public]packet{},
	}
	n.timer = time.AfterFunc(time.Hour, n.run)
	n.timer.Stop()
	return n
}

// Close ends all that was going to happen. Closing twice is no error.
func (n *Network) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	n.timer.Stop()
}

// Path is a machine's way to all others: what goes there and what comes from there
// takes it.
type Path struct {
	Delay  time.Duration // one way
	Jitter time.Duration // up to so much more, for each packet anew, so that they overtake each other
	Loss   float64       // how many of 1 are lost
	Cut    bool          // nothing passes
}

// Host is a machine.
type Host struct {
	net     *Network
	own     []netip.Addr // its own addresses
	extra   []netip.Addr // those that came to it
	boot    time.Time
	skew    time.Duration
	path    Path
	nat     *NAT
	sockets map[uint16]*iface
	devices []*Device
	lost    time.Time // when a packet to or from it was lost last
}

// Host adds a machine with these addresses, which nobody else may have.
func (n *Network) Host(own ...netip.Addr) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	// A machine was not started together with others: its timers go off at other times.
	boot := time.Now().Add(-time.Duration(n.rand.Int64N(int64(time.Hour))))
	h := &Host{net: n, own: slices.Clone(own), boot: boot, sockets: map[uint16]*iface{}}
	for _, a := range own {
		n.holders[a] = append(n.holders[a], h)
	}
	return h
}

// SetPath changes the machine's way to others.
func (h *Host) SetPath(p Path) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.path = p
}

// SetClock sets how much the machine's clock is ahead; behind, if it is negative.
func (h *Host) SetClock(ahead time.Duration) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.skew = ahead
}

// Clock returns what the machine's clock shows.
func (h *Host) Clock() time.Time {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.clock()
}

func (h *Host) clock() time.Time { return time.Now().Add(h.skew) }

// LostSince says whether a packet to or from the machine was lost at an instant or
// after it, for any other reason than that nobody had the address.
func (h *Host) LostSince(at time.Time) bool {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return !h.lost.Before(at)
}

// Move gives the machine other addresses of its own, as a client has that came into
// another network.
func (h *Host) Move(own ...netip.Addr) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for _, a := range h.own {
		h.net.release(a, h)
	}
	h.own = slices.Clone(own)
	for _, a := range own {
		h.net.holders[a] = append(h.net.holders[a], h)
	}
}

// Have gives the machine an address, which it announces, so that packets come to it
// even if others have it too; or takes it away, so that they come to who announced it
// before. Devices on the machine tell of it before it returns.
func (h *Host) Have(a netip.Addr, have bool) {
	h.net.mu.Lock()
	h.net.release(a, h)
	h.extra = slices.DeleteFunc(h.extra, func(b netip.Addr) bool { return a == b })
	if have {
		h.net.holders[a] = append(h.net.holders[a], h)
		h.extra = append(h.extra, a)
		for _, f := range h.sockets {
			if f.follow > 0 {
				for _, p := range f.peers {
					p.source = netip.Addr{} // as whoever follows addresses has the kernel do
				}
			}
		}
	}
	extra, devices := slices.Clone(h.extra), slices.Clone(h.devices)
	h.net.mu.Unlock()
	for _, d := range devices {
		d.SetOwned(extra...)
	}
}

// Has says whether the machine has an address, and whether packets to it come here.
func (h *Host) Has(a netip.Addr) (has, gets bool) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	all := h.net.holders[a]
	return h.has(a), len(all) > 0 && all[len(all)-1] == h
}

func (h *Host) has(a netip.Addr) bool { return slices.Contains(h.net.holders[a], h) }

func (n *Network) release(a netip.Addr, h *Host) {
	n.holders[a] = slices.DeleteFunc(n.holders[a], func(o *Host) bool { return o == h })
}

// holder returns the machine that packets to an address come to; nil: none. Of a NAT
// it is the machine behind it.
func (n *Network) holder(to netip.AddrPort) *Host {
	if all := n.holders[to.Addr()]; len(all) > 0 {
		return all[len(all)-1]
	}
	if nat := n.nats[to.Addr()]; nat != nil {
		return nat.behind(to.Port())
	}
	return nil
}

// transmit sends a packet. The caller holds mu.
func (h *Host) transmit(p packet) {
	n := h.net
	if h.path.Cut {
		h.lost = time.Now()
		return
	}
	if h.nat != nil {
		p.from = h.nat.out(h, p.from, p.to)
	}
	if i, ok := p.body.(*initiation); ok {
		n.recorded[i.from] = p
	}
	n.carry(p, h)
}

// carry brings a packet of a machine to whoever has its address by then.
func (n *Network) carry(p packet, from *Host) {
	ways := []*Host{from}
	if to := n.holder(p.to); to != nil && to != from {
		ways = append(ways, to)
	}
	delay := time.Duration(0)
	for _, w := range ways {
		if w.path.Loss > 0 && n.rand.Float64() < w.path.Loss {
			w.lost = time.Now()
			return
		}
		delay += w.path.Delay
		if w.path.Jitter > 0 {
			delay += time.Duration(n.rand.Int64N(int64(w.path.Jitter)))
		}
	}
	n.at(time.Now().Add(delay), func() { n.arrive(p) })
}

func (n *Network) arrive(p packet) {
	if nat := n.nats[p.to.Addr()]; nat != nil {
		to, ok := nat.in(p.from, p.to)
		if !ok {
			return
		}
		p.to = to.at
		to.host.arrive(p)
		return
	}
	if h := n.holder(p.to); h != nil {
		h.arrive(p)
	}
}

func (h *Host) arrive(p packet) {
	if h.path.Cut {
		h.lost = time.Now()
		return
	}
	if f := h.sockets[p.to.Port()]; f != nil {
		f.receive(p)
	}
}

// Replay sends the last initiation that the owner of a key made once more, from the
// machine's own address, as somebody can who recorded it. It says whether there is
// one.
func (h *Host) Replay(key wgkey.Public, to netip.AddrPort) bool {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	p, ok := h.net.recorded[key]
	if !ok || len(h.own) == 0 {
		return false
	}
	p.from, p.to = netip.AddrPortFrom(h.own[0], 6), to
	h.net.carry(p, h)
	return true
}
