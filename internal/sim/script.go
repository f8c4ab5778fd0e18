package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// dice are those of one step.
type dice struct{ *rand.Rand }

func (d dice) one(in int) bool { return d.IntN(in) == 0 }

// between draws a time.
func (d dice) between(least, most time.Duration) time.Duration {
	return least + time.Duration(d.Int64N(int64(most-least)))
}

// span draws how long something is wrong: seldom for long.
func (d dice) span() time.Duration {
	switch n := d.IntN(20); {
	case n < 13:
		return d.between(200*time.Millisecond, 8*time.Second)
	case n < 18:
		return d.between(8*time.Second, 30*time.Second)
	default:
		return d.between(30*time.Second, time.Minute)
	}
}

// script plans what happens, and returns when the last of it does. All of it is
// drawn from the seed here, for each step with dice of its own, so that what a
// step draws does not depend on how those before it ended.
func (w *world) script(c Config) time.Time {
	at := time.Duration(0)
	for n := range c.Steps {
		d := dice{rand.New(rand.NewPCG(c.Seed, 100+uint64(n)))} //nolint:gosec // a seed repeats it
		at += d.between(0, 2500*time.Millisecond)
		if d.one(25) {
			at += 20 * time.Second // time to recover in
		}
		w.later(at, func() { w.step(d) })
	}
	return w.log.now().Add(at + time.Second)
}

// step lets one thing happen.
func (w *world) step(d dice) {
	switch n := d.IntN(100); {
	case n < 36:
		w.operate(d)
	case n < 44:
		w.shift(d)
	case n < 47:
		w.estrange(d)
	case n < 50:
		w.wander(d)
	case n < 57:
		w.reform(d)
	case n < 60:
		w.repost(d)
	case n < 72:
		w.disturb(d)
	case n < 79:
		w.crash(d)
	case n < 86:
		w.restart(d)
	case n < 93:
		w.starve(d)
	case n < 97:
		w.meddle(d)
	default:
		w.ail(d)
	}
}

// fault begins something that is wrong, and ends it later.
func (w *world) fault(d dice, what string, end func()) {
	span := d.span()
	w.log.notef("%s, for %v", what, span.Round(time.Millisecond))
	w.later(span, func() { end() })
}

// disturb does something to the way between a gateway and a core.
func (w *world) disturb(d dice) {
	m, h := w.machines[d.IntN(len(w.machines))], w.hosts[d.IntN(len(w.hosts))]
	wr := w.wires[m.n][h.name]
	if wr.well.wrong > 0 {
		return
	}
	wr.well.worse()
	between := fmt.Sprintf("%s to %s", m.name, h.name)
	kind := d.IntN(4)
	if wr.link == nil {
		kind = 0
	}
	link := wr.link
	switch kind {
	case 0, 1: // with a reset, or without a word
		wr.cut = true
		w.unlink(m, h, kind == 1)
		w.fault(d, "no way from "+between, func() {
			wr.cut = false
			wr.well.better(w.log.now())
			w.link(m, h)
		})
	case 2:
		link.Stall()
		w.fault(d, "nothing passes from "+between, func() {
			if wr.link == link {
				link.Heal()
			}
			wr.well.better(w.log.now())
		})
	default:
		slow := d.between(50*time.Millisecond, 3*time.Second)
		link.Slow(slow)
		w.fault(d, fmt.Sprintf("all takes %v from %s", slow.Round(time.Millisecond), between), func() {
			if wr.link == link {
				link.Slow(0)
			}
			wr.well.better(w.log.now())
		})
	}
}

// crash ends a core, and starts it again.
func (w *world) crash(d dice) {
	h := w.hosts[d.IntN(len(w.hosts))]
	if h.core == nil {
		return
	}
	what := h.name + " is killed"
	switch kind := d.IntN(3); kind {
	case 0:
		what = h.name + " stops"
		h.end(false)
	default:
		h.kill(kind == 2)
	}
	w.fault(d, what, func() { w.up(h) })
}

// up starts a core.
func (w *world) up(h *host) {
	if h.core != nil {
		return
	}
	w.log.notef("%s starts", h.name)
	if err := h.start(); err != nil {
		w.log.violatef("sim", "%v", err)
	}
}

// restart ends a gateway's process, and starts it again.
func (w *world) restart(d dice) {
	m := w.machines[d.IntN(len(w.machines))]
	if m.proc == nil {
		return
	}
	what := m.name + " stops"
	switch kind := d.IntN(8); kind {
	case 0:
		m.stop(false, false)
	case 1, 2:
		what = m.name + " reboots"
		w.dark(d, m)
		m.stop(true, kind == 1)
		m.reboot()
		w.misset(d, m)
	case 3, 4, 5:
		for _, s := range m.seats {
			s.arm(d.IntN(5))
		}
		w.log.notef("%s is to die in its next change", m.name)
		proc := m.proc
		w.later(5*time.Second, func() {
			for _, s := range m.seats {
				s.arm(-1)
			}
			if m.proc == proc {
				m.stop(true, false)
				w.fault(d, m.name+" is killed", func() { w.awake(m) })
			}
		})
		return
	default:
		what = m.name + " is killed"
		m.stop(true, kind == 6)
	}
	w.fault(d, what, func() { w.awake(m) })
}

// awake starts a gateway's process.
func (w *world) awake(m *machine) {
	if m.proc != nil {
		return
	}
	w.log.notef("%s starts", m.name)
	if m.power.wrong > 0 {
		w.light(m)
	}
	if err := m.start(); err != nil {
		w.log.violatef("sim", "%v", err)
	}
}

// starve does something to the way of one core, or of all, to the database.
func (w *world) starve(d dice) {
	hosts := w.hosts
	if !d.one(4) {
		hosts = []*host{w.hosts[d.IntN(len(w.hosts))]}
	}
	var now ill
	what := "is refused"
	switch d.IntN(6) {
	case 0:
		now.fails = true
	case 1:
		what, now.loses = "gets no answers to writes", true
	case 2:
		what, now.hangs = "hangs", true
	case 3:
		what, now.hangs, now.stubborn = "hangs, and lets go late", true, true
	case 4:
		now.slow = d.between(10*time.Millisecond, 2*time.Second)
		what = fmt.Sprintf("takes %v", now.slow.Round(time.Millisecond))
	default:
		h := hosts[0]
		h.ears.set(true) // which is no excuse
		w.fault(d, h.name+" gets no hints", func() { h.ears.set(false) })
		return
	}
	for _, h := range hosts {
		if h.ill != (ill{}) {
			continue
		}
		h.sicken(now)
		w.fault(d, fmt.Sprintf("the database: %s %s", h.name, what), h.cure)
	}
}

// meddle is somebody's hand on a device.
func (w *world) meddle(d dice) {
	s := w.machines[d.IntN(len(w.machines))].seats[d.IntN(sites)]
	kind, n := d.IntN(6), d.IntN(100)
	what := "nothing"
	s.meddle(func(have *gateway.State) {
		if !have.Exists {
			return
		}
		var one *gateway.PeerState
		if len(have.Peers) > 0 {
			one = &have.Peers[n%len(have.Peers)]
		}
		switch {
		case kind == 0:
			what = "adds a stranger"
			have.Peers = append(have.Peers, gateway.PeerState{Key: stranger(n)})
		case kind == 1 && one != nil:
			what = "removes a peer"
			have.Peers = append(have.Peers[:n%len(have.Peers)], have.Peers[n%len(have.Peers)+1:]...)
		case kind == 2 && one != nil:
			what = "gives a peer's addresses to another"
			have.Peers[(n+1)%len(have.Peers)].AllowedIPs = append(have.Peers[(n+1)%len(have.Peers)].AllowedIPs, one.AllowedIPs...)
		case kind == 3:
			what, have.Exists = "deletes the interface", false
		case kind == 4:
			what, have.Up = "takes the interface down", false
		default:
			what, have.Interface.MTU, have.Interface.Isolated = "changes the interface", 1300, !have.Interface.Isolated
		}
	})
	w.log.notef("somebody %s at %s, location %d", what, s.m.name, s.at)
}

func stranger(n int) wgkey.Public {
	var b [wgkey.Size]byte
	copy(b[:], fmt.Sprintf("stranger %d, whom nobody knows..", n))
	return wgkey.PrivateFrom(b).Public()
}

// ail does something to a device.
func (w *world) ail(d dice) {
	s := w.machines[d.IntN(len(w.machines))].seats[d.IntN(sites)]
	if s.well.wrong > 0 {
		return
	}
	var a ail
	what := "looks at"
	switch d.IntN(3) {
	case 0:
		verb := []gateway.Verb{gateway.Set, gateway.Remove, gateway.Configure, gateway.Route}[d.IntN(4)]
		what = verb.String() + " at"
		a.step = func(s gateway.Step) error {
			if s.Verb == verb {
				return errDisk
			}
			return nil
		}
	case 1:
		a.slow = d.between(100*time.Millisecond, 20*time.Second)
		what = fmt.Sprintf("for %v each change at", a.slow.Round(time.Millisecond))
	default:
		a.blind = true
	}
	s.sicken(a)
	w.fault(d, fmt.Sprintf("sick: %s %s, location %d", what, s.m.name, s.at), s.cure)
}

// calm ends all faults now.
func (w *world) calm() {
	if w.broken() {
		return
	}
	due := w.queue
	w.queue = nil
	for _, e := range due {
		e.do()
	}
	for _, h := range w.hosts {
		w.up(h)
	}
	for _, m := range w.machines {
		w.awake(m)
	}
}
