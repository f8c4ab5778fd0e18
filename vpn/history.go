package vpn

import (
	"cmp"
	"slices"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// spare is how many changes a history keeps beyond one for each peer. Who is
// further back than that gets everything, which is cheaper then anyway.
const spare = 4096

// history turns a Projection into updates for readers who are at different
// revisions. It remembers which keys changed when, not how: what a reader gets
// is what is there now, so that a slow one gets fewer, larger updates.
type history struct {
	now  *Projection
	face uint64   // when the Interface changed last
	log  []change // by number
	base uint64   // changes up to this number may be forgotten
	gaps []gap    // what was passed over, in order

	// Readers say of which generation what they have is. Another one begins when
	// something that was told before turned out to be wrong: what came from
	// elsewhere is trusted from the revision floor on.
	generation uint64
	floor      uint64
}

// gap is a look that passed over revisions: what came and went between two looks
// is in no change, so whoever has one of those from elsewhere gets everything.
type gap struct{ from, to uint64 } // both were seen

type change struct {
	number uint64
	key    wgkey.Public
}

// record takes in what an Apply changed.
func (h *history) record(u gateway.Update) {
	if u.From.IsZero() || u.To.Number < u.From.Number {
		h.forget(u.To.Number)
		return
	}
	if u.To.Number > u.From.Number+1 {
		h.gaps = append(h.gaps, gap{u.From.Number, u.To.Number})
	}
	if u.Interface != nil {
		h.face = u.To.Number
	}
	for _, k := range u.Remove {
		h.log = append(h.log, change{u.To.Number, k})
	}
	for _, p := range u.Set {
		h.log = append(h.log, change{u.To.Number, p.Key})
	}
	if most := len(h.now.rows) + spare; len(h.log) > most+spare {
		drop := len(h.log) - most
		h.base = h.log[drop-1].number
		h.log = slices.Clone(h.log[drop:])
	}
	if len(h.gaps) > 2*spare {
		h.base = max(h.base, h.gaps[spare-1].to)
		h.gaps = slices.Clone(h.gaps[spare:])
	}
}

// forget begins anew: only who is at this number or later can go on from there.
func (h *history) forget(number uint64) {
	h.log, h.gaps, h.face, h.base, h.floor = nil, nil, number, number, 0
	h.generation++
}

// repair begins anew with a Projection that replaces one that was wrong.
func (h *history) repair(right *Projection) {
	h.now = right
	h.forget(right.rev.Number)
	h.floor = right.rev.Number + 1
}

// since returns a draft of what a reader needs who has a revision of a
// generation, 0 being none of ours, and whether there is anything to tell. future
// says that the reader may really be ahead, and is not to be set back.
func (h *history) since(have Revision, generation uint64, future bool) (u gateway.Update, news bool) {
	to := h.now.rev
	ours := generation == h.generation
	switch {
	case have.Epoch != to.Epoch || !ours && have.Number < h.floor || have.Number < h.base || h.missed(have.Number):
		return h.now.draft(), true
	case have.Number > to.Number && future:
		return gateway.Update{}, false
	case have.Number > to.Number:
		return h.now.draft(), true
	case have == to:
		return gateway.Update{}, false
	}
	u = gateway.Update{From: have, To: to}
	if h.face > have.Number {
		face := h.now.face
		u.Interface = &face
	}
	first, _ := slices.BinarySearchFunc(h.log, have.Number+1, func(c change, n uint64) int { return cmp.Compare(c.number, n) })
	told := make(map[wgkey.Public]bool, len(h.log)-first)
	for _, c := range h.log[first:] {
		if told[c.key] {
			continue
		}
		told[c.key] = true
		if p, granted := h.now.peer(c.key); granted {
			u.Set = append(u.Set, p)
		} else {
			u.Remove = append(u.Remove, c.key)
		}
	}
	return u, true
}

// missed says whether a look passed over a revision.
func (h *history) missed(number uint64) bool {
	i, _ := slices.BinarySearchFunc(h.gaps, number, func(g gap, n uint64) int { return cmp.Compare(g.to, n+1) })
	return i < len(h.gaps) && h.gaps[i].from < number
}
