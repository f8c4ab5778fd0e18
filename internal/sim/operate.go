package sim

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
)

// patience is how long an operator waits for an answer.
const patience = 5 * time.Second

// static is an address that is a device's own, contested one that several want.
func static(n, at int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(20 + at), 1, byte(n + 1)}) }

func contested(at, n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(20 + at), 9, byte(n + 1)})
}

func route(n, at int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(2*n + at), 0}), 24)
}

// order is what an operator asks of a core, for one device.
type order struct {
	how    string
	change func(fact) fact // what it makes of what is true
	do     func(ctx context.Context, core *vpn.Core) (peer.Device, error)
}

// operate has an operator change some device by way of some core.
func (w *world) operate(d dice) {
	h, n, other := w.hosts[d.IntN(len(w.hosts))], d.IntN(100), w.hosts[d.IntN(len(w.hosts))]
	free := w.model.slots[steady:]
	s, second := free[n%len(free)], free[(n+1)%len(free)]
	if h.core == nil {
		return
	}
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	if s.busy || w.model.flipping() {
		return
	}
	f, sure := s.certain()
	switch {
	case !sure || f.there && s.id == "":
		w.read(s, h.core, d.IntN(2))
	case f.there:
		w.attempt(s, h.core, w.change(d, s))
	default:
		o := w.add(d, s, -1)
		absent, known := second.certain()
		switch kind := d.IntN(6); {
		case kind == 0 && other.core != nil: // twice at once
			w.attempt(s, h.core, o, other.core)
		case kind == 1 && other.core != nil && known && !absent.there && !second.busy: // for an address that another wants
			at := d.IntN(sites)
			w.attempt(s, h.core, w.add(d, s, at))
			w.attempt(second, other.core, w.add(d, second, at))
		default:
			w.attempt(s, h.core, o)
		}
	}
}

// flipping says whether some location is being disabled or enabled. The caller
// holds mu.
func (m *model) flipping() bool {
	for _, l := range m.forms {
		if l.flipping {
			return true
		}
	}
	return false
}

// place draws a place for a device.
func place(d dice, s *slot, at int, id location.ID) (peer.Place, spot) {
	p, is := peer.Place{Location: id}, spot{in: true}
	if d.one(2) {
		p.Addrs = []netip.Addr{static(s.n, at)}
	} else if d.one(4) {
		p.Addrs = []netip.Addr{contested(at, d.IntN(3))}
	}
	if len(p.Addrs) > 0 {
		is.addr = p.Addrs[0].String()
	}
	if d.one(3) {
		r := route(s.n, at)
		p.Routes, is.route = []netip.Prefix{r}, r.String()
	}
	return p, is
}

// add is adding a device, with an address that is wanted by others at a location
// unless that is negative.
func (w *world) add(d dice, s *slot, wanted int) order {
	n := peer.NewDevice{Name: fmt.Sprint("device ", s.n), Key: s.keys[0]}
	f := fact{there: true}
	for at, id := range w.ids {
		if at != wanted && d.one(3) {
			continue
		}
		p, is := place(d, s, at, id)
		if at == wanted {
			p.Addrs = []netip.Addr{contested(at, 7)}
			is.addr = p.Addrs[0].String()
		}
		n.Places, f.spots[at] = append(n.Places, p), is
	}
	return order{
		how:    "adding",
		change: func(fact) fact { return f },
		do: func(ctx context.Context, core *vpn.Core) (peer.Device, error) {
			return core.Devices().Add(ctx, n)
		},
	}
}

// change draws a change of a device that is there.
func (w *world) change(d dice, s *slot) order {
	id, at := s.id, d.IntN(sites)
	where := w.ids[at]
	update := func(how string, change func(fact) fact, edit func(*peer.Device)) order {
		return order{how, change, func(ctx context.Context, core *vpn.Core) (peer.Device, error) {
			return core.Devices().Update(ctx, id, func(d *peer.Device) error {
				edit(d)
				return nil
			})
		}}
	}
	on := d.one(2)
	switch d.IntN(7) {
	case 0:
		return order{"deleting", func(fact) fact { return fact{} }, func(ctx context.Context, core *vpn.Core) (peer.Device, error) {
			return peer.Device{}, core.Devices().Delete(ctx, id)
		}}
	case 1, 2:
		return update("disabling or enabling", func(f fact) fact { f.disabled = on; return f }, func(d *peer.Device) { d.Disabled = on })
	case 3:
		which := d.IntN(2)
		key := s.keys[which]
		return update("giving another key to", func(f fact) fact { f.key = which; return f }, func(d *peer.Device) { d.Key = key })
	case 4:
		return order{
			"leaving", func(f fact) fact { f.spots[at] = spot{}; return f },
			func(ctx context.Context, core *vpn.Core) (peer.Device, error) {
				return core.Devices().Leave(ctx, id, where)
			},
		}
	case 5:
		return update("disabling or enabling the place", func(f fact) fact {
			f.spots[at].off = on && f.spots[at].in
			return f
		}, func(d *peer.Device) {
			for i := range d.Peers {
				if d.Peers[i].Location == where {
					d.Peers[i].Disabled = on
				}
			}
		})
	default:
		p, is := place(d, s, at, where)
		return order{"placing", func(f fact) fact {
			if is := is; is.addr != "" || !f.spots[at].in {
				f.spots[at] = is
				return f
			}
			f.spots[at] = spot{in: true, addr: f.spots[at].addr, route: is.route}
			return f
		}, func(ctx context.Context, core *vpn.Core) (peer.Device, error) {
			return core.Devices().Place(ctx, id, p)
		}}
	}
}

// answer is what came of an order.
type answer struct {
	d   peer.Device
	err error
}

// attempt has an order carried out, by more than one core at once if there are
// more. The caller holds the model's mu.
func (w *world) attempt(s *slot, core *vpn.Core, o order, more ...*vpn.Core) {
	w.model.begin(s, o.change)
	cores := append([]*vpn.Core{core}, more...)
	answers := make(chan answer, len(cores))
	for _, core := range cores {
		w.wg.Go(func() {
			ctx, cancel := context.WithTimeout(w.ctx, patience)
			defer cancel()
			d, err := o.do(ctx, core)
			w.log.notef("%s device %d by %s: %v", o.how, s.n, core.ID(), err)
			answers <- answer{d, err}
		})
	}
	w.wg.Go(func() {
		all := make([]answer, 0, len(cores))
		for range cores {
			all = append(all, <-answers)
		}
		w.model.mu.Lock()
		defer w.model.mu.Unlock()
		w.judge(s, o, all)
		w.model.leave(s)
	})
}

// judge draws the conclusions from what cores answered. The caller holds the
// model's mu.
func (w *world) judge(s *slot, o order, all []answer) {
	var acked []answer
	var refused error
	unknown := false
	for _, a := range all {
		var field *peer.FieldError
		switch {
		case a.err == nil:
			acked = append(acked, a)
		case errors.Is(a.err, peer.ErrNotFound), errors.Is(a.err, peer.ErrKeyTaken),
			errors.Is(a.err, peer.ErrAddressTaken), errors.Is(a.err, peer.ErrExhausted):
			refused = a.err
		case errors.As(a.err, &field):
			w.log.violatef("sim", "%s device %d: %v", o.how, s.n, a.err)
		default:
			unknown = true
		}
	}
	switch {
	case len(acked) > 1:
		w.log.violatef("P10", "%s device %d was acknowledged twice, as %s and as %s", o.how, s.n, acked[0].d.ID, acked[1].d.ID)
	case len(acked) == 1:
		w.count.Acked++
		w.model.told(s, s.after, factOf(acked[0].d, s.keys, w.ids), o.how)
		s.id = acked[0].d.ID
	case unknown:
		w.count.Unknown++
	case errors.Is(refused, peer.ErrNotFound):
		w.model.refused(s, false, refused)
	case errors.Is(refused, peer.ErrKeyTaken):
		w.model.refused(s, true, refused)
	default:
		w.count.Refused++
		s.may = s.before
	}
}

// read has an operator look at a device, by one of its keys. The caller holds the
// model's mu.
func (w *world) read(s *slot, core *vpn.Core, which int) {
	w.model.begin(s, func(f fact) fact { return f })
	w.wg.Go(func() {
		ctx, cancel := context.WithTimeout(w.ctx, patience)
		defer cancel()
		d, err := core.Devices().Find(ctx, s.keys[which])
		w.log.notef("reading device %d by %s: %v", s.n, core.ID(), err)
		w.model.mu.Lock()
		defer w.model.mu.Unlock()
		w.seen(s, which, d, err)
		w.model.leave(s)
	})
}

// seen says what a core answered who was asked for one of a slot's keys. The
// caller holds the model's mu.
func (w *world) seen(s *slot, which int, d peer.Device, err error) {
	switch {
	case err == nil:
		w.model.told(s, s.may, factOf(d, s.keys, w.ids), "reading")
		s.id = d.ID
	case errors.Is(err, peer.ErrNotFound):
		var may []fact
		for _, f := range s.may {
			if !f.there || f.key != which {
				may = append(may, f)
			}
		}
		if len(may) == 0 {
			w.log.violatef("P9", "device %d is not there, and what was acknowledged says %v", s.n, s.may)
			may = s.may
		}
		s.may = may
	}
}

// resolve asks for all that nobody knows for certain, when nothing is wrong.
func (w *world) resolve() error {
	core := w.hosts[0].core
	for _, s := range w.model.slots {
		for which := range s.keys {
			d, err := core.Devices().Find(w.ctx, s.keys[which])
			if err != nil && !errors.Is(err, peer.ErrNotFound) {
				return fmt.Errorf("%w: reading: %w", errWrong, err)
			}
			w.model.mu.Lock()
			w.model.begin(s, func(f fact) fact { return f })
			w.seen(s, which, d, err)
			w.model.leave(s)
			w.model.mu.Unlock()
		}
	}
	for at, id := range w.ids {
		l, err := core.Locations().Get(w.ctx, id)
		if err != nil {
			return fmt.Errorf("%w: reading: %w", errWrong, err)
		}
		got := formOf(l)
		w.model.mu.Lock()
		w.model.edit(at, func(f form) form { return f })
		w.model.edited(at, &got)
		w.model.mu.Unlock()
	}
	for _, m := range w.machines {
		gw, err := core.Gateways().Get(w.ctx, m.id)
		if err != nil {
			return fmt.Errorf("%w: reading: %w", errWrong, err)
		}
		w.model.mu.Lock()
		w.posted(m, gw)
		w.model.mu.Unlock()
	}
	return nil
}
