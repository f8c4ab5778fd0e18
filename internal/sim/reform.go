package sim

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn"
)

// reform has an operator change a location.
func (w *world) reform(d dice) {
	h, at := w.hosts[d.IntN(len(w.hosts))], d.IntN(sites)
	want := form{disabled: d.one(4), isolated: d.one(2), routed: d.one(2), mtu: 1300 + d.IntN(5)}
	if h.core == nil {
		return
	}
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	if !w.model.edit(at, func(form) form { return want }) {
		return
	}
	core, id := h.core, w.ids[at]
	w.wg.Go(func() {
		ctx, cancel := context.WithTimeout(w.ctx, patience)
		defer cancel()
		l, err := core.Locations().Update(ctx, id, func(l *location.Location) error {
			l.Disabled, l.Isolated, l.MTU, l.Inner = want.disabled, want.isolated, want.mtu, location.SNAT
			if want.routed {
				l.Inner = location.Routed
			}
			return nil
		})
		w.log.notef("making location %d %+v by %s: %v", at, want, core.ID(), err)
		w.model.mu.Lock()
		defer w.model.mu.Unlock()
		if err != nil {
			w.model.edited(at, nil)
			return
		}
		got := formOf(l)
		w.model.edited(at, &got)
	})
}

// repost has an operator give locations to a gateway, or take them away, and say
// where it is dialled.
func (w *world) repost(d dice) {
	h, m := w.hosts[d.IntN(len(w.hosts))], w.machines[d.IntN(len(w.machines))]
	want := duty{sites: []int{1<<sites - 1, 1<<sites - 1, d.IntN(1 << sites)}[d.IntN(3)]}
	if n := d.IntN(4); n > 0 {
		want.addr = fmt.Sprintf("192.0.2.%d:%d", m.n+1, 7946+n)
	}
	if h.core == nil {
		return
	}
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	if m.busy {
		return
	}
	m.busy = true
	for at := range sites {
		m.posted[at].ask(post(want, at))
	}
	m.may = union(m.may, []duty{want})
	core := h.core
	w.wg.Go(func() {
		ctx, cancel := context.WithTimeout(w.ctx, patience)
		defer cancel()
		gw, err := core.Gateways().Update(ctx, m.id, func(gw *vpn.Gateway) error {
			gw.Locations, gw.Address = nil, want.addr
			for at, id := range w.ids {
				if want.at(at) {
					gw.Locations = append(gw.Locations, id)
				}
			}
			return nil
		})
		w.log.notef("giving %v to %s by %s: %v", want, m.name, core.ID(), err)
		w.model.mu.Lock()
		defer w.model.mu.Unlock()
		m.busy = false
		if err == nil {
			w.posted(m, gw)
		}
	})
}

// posted says what a core answered about a gateway. The caller holds the model's
// mu.
func (w *world) posted(m *machine, gw vpn.Gateway) {
	got := dutyOf(gw, w.ids)
	if !slices.Contains(m.may, got) {
		w.log.violatef("P9", "%s is said to do %v, and what was acknowledged says %v", m.name, got, m.may)
	}
	m.may = []duty{got}
	for at := range sites {
		m.posted[at].ack(post(got, at), w.log.now())
	}
}

func post(d duty, at int) string {
	if d.at(at) {
		return "yes"
	}
	return ""
}
