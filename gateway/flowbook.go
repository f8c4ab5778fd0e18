package gateway

import (
	"net/netip"
	"time"
)

const (
	// mostFlows is how many connections are known of one gateway: with more, those that
	// were told first are forgotten.
	mostFlows = 1 << 16
	// flowsLast is for how long connections of an address are known that nobody confirms:
	// until then a host repeats what is not acknowledged (Linux, tcp_retries2: 15 times in
	// 924.6 s).
	flowsLast = 924 * time.Second
)

// flowKey is a connection as its peer knows it.
type flowKey struct {
	from, to netip.AddrPort
	udp      bool
}

func (f Flow) key() flowKey { return flowKey{f.From, f.To, f.UDP} }

// flow is the connection with what stands in for its source.
func (k flowKey) flow(inner netip.AddrPort) Flow {
	return Flow{UDP: k.udp, From: k.from, To: k.to, Inner: inner}
}

// flowBook is what one gateway told of its connections.
type flowBook struct {
	flows map[flowKey]flowEntry
	order []flowTurn // as they were told; some have gone since
	turn  uint64
	most  int
	// confirmed is when it last had an address, and here whether it has it now.
	confirmed map[netip.Addr]time.Time
	here      map[netip.Addr]bool
}

type flowEntry struct {
	inner netip.AddrPort
	turn  uint64
}

type flowTurn struct {
	key  flowKey
	turn uint64
}

func newFlowBook(most int) *flowBook {
	return &flowBook{flows: map[flowKey]flowEntry{}, most: most, confirmed: map[netip.Addr]time.Time{}, here: map[netip.Addr]bool{}}
}

// set takes in a connection, and says how many had to go for it.
func (b *flowBook) set(f Flow) (dropped int) {
	k := f.key()
	if old, ok := b.flows[k]; ok {
		old.inner = f.Inner
		b.flows[k] = old
		return 0
	}
	b.turn++
	b.flows[k] = flowEntry{f.Inner, b.turn}
	b.order = append(b.order, flowTurn{k, b.turn})
	for len(b.flows) > b.most {
		if first := b.order[0]; b.flows[first.key].turn == first.turn {
			delete(b.flows, first.key)
			dropped++
		}
		b.order = b.order[1:]
	}
	if len(b.order) > 2*b.most { // mostly of those that have gone
		b.tidy()
	}
	return dropped
}

// tidy forgets the turns of those that have gone.
func (b *flowBook) tidy() {
	order := make([]flowTurn, 0, len(b.flows))
	for _, o := range b.order {
		if b.flows[o.key].turn == o.turn {
			order = append(order, o)
		}
	}
	b.order = order
}

// end forgets a connection, unless it has become another one.
func (b *flowBook) end(f Flow) {
	if b.flows[f.key()].inner == f.Inner {
		delete(b.flows, f.key())
	}
}

// is says what addresses the gateway has now, and returns those that have left it.
func (b *flowBook) is(here []netip.Addr, now time.Time) (left []netip.Addr) {
	had := b.here
	b.here = make(map[netip.Addr]bool, len(here))
	for _, a := range here {
		b.here[a] = true
		b.confirmed[a] = now
	}
	for a := range had {
		if !b.here[a] {
			b.confirmed[a] = now
			left = append(left, a)
		}
	}
	return left
}

// clear forgets all connections of addresses for which it is true.
func (b *flowBook) clear(of func(netip.Addr) bool) {
	for k, e := range b.flows {
		if of(e.inner.Addr()) {
			delete(b.flows, k)
		}
	}
	b.tidy()
}

// expire forgets what was confirmed too long ago.
func (b *flowBook) expire(now time.Time) {
	for a, at := range b.confirmed {
		if !b.here[a] && now.Sub(at) >= flowsLast {
			delete(b.confirmed, a)
			b.clear(func(of netip.Addr) bool { return of == a })
		}
	}
}

// list returns what is known of an address, or of all for the zero one, as it was told.
func (b *flowBook) list(a netip.Addr) []Flow {
	var out []Flow
	for _, o := range b.order {
		e := b.flows[o.key]
		if e.turn == o.turn && (!a.IsValid() || e.inner.Addr() == a) {
			out = append(out, o.key.flow(e.inner))
		}
	}
	return out
}

// flowTalk is what is yet to be told to one sibling.
type flowTalk struct {
	all     bool          // all there is
	changed map[Flow]bool // otherwise: whether they are
}

func (t *flowTalk) note(f Flow, is bool) {
	switch {
	case t.all:
	case len(t.changed) >= mostFlows/4:
		t.all, t.changed = true, map[Flow]bool{}
	default:
		t.changed[f] = is
	}
}
