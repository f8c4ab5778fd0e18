package sim

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

// bond is the way between two machines, by which their gateways talk while both run.
// The driver alone uses it.
type bond struct {
	a, b *machine
	pair *memtransport.Pair // nil: they do not talk
	end  context.CancelFunc
	well well
	cut  bool
	ill  bool
	was  [2]time.Time // from when until when it was well the last time
}

// worse says that something is wrong with it now.
func (b *bond) worse(now time.Time) {
	if b.well.wrong == 0 {
		b.was = [2]time.Time{b.well.since, now}
	}
	b.well.worse()
}

// heard says whether it has been well since an instant, or was until a moment ago.
func (b *bond) heard(since time.Time) bool {
	const moment = 2 * time.Second
	return b.well.before(since) || b.well.wrong > 0 && !b.was[0].After(since) && b.was[1].Sub(since) >= settled-moment
}

// again is how long it takes until a conversation that ended is begun again.
const again = 300 * time.Millisecond

// bond is the way between two machines.
func (w *world) bond(m, o *machine) *bond {
	for _, b := range w.bonds {
		if b.a == m && b.b == o || b.a == o && b.b == m {
			return b
		}
	}
	return nil
}

// bondAll lets machines meet.
func (w *world) bondAll() {
	for i, m := range w.machines {
		for _, o := range w.machines[i+1:] {
			w.bonds = append(w.bonds, &bond{a: m, b: o, well: well{wrong: 1}})
		}
	}
}

// greet has a machine whose process has started talk with the others.
func (w *world) greet(m *machine) {
	for _, b := range w.bonds {
		if b.a == m || b.b == m {
			b.begin(w)
		}
	}
}

// leave ends what a machine had to say. If silent, others have to notice.
func (w *world) depart(m *machine, silent bool) {
	for _, b := range w.bonds {
		if (b.a == m || b.b == m) && b.pair != nil {
			b.part(w, silent)
		}
	}
}

// begin has the two talk, if they run and there is a way.
func (b *bond) begin(w *world) {
	if b.pair != nil || b.cut || b.a.proc == nil || b.b.proc == nil {
		return
	}
	pair := memtransport.NewPair(b.a.end(), b.b.end())
	ctx, end := context.WithCancel(w.ctx) // or nobody ends what was to fall silent later
	b.pair, b.end = pair, end
	b.well.better(w.log.now())
	for _, id := range w.ids {
		w.wg.Go(func() {
			for ctx.Err() == nil {
				_ = pair.Talk(ctx, gateway.LocationID(id))
				_ = pause(ctx, again)
			}
		})
	}
}

// part ends it.
func (b *bond) part(w *world, silent bool) {
	pair, end := b.pair, b.end
	b.pair, b.end = nil, nil
	b.worse(w.log.now())
	stop := func() {
		end()
		pair.Cut()
	}
	if !silent {
		stop()
		return
	}
	pair.Stall()
	w.later(silence, stop)
}

// end is the machine's end of a way.
func (m *machine) end() memtransport.End {
	var t gateway.Talker = mortal{m.proc, m.alive}
	if m.w.parts.Talker != nil {
		t = m.w.parts.Talker(m.name, t)
	}
	return memtransport.End{ID: m.id, Talker: t, Now: m.host.Clock}
}

// mortal is a process that says nothing any more once it was killed.
type mortal struct {
	gateway.Talker

	alive *atomic.Bool
}

// estrange does something to the way between two gateways.
func (w *world) estrange(d dice) {
	b := w.bonds[d.IntN(len(w.bonds))]
	kind, slow := d.IntN(3), d.between(20*time.Millisecond, 2*time.Second)
	if b.ill {
		return
	}
	b.ill = true
	b.worse(w.log.now())
	between := fmt.Sprintf("%s to %s", b.a.name, b.b.name)
	pair := b.pair
	heal := func() {
		b.ill = false
		b.well.better(w.log.now())
	}
	switch {
	case kind == 0 || pair == nil:
		b.cut = true
		if pair != nil {
			b.part(w, false)
		}
		w.fault(d, "no way from "+between, func() {
			b.cut = false
			heal()
			b.begin(w)
		})
	case kind == 1:
		pair.Stall()
		w.fault(d, "nothing passes from "+between, func() {
			pair.Heal()
			heal()
		})
	default:
		pair.Slow(slow)
		w.fault(d, fmt.Sprintf("all takes %v from %s", slow.Round(time.Millisecond), between), func() {
			pair.Slow(0)
			heal()
		})
	}
}
