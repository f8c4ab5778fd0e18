package location

import (
	"cmp"
	"container/heap"
	"net/netip"
	"slices"
)

// Pool knows which addresses of a location are free, and gives the lowest one
// first. It is a plain value in memory: it reads no store, and is not safe for
// concurrent use.
//
// What Next costs does not depend on how many addresses are taken, nor on how
// large the networks and the reserved ranges are: a cursor passes each address
// once, reserved ranges in one jump, and what was freed behind it waits in a
// heap.
type Pool struct {
	parts []*part // in the order of Networks
}

// part is one network's share.
type part struct {
	network netip.Prefix
	gateway netip.Addr
	skip    []span // reserved, in order, apart from one another

	taken  map[netip.Addr]struct{}
	cursor netip.Addr // free addresses below it are in holes; from it on all that is neither taken nor skipped is free
	last   netip.Addr
	holes  holes // may hold some that were taken again
	inside map[netip.Addr]struct{}
}

// span is a range of addresses, both ends in it.
type span struct{ first, last netip.Addr }

// NewPool makes the pool of a valid location, with everything free. The gateways'
// addresses, Reserved, the first address of each network and, in IPv4, the last
// are never given.
func NewPool(l Location) *Pool {
	p := &Pool{}
	for _, g := range l.GatewayAddrs() {
		n := g.Masked()
		first, last := Range(n)
		if n.Addr().Is4() {
			last = last.Prev()
		}
		p.parts = append(p.parts, &part{
			network: n,
			gateway: g.Addr(),
			skip:    spans(n, g.Addr(), l.Reserved),
			taken:   map[netip.Addr]struct{}{},
			cursor:  first.Next(),
			last:    last,
			inside:  map[netip.Addr]struct{}{},
		})
	}
	return p
}

// spans are what is not given in network n, joined where they overlap.
func spans(n netip.Prefix, gateway netip.Addr, reserved []netip.Prefix) []span {
	all := []span{{gateway, gateway}}
	for _, r := range reserved {
		if n.Overlaps(r) {
			first, last := Range(r)
			all = append(all, span{first, last})
		}
	}
	slices.SortFunc(all, func(a, b span) int {
		return cmp.Or(a.first.Compare(b.first), a.last.Compare(b.last))
	})
	out := all[:1]
	for _, s := range all[1:] {
		if end := &out[len(out)-1]; s.first.Compare(end.last) <= 0 {
			if end.last.Less(s.last) {
				end.last = s.last
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// Next gives the lowest free address of a family from the first network that has
// one, and takes it. It says false when there is none.
func (p *Pool) Next(ipv6 bool) (netip.Addr, bool) {
	for _, part := range p.parts {
		if part.network.Addr().Is6() != ipv6 {
			continue
		}
		if a, ok := part.next(); ok {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// NextAddrs gives what a new peer gets: one address of each family that the
// location has, in order. If a family has no room it takes nothing and says
// false.
func (p *Pool) NextAddrs() ([]netip.Addr, bool) {
	var out []netip.Addr
	for _, ipv6 := range []bool{false, true} {
		if !slices.ContainsFunc(p.parts, func(o *part) bool { return o.network.Addr().Is6() == ipv6 }) {
			continue
		}
		a, ok := p.Next(ipv6)
		if !ok {
			for _, a := range out {
				p.Free(a)
			}
			return nil, false
		}
		out = append(out, a)
	}
	return out, len(out) > 0
}

// Take takes an address and says whether it was there to be taken: free, in a
// network, and usable by a peer. One in Reserved may be taken: reserved means
// not given unasked.
func (p *Pool) Take(a netip.Addr) bool {
	part := p.of(a)
	if part == nil || !Usable(part.network, a) || a == part.gateway {
		return false
	}
	if _, taken := part.taken[a]; taken {
		return false
	}
	part.taken[a] = struct{}{}
	return true
}

// Free gives an address back. Freeing what is not taken changes nothing.
func (p *Pool) Free(a netip.Addr) {
	if part := p.of(a); part != nil {
		part.free(a)
	}
}

func (p *Pool) of(a netip.Addr) *part {
	i := slices.IndexFunc(p.parts, func(o *part) bool { return o.network.Contains(a) })
	if i < 0 {
		return nil
	}
	return p.parts[i]
}

func (p *part) next() (netip.Addr, bool) {
	for len(p.holes) > 0 {
		a := p.holes.pop()
		delete(p.inside, a)
		if _, taken := p.taken[a]; !taken {
			p.taken[a] = struct{}{}
			return a, true
		}
	}
	for p.cursor.IsValid() && p.cursor.Compare(p.last) <= 0 {
		if end, ok := p.skipped(p.cursor); ok {
			p.cursor = end.Next()
			continue
		}
		a := p.cursor
		p.cursor = a.Next()
		if _, taken := p.taken[a]; !taken {
			p.taken[a] = struct{}{}
			return a, true
		}
	}
	return netip.Addr{}, false
}

func (p *part) free(a netip.Addr) {
	if _, taken := p.taken[a]; !taken {
		return
	}
	delete(p.taken, a)
	if p.cursor.IsValid() && p.cursor.Compare(a) <= 0 {
		return // the cursor will find it
	}
	if _, ok := p.skipped(a); ok {
		return
	}
	if _, there := p.inside[a]; !there {
		p.inside[a] = struct{}{}
		p.holes.push(a)
	}
}

// skipped says whether a is not to be given, and where that ends.
func (p *part) skipped(a netip.Addr) (end netip.Addr, ok bool) {
	i, _ := slices.BinarySearchFunc(p.skip, a, func(s span, a netip.Addr) int { return s.last.Compare(a) })
	if i == len(p.skip) || a.Less(p.skip[i].first) {
		return netip.Addr{}, false
	}
	return p.skip[i].last, true
}

// holes is a heap with the lowest address on top.
type holes []netip.Addr //nolint:recvcheck // as package heap wants it

func (h *holes) push(a netip.Addr) { heap.Push(h, a) }
func (h *holes) pop() netip.Addr   { return heap.Pop(h).(netip.Addr) } //nolint:errcheck // nothing else is in it

// Len, Less, Swap, Push and Pop are for package heap.
func (h holes) Len() int           { return len(h) }
func (h holes) Less(i, j int) bool { return h[i].Less(h[j]) }
func (h holes) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *holes) Push(a any)        { *h = append(*h, a.(netip.Addr)) } //nolint:errcheck // nothing else is in it
func (h *holes) Pop() any {
	old := *h
	a := old[len(old)-1]
	*h = old[:len(old)-1]
	return a
}
