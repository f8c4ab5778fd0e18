package gateway

import (
	"cmp"
	"hash/fnv"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// turn is how long one survivor leaves a client to another: 150 ms until a sibling has
// said whom it carries, and 100 ms for the way to the client and back.
const turn = 250 * time.Millisecond

// silent says whether the sibling was heard, and is not any more.
func (a *account) silent(now time.Time) bool { return !a.at.IsZero() && !a.heard(now) }

// gone returns the siblings that are lost now, and were not found so before: they have
// fallen silent, and whoever can know says that it does not hear them either. That is a
// core, if one is heard, and else all the other siblings that are. Who hears nobody
// cannot tell whether the others are lost, or it is.
func gone(list []account, core bool, now time.Time) (ids []ID) {
	for i := range list {
		a := &list[i]
		if a.lost || !a.silent(now) {
			continue
		}
		agreed := core && a.missed
		if !core {
			others := 0
			agreed = !slices.ContainsFunc(list, func(o account) bool {
				if o.id == a.id || !o.heard(now) {
					return false
				}
				others++
				return !slices.Contains(o.misses, a.id)
			}) && others > 0
		}
		if agreed {
			ids = append(ids, a.id)
		}
	}
	return ids
}

// legacy is whom a lost gateway leaves behind, and when it is our turn to take them: a
// balancer gives each client to one of the survivors, and nobody knows to which one.
type legacy struct {
	waiting []share
	from    map[wgkey.Public]ID // of all that were taken or wait: who carried them
}

type share struct {
	Target
	at time.Time
}

// leave adds whom a gateway leaves behind. Each survivor works out the same order, which
// is another one for each client, so that all have as much to do; survivors include self.
func (l *legacy) leave(from, self ID, survivors []ID, targets []Target, now time.Time) {
	if l.from == nil {
		l.from = map[wgkey.Public]ID{}
	}
	for _, t := range targets {
		l.from[t.Key] = from
		l.waiting = append(l.waiting, share{t, now.Add(time.Duration(rank(t.Key, self, survivors)) * turn)})
	}
	slices.SortStableFunc(l.waiting, func(a, b share) int { return a.at.Compare(b.at) })
}

// due takes out those whose turn it is. carrier says who carries a peer now: those whom
// another one has got meanwhile are left out.
func (l *legacy) due(now time.Time, carrier func(wgkey.Public) ID) (out []Target) {
	n := 0
	for ; n < len(l.waiting) && !l.waiting[n].at.After(now); n++ {
		if t := l.waiting[n].Target; carrier(t.Key) == l.from[t.Key] {
			out = append(out, t)
		}
	}
	l.waiting = l.waiting[n:]
	return out
}

// theirs says whether a peer that was left behind is carried by another survivor now.
func (l *legacy) theirs(key wgkey.Public, self ID, carrier func(wgkey.Public) ID) bool {
	from, ours := l.from[key]
	by := carrier(key)
	return ours && by != from && by != self
}

// rank is how many survivors come before self for a peer.
func rank(key wgkey.Public, self ID, survivors []ID) (n int) {
	mine := lot(key, self)
	for _, id := range survivors {
		if id != self && cmp.Or(cmp.Compare(lot(key, id), mine), cmp.Compare(id, self)) < 0 {
			n++
		}
	}
	return n
}

// lot is what a gateway draws for a peer.
func lot(key wgkey.Public, id ID) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(key[:]) // has no error
	_, _ = io.WriteString(h, string(id))
	x := h.Sum64()
	x ^= x >> 33 // the last bytes of what is hashed reach the low bits only
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}

// shares says whether a client at a place may be reached from here as it was from there:
// both have an address of its family that is one.
func shares(here, there []netip.Addr, place netip.AddrPort) bool {
	return slices.ContainsFunc(here, func(a netip.Addr) bool {
		return a.Is4() == place.Addr().Is4() && slices.Contains(there, a)
	})
}
