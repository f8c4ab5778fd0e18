package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/internal/sim/wgmodel"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/kvstore"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// steady is how many devices nobody touches: nothing may ever happen to them.
const steady = 3

// world is all that is played. One goroutine, the driver, makes things happen.
type world struct {
	parts Parts
	log   *journal
	model *model
	count Count // guarded by model.mu
	rand  *rand.Rand

	db       kvstore.DB
	keys     *seal.Keyring
	hub      *hub
	hosts    []*host
	machines []*machine
	wires    []map[string]*wire // by machine and host
	bonds    []*bond
	ids      [sites]location.ID

	seed    uint64
	net     *wgmodel.Network
	thief   *wgmodel.Host
	clients []*client
	byKey   map[subject]*client
	moved   [sites]atomic.Int64 // when its floating address moved last, by UnixNano

	queue  []event         // in the order of time
	ctx    context.Context //nolint:containedctx // of operators: it ends with the world
	cancel context.CancelFunc
	wg     sync.WaitGroup // all that was started
}

// event is something that is going to happen.
type event struct {
	at time.Time
	do func()
}

func newWorld(c Config) *world {
	log := &journal{began: time.Now(), echo: c.Echo, pending: make(chan struct{})}
	w := &world{
		parts: c.Parts, log: log, model: newModel(log, steady+c.Devices),
		rand: rand.New(rand.NewPCG(c.Seed, 1)), //nolint:gosec // a seed repeats it
		seed: c.Seed, net: wgmodel.NewNetwork(c.Seed), byKey: map[subject]*client{},
		db: newDatabase(), keys: seal.Ephemeral(), hub: &hub{ears: map[chan vpn.Hint]*ears{}},
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	for n := range c.Cores {
		w.hosts = append(w.hosts, &host{w: w, name: fmt.Sprintf("core%d", n+1), ears: &ears{}, well: well{wrong: 1}})
	}
	return w
}

// later has something happen.
func (w *world) later(d time.Duration, do func()) {
	e := event{w.log.now().Add(d), do}
	i, _ := slices.BinarySearchFunc(w.queue, e, func(have, e event) int {
		if have.at.After(e.at) {
			return 1
		}
		return -1 // of two at the same time the first one comes first
	})
	w.queue = slices.Insert(w.queue, i, e)
}

// drive makes things happen until an instant, or until something is wrong.
func (w *world) drive(until time.Time) {
	for {
		next := until
		if len(w.queue) > 0 && w.queue[0].at.Before(until) {
			next = w.queue[0].at
		}
		t := time.NewTimer(next.Sub(w.log.now()))
		select {
		case <-w.log.pending:
			t.Stop()
			return
		case <-t.C:
		}
		if next.Equal(until) {
			return
		}
		e := w.queue[0]
		w.queue = w.queue[1:]
		e.do()
	}
}

func (w *world) broken() bool {
	select {
	case <-w.log.pending:
		return true
	default:
		return false
	}
}

// play plays one history.
func (w *world) play(c Config) error {
	if err := w.build(c); err != nil {
		return err
	}
	w.drive(w.log.now().Add(3 * time.Second))
	w.tick()
	last := w.script(c)
	w.drive(last)
	w.calm()
	w.drive(w.log.now().Add(12 * time.Second)) // who is at something comes to an end
	if w.broken() {
		return nil
	}
	w.log.notef("all is well")
	w.home()
	if err := w.resolve(); err != nil || w.broken() {
		return err
	}
	w.drive(w.log.now().Add(resync + time.Second))
	if w.broken() {
		return nil
	}
	return w.final()
}

// build makes what there is in the beginning, without any fault.
func (w *world) build(c Config) error {
	core, err := vpn.New(vpn.Config{ID: "setup", Stores: kvstore.New(w.db), Keys: w.keys})
	if err != nil {
		return fmt.Errorf("sim: build: %w", err)
	}
	var keys [sites]wgkey.Public
	for at := range sites {
		l, err := core.Locations().Create(w.ctx, location.Location{
			Name: fmt.Sprintf("location %d", at), Host: "vpn.example.org", Port: port(at),
			Networks: []netip.Prefix{netip.MustParsePrefix(network(at))},
			Floating: []netip.Addr{floatingAddr(at)},
		})
		if err != nil {
			return fmt.Errorf("sim: build: %w", err)
		}
		w.ids[at], keys[at] = l.ID, l.PublicKey
		w.model.locate(at, l)
	}
	for n := range c.Gateways {
		m := &machine{w: w, n: n, name: fmt.Sprintf("gw%d", n+1), host: w.net.Host(ownAddr(n)), power: well{since: w.log.now()}, may: []duty{{sites: 1<<sites - 1}}, well: well{wrong: 1}, disk: &disk{kept: map[gateway.LocationID]gateway.Kept{}}}
		gw, err := core.Gateways().Add(w.ctx, vpn.Gateway{Name: m.name, Locations: w.ids[:]})
		if err != nil {
			return fmt.Errorf("sim: build: %w", err)
		}
		m.id = gw.ID
		for at := range sites {
			m.seats[at] = newSeat(w, m, at)
			m.posted[at] = &story{versions: []version{{"", w.log.now()}, {"yes", w.log.now()}}}
		}
		w.machines = append(w.machines, m)
		wires := map[string]*wire{}
		for _, h := range w.hosts {
			wires[h.name] = &wire{well: well{since: w.log.now()}}
		}
		w.wires = append(w.wires, wires)
	}
	w.bondAll()
	w.populate(keys)
	for _, s := range w.model.slots[:steady] {
		if err := w.settleIn(core, s); err != nil {
			return err
		}
	}
	for _, h := range w.hosts {
		if err := h.start(); err != nil {
			return err
		}
	}
	for _, m := range w.machines {
		if err := m.start(); err != nil {
			return err
		}
	}
	return nil
}

// settleIn adds a device that stays as it is.
func (w *world) settleIn(core *vpn.Core, s *slot) error {
	n := peer.NewDevice{Name: fmt.Sprint("device ", s.n), Key: s.keys[0]}
	for at := range sites {
		n.Places = append(n.Places, peer.Place{Location: w.ids[at], Addrs: []netip.Addr{static(s.n, at)}})
	}
	d, err := core.Devices().Add(w.ctx, n)
	if err != nil {
		return fmt.Errorf("sim: build: %w", err)
	}
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	got := factOf(d, s.keys, w.ids)
	w.model.begin(s, func(fact) fact { return got })
	w.model.told(s, s.after, got, "adding")
	s.id = d.ID
	w.model.leave(s)
	return nil
}

// tick lets peers be heard, and looks whether all is as it should be.
func (w *world) tick() {
	w.watch()
	w.rob()
	w.look(resync, "P9")
	w.stand()
	w.later(500*time.Millisecond, w.tick)
}

// close ends all that was started.
func (w *world) close() {
	w.cancel()
	for _, h := range w.hosts {
		if h.core != nil {
			h.kill(false)
		}
		if h.conn != nil {
			h.conn.die()
		}
	}
	for _, m := range w.machines {
		if m.proc != nil {
			m.stop(true, false)
		}
	}
	for _, b := range w.bonds {
		if b.end != nil {
			b.end()
		}
	}
	w.wg.Wait()
	w.net.Close()
}

var errWrong = errors.New("sim: the history could not be played")

// final checks that all is the same everywhere, that everybody knows, and that it
// takes no time to take something away.
func (w *world) final() error {
	w.exact("P1")
	raw := kvstore.New(w.db)
	heads, err := raw.Feed().Heads(w.ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errWrong, err)
	}
	for at, id := range w.ids {
		for _, m := range w.machines {
			if !m.may[0].at(at) {
				continue
			}
			r := m.proc.Reconciler(gateway.LocationID(id))
			if r == nil {
				w.log.violatef("P1", "%s does not serve location %d, which was given to it", m.name, at)
				continue
			}
			if have := r.Status().Applied; have != heads[id] {
				w.log.violatef("P1", "%s at location %d has applied %v, and the newest revision is %v", m.name, at, have, heads[id])
			}
		}
	}
	w.families()
	for _, h := range w.hosts {
		w.overview(h, heads)
	}
	if w.broken() {
		return nil
	}
	return w.revoke()
}

// overview checks what a core says of the gateways.
func (w *world) overview(h *host, heads map[location.ID]vpn.Revision) {
	o, err := h.core.Overview(w.ctx)
	if err != nil {
		w.log.violatef("P1", "%s has no overview although all is well: %v", h.name, err)
		return
	}
	for _, l := range o.Locations {
		at := slices.Index(w.ids[:], l.ID)
		want := 0
		for _, m := range w.machines {
			if m.may[0].at(at) {
				want++
			}
		}
		have := 0
		for _, g := range l.Gateways {
			if g.Connected && g.Applied == heads[l.ID] && g.Behind == 0 && len(g.Failed) == 0 {
				have++
			}
		}
		if have != want || len(l.Gateways) != want {
			w.log.violatef("P1", "%s says of location %d that %d of %d gateways are right, and %d are: %+v",
				h.name, at, have, len(l.Gateways), want, l.Gateways)
		}
	}
}

// revoke deletes a device, and looks one second later.
func (w *world) revoke() error {
	s := w.model.slots[0]
	ctx, cancel := context.WithTimeout(w.ctx, time.Second)
	defer cancel()
	w.model.mu.Lock()
	w.model.begin(s, func(fact) fact { return fact{} })
	w.model.mu.Unlock()
	err := w.hosts[0].core.Devices().Delete(ctx, s.id)
	w.model.mu.Lock()
	if err == nil {
		w.model.told(s, s.after, fact{}, "deleting")
	}
	w.model.leave(s)
	w.model.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%w: deleting: %w", errWrong, err)
	}
	w.drive(w.log.now().Add(time.Second))
	w.exact("P14")
	return nil
}

// exact checks that each device is what its stories end with.
func (w *world) exact(promise string) {
	for _, m := range w.machines {
		for _, s := range m.seats {
			w.current(s, w.log.now(), promise)
		}
	}
}
