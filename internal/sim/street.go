package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/internal/sim/wgmodel"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// client is an unmodified WireGuard client, with one key of one device at one
// location. The driver alone uses it.
type client struct {
	sub    subject
	name   string
	device string // and without the location
	host   *wgmodel.Host
	*wgmodel.Client

	each    time.Duration // how often it asks; 0: it asked once
	delay   time.Duration // one way
	good    time.Time     // since when it has to have answers; zero: it has not
	version int           // of its row's story, then
	drawn   bool          // it is where it should not be, for which there is an excuse
	carrier *machine      // who has its session
	since   time.Time     // since when
	strange time.Time     // when something happened to it last
	nat     *wgmodel.NAT  // nil: there is none
	strays  map[*machine]time.Time
}

// asks is how often a client asks that talks.
const asks = 400 * time.Millisecond

func floatingAddr(at int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + at)}) }

// public is where clients of a location believe it to be.
func public(at int) netip.AddrPort { return netip.AddrPortFrom(floatingAddr(at), port(at)) }

// populate puts a client for each key of each device onto the network, one behind each
// second address translation.
func (w *world) populate(keys [sites]wgkey.Public) {
	w.thief = w.net.Host(netip.MustParseAddr("192.0.2.66"))
	for _, s := range w.model.slots {
		for which, key := range s.keys {
			for at := range sites {
				d := dice{rand.New(rand.NewPCG(w.seed, uint64(1000+100*s.n+10*which+at)))} //nolint:gosec // a seed repeats it
				c := &client{
					sub: subject{at, key}, device: fmt.Sprintf("%d/%d", s.n, which), name: fmt.Sprintf("device %d (key %d) at location %d", s.n, which, at),
					delay: d.between(time.Millisecond, 60*time.Millisecond), strays: map[*machine]time.Time{},
				}
				outer := netip.AddrFrom4([4]byte{100, byte(64 + at), byte(s.n), byte(which + 1)})
				if d.one(2) {
					c.nat = w.net.NAT(outer)
					c.host = c.nat.Host(netip.AddrFrom4([4]byte{10, 99, byte(s.n), 2}))
				} else {
					c.host = w.net.Host(outer)
				}
				c.host.SetPath(wgmodel.Path{Delay: c.delay})
				config := wgmodel.ClientConfig{Key: key, Server: keys[at], Endpoint: public(at)}
				c.each = []time.Duration{asks, asks, 3 * time.Second, 0, 0}[d.IntN(5)]
				if d.one(2) {
					config.Keepalive = 25 * time.Second
				}
				c.Client = c.host.NewClient(config)
				begin := d.between(0, 3*time.Second)
				w.clients = append(w.clients, c)
				w.byKey[c.sub] = c
				w.later(begin, func() {
					if c.each == 0 {
						c.Ask()
						return
					}
					c.AskEvery(c.each)
				})
			}
		}
	}
	for _, m := range w.machines { // clocks are never quite right
		m.skew = time.Duration(w.rand.Int64N(int64(500*time.Millisecond))) - 250*time.Millisecond
		m.host.SetClock(m.skew)
	}
	for at := range sites {
		w.machines[at%len(w.machines)].host.Have(floatingAddr(at), true)
		w.movedNow(at)
	}
}

// movedNow notes that a floating address moves, and lastMove when it did last.
func (w *world) movedNow(at int) { w.moved[at].Store(w.log.now().UnixNano()) }

func (w *world) lastMove(at int) time.Time { return time.Unix(0, w.moved[at].Load()) }

// holders are the machines that have the floating address of a location; gets is the
// one to which packets come.
func (w *world) holders(at int) (all []*machine, gets *machine) {
	for _, m := range w.machines {
		has, get := m.host.Has(floatingAddr(at))
		if has {
			all = append(all, m)
		}
		if get {
			gets = m
		}
	}
	return all, gets
}

// give moves a floating address to a machine, away from all others.
func (w *world) give(at int, m *machine) {
	all, _ := w.holders(at)
	for _, o := range all {
		if o != m {
			o.host.Have(floatingAddr(at), false)
		}
	}
	w.bring(at, m)
}

// bring lets a machine have a floating address, whoever else has it.
func (w *world) bring(at int, m *machine) {
	w.log.notef("location %d: %s gets the address", at, m.name)
	if has, _ := m.host.Has(floatingAddr(at)); !has {
		w.expect(at, m)
	}
	w.movedNow(at)
	if early := w.parts.Early; early > 0 {
		m.seats[at].dev.SetOwned(floatingAddr(at))
		w.later(early, func() { m.host.Have(floatingAddr(at), true) })
		return
	}
	m.host.Have(floatingAddr(at), true)
}

// take takes a floating address away from a machine.
func (w *world) take(at int, m *machine) {
	if has, _ := m.host.Has(floatingAddr(at)); !has {
		return
	}
	w.log.notef("location %d: %s loses the address", at, m.name)
	w.movedNow(at)
	m.host.Have(floatingAddr(at), false)
}

// other draws a machine that has power, and is none of those given.
func (w *world) other(d dice, not ...*machine) *machine {
	var may []*machine
	for _, m := range w.machines {
		if m.power.wrong == 0 && !slices.Contains(not, m) {
			may = append(may, m)
		}
	}
	n := d.IntN(1000)
	if len(may) == 0 {
		return nil
	}
	return may[n%len(may)]
}

// shift moves a floating address, in one of the ways in which they move.
func (w *world) shift(d dice) {
	at, kind, gap, turns := d.IntN(sites), d.IntN(8), d.between(100*time.Millisecond, 3*time.Second), 2+d.IntN(6)
	all, from := w.holders(at)
	to := w.other(d, from)
	if len(all) != 1 || to == nil {
		return // somebody is at it
	}
	switch kind {
	case 0, 1, 2:
		w.give(at, to)
	case 3: // nobody has it for a while
		w.take(at, from)
		w.later(gap, func() {
			if all, _ := w.holders(at); len(all) == 0 && to.power.wrong == 0 {
				w.bring(at, to)
			}
		})
	case 4, 5: // both believe that they have it
		w.bring(at, to)
		w.fault(d, "both have it", func() { w.take(at, from) })
	default: // it comes and goes
		for n := range turns {
			m := to
			if n%2 == 1 {
				m = from
			}
			w.later(time.Duration(n)*2*time.Second, func() {
				if m.power.wrong == 0 {
					w.give(at, m)
				}
			})
		}
	}
}

// dark takes a machine's power; its addresses go elsewhere a moment later.
func (w *world) dark(d dice, m *machine) {
	m.power.worse()
	m.host.SetPath(wgmodel.Path{Cut: true})
	notice := d.between(300*time.Millisecond, 1500*time.Millisecond)
	for at := range sites {
		if has, _ := m.host.Has(floatingAddr(at)); !has {
			continue
		}
		to := w.other(d, m)
		m.host.Have(floatingAddr(at), false)
		w.movedNow(at)
		if to == nil {
			continue
		}
		w.later(notice, func() {
			if all, _ := w.holders(at); len(all) == 0 && to.power.wrong == 0 {
				w.bring(at, to)
			}
		})
	}
}

// misset has a machine that boots come back with a clock that is ahead, or more ahead
// than it was. No clock goes back: a process is told from those before it by the clock.
func (w *world) misset(d dice, m *machine) {
	off := d.between(2*time.Second, 2*time.Minute)
	if d.one(3) {
		m.wrong += off
		w.log.notef("%s is to have a clock that is %v ahead", m.name, m.wrong.Round(time.Millisecond))
		w.model.mu.Lock()
		w.count.Skewed++
		w.model.mu.Unlock()
	}
}

// light gives it back.
func (w *world) light(m *machine) {
	m.power.better(w.log.now())
	m.host.SetPath(wgmodel.Path{})
}

// wander does something to a client.
func (w *world) wander(d dice) {
	c := w.clients[d.IntN(len(w.clients))]
	kind, n := d.IntN(3), d.IntN(250)
	switch kind {
	case 0: // into another network
		w.log.notef("%s is elsewhere now", c.name)
		if c.nat != nil {
			c.nat.Forget()
		} else {
			c.host.Move(netip.AddrFrom4([4]byte{101, byte(n), byte(c.sub.at), byte(w.rand.IntN(250))}))
		}
	case 1:
		w.log.notef("%s sets its peer again", c.name)
		c.Reset()
	default:
		loss := 0.02 + d.Float64()/5
		c.host.SetPath(wgmodel.Path{Delay: c.delay, Jitter: 30 * time.Millisecond, Loss: loss})
		w.fault(d, fmt.Sprintf("%s loses %.0f %% of all", c.name, 100*loss), func() { c.host.SetPath(wgmodel.Path{Delay: c.delay}) })
	}
	c.good, c.strange = time.Time{}, w.log.now()
}

// rob now and then sends a gateway once more what a client sent that another gateway
// carries.
func (w *world) rob() {
	if w.rand.IntN(6) > 0 {
		return
	}
	c, m := w.clients[w.rand.IntN(len(w.clients))], w.machines[w.rand.IntN(len(w.machines))]
	if c.carrier != nil && c.carrier != m && w.thief.Replay(c.sub.key, netip.AddrPortFrom(ownAddr(m.n), port(c.sub.at))) {
		w.log.notef("    somebody sends %s what %s sent", m.name, c.name)
	}
}

func ownAddr(n int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + n)}) }

// home puts each floating address where somebody serves it, so that in the end
// everything can be well.
func (w *world) home() {
	for at := range sites {
		all, gets := w.holders(at)
		if len(all) == 1 && gets.may[0].at(at) && len(gets.may) == 1 {
			continue
		}
		for _, m := range w.machines {
			if m.may[0].at(at) && len(m.may) == 1 {
				w.give(at, m)
				break
			}
		}
	}
}
