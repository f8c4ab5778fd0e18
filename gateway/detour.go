package gateway

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// lost is how long a sibling may say nothing until packets for the peers that it
// carried are not passed on to it any more. It says something each second.
const lost = 3 * time.Second

// Detour is where packets for a peer are passed on to: they are not for the interface,
// but for the gateway that carries the peer.
type Detour struct {
	// To is a prefix of the peer.
	To netip.Prefix
	// Via is that gateway's address, of the same family.
	Via netip.Addr
}

// Detourer is an optional ability of a Device: to pass packets on to siblings.
type Detourer interface {
	// Detour makes what the machine forwards to a prefix go to a sibling, in place of
	// the interface, for exactly those in want, which are in order of To; none ends
	// it all. Which of them change is worked out here. i is the interface as it is
	// wanted: with Isolated, nothing that came from it is passed on. What a sibling
	// passed on is not passed on again, and nobody is told to send elsewhere (by ICMP
	// redirects). What could not be done is in the error; the rest is done. It is
	// called between other calls, by one goroutine.
	Detour(ctx context.Context, i Interface, want []Detour) error
}

// Detours returns, in order of To, where to pass on what is for peers that other
// gateways carry; via tells a gateway's address, the zero one if there is none to send
// to now. Peers that nobody carries, and prefixes of a family that the address is not
// of, have no detour.
func (c *Carrying) Detours(want Config, via func(ID) netip.Addr) []Detour {
	if !want.Interface.Carried {
		return nil
	}
	var out []Detour
	for i := range want.Peers {
		p := &want.Peers[i]
		s, ok := c.Carrier(p.Key)
		if !ok || s.By == c.by {
			continue
		}
		a := via(s.By)
		for _, to := range p.AllowedIPs {
			if a.IsValid() && to.Addr().Is4() == a.Is4() {
				out = append(out, Detour{to, a})
			}
		}
	}
	slices.SortFunc(out, func(a, b Detour) int { return a.To.Compare(b.To) })
	return out
}

// hop is where a sibling takes packets: the host of the address at which it takes
// links. A name is none, since routes need an address.
func hop(s Sibling) netip.Addr {
	if p, err := netip.ParseAddrPort(s.Addr); err == nil && p.Addr().Zone() == "" {
		return p.Addr().Unmap()
	}
	return netip.Addr{}
}

// hops are the addresses of the siblings that were heard of late. s.mu is held.
func (s *siblings) hops(now time.Time) map[ID]netip.Addr {
	out := map[ID]netip.Addr{}
	for id, one := range s.known {
		if a := s.hop[id]; a.IsValid() && one.talk != nil && now.Sub(one.at) < lost {
			out[id] = a
		}
	}
	return out
}

// detour passes on what is for peers that siblings carry, until ctx ends. The detours
// stay then: whoever comes next takes them over.
func (r *Reconciler) detour(ctx context.Context) {
	d, able := r.c.Device.(Detourer)
	if !able {
		return
	}
	tick := time.NewTicker(chat)
	defer tick.Stop()
	var p passing
	retry := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now() // for spans alone
		if !r.plan(&p, now) || now.Before(retry) {
			continue
		}
		r.withTurn(ctx, func() {
			err := d.Detour(ctx, p.want.Interface, p.list)
			p.at = now
			if p.done = err == nil; !p.done && ctx.Err() == nil {
				r.log.Warn("packets for peers of other gateways may not find them", "err", err)
				retry = now.Add(time.Second)
			}
		})
	}
}

// passing is what a Detourer was asked for last, and what that was worked out from.
type passing struct {
	want  Config
	turns uint64
	hops  map[ID]netip.Addr
	list  []Detour
	done  bool // it has done so
	at    time.Time
}

// again is how often a Detourer is asked for the same once more, since others may have
// changed something.
const again = 30 * time.Second

// plan works out what to pass on now, if that may be different, and says whether there
// is something to do.
func (r *Reconciler) plan(p *passing, now time.Time) bool {
	r.mu.Lock()
	known, want := r.known, r.fitting.Config
	r.mu.Unlock()
	if !known || want.Interface.IsZero() { // detours end with their interface
		return false
	}
	r.sib.mu.Lock()
	defer r.sib.mu.Unlock()
	hops, turns := r.sib.hops(now), r.sib.carry.turns
	stale := want.Interface.Carried && now.Sub(p.at) >= again
	if p.done && !stale && want.Revision == p.want.Revision && turns == p.turns && maps.Equal(hops, p.hops) {
		return false
	}
	list := r.sib.carry.Detours(want, func(id ID) netip.Addr { return hops[id] })
	same := p.done && !stale && want.Interface.Equal(p.want.Interface) && slices.Equal(list, p.list)
	p.want, p.turns, p.hops, p.list = want, turns, hops, list
	p.done = same
	return !same
}
