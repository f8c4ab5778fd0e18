package sim

import (
	"context"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/internal/sim/wgmodel"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// seat is a gateway's place in a location: a device, and how far it has come.
type seat struct {
	w  *world
	m  *machine
	at int

	mu   sync.Mutex
	dev  *wgmodel.Device // of the sim itself: never closed
	hand int             // how often something was done to the device that no process asked for
	trip int             // the process is killed by its next Apply, after so many steps, if it has so many; < 0: no
	ails ail

	// As of the last Apply that was checked: the version of each story that the
	// device was at.
	low    map[subject]int
	posted int // the same for being assigned
	past   past
	sound  bool // nothing was done to the device since it was right
	told   bool // the process heard of a core since it started
	well   well

	there time.Time                  // since when there is an interface; zero: there is none; the driver's alone
	keeps map[wgkey.Public]time.Time // since when a keepalive is on; the driver's alone
}

func newSeat(w *world, m *machine, at int) *seat {
	return &seat{w: w, m: m, at: at, dev: m.host.NewDevice(), trip: -1, keeps: map[wgkey.Public]time.Time{}, low: map[subject]int{}, past: past{}.next(w.log.now(), nil, 0), well: well{since: w.log.now()}}
}

// anew says that another process begins.
func (s *seat) anew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told, s.trip = false, -1
}

// hears says that the process heard of a core.
func (s *seat) hears() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = true
}

// replace is what a reboot does.
func (s *seat) replace(dev *wgmodel.Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dev.End()
	s.dev, s.trip = dev, -1
	s.dev.FailSteps(s.ails.step)
	s.hand++
	s.low, s.posted = s.past.before.low, s.past.before.posted // what was kept later may be lost
	s.past = past{}.next(s.w.log.now(), s.low, s.posted)
	s.well.since = s.w.log.now()
}

// state is what the device has.
func (s *seat) state() (have gateway.State) {
	_ = s.dev.Open().Observe(context.Background(), &have) // it fails for nobody: see handle
	return have
}

// meddle is somebody's hand on the machine.
func (s *seat) meddle(edit func(*gateway.State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hand++
	s.sound = false
	s.well.since = s.w.log.now()
	s.dev.Meddle(edit)
}

// arm has the process die in its next Apply, after n steps; n < 0: it does not.
func (s *seat) arm(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trip = n
}

// ail is what a device can suffer from. The zero value is well.
type ail struct {
	step  func(gateway.Step) error // refuses steps
	slow  time.Duration            // how long a change takes
	blind bool                     // looks fail
}

// sicken makes the device ail; it was well before.
func (s *seat) sicken(a ail) {
	s.ail(a, s.well.worse)
}

// cure ends what sicken did.
func (s *seat) cure() {
	s.ail(ail{}, func() { s.well.better(s.w.log.now()) })
}

func (s *seat) ail(a ail, note func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	note()
	s.ails = a
	s.dev.FailSteps(a.step)
}

// open returns a device for a process.
func (s *seat) open(alive *atomic.Bool) gateway.Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &handle{s: s, alive: alive, looked: -1}
	dev := s.dev.Open()
	h.inner, h.owner = dev, dev
	if s.w.parts.Device != nil {
		h.inner = s.w.parts.Device(s.m.name, h.inner)
	}
	return h
}

// handle is a process's own, and looks at what it does.
type handle struct {
	s      *seat
	alive  *atomic.Bool
	inner  gateway.Device
	owner  gateway.Owner
	end    context.CancelFunc // of following addresses; nil: it does not
	looked int                // seat.hand when the process looked last
}

// Observe implements gateway.Device.
func (h *handle) Observe(ctx context.Context, have *gateway.State) error {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if !h.alive.Load() {
		return errDead
	}
	if h.s.ails.blind {
		return errDisk
	}
	err := h.inner.Observe(ctx, have)
	if err == nil {
		h.looked = h.s.hand
	}
	return err
}

// Apply implements gateway.Device.
func (h *handle) Apply(ctx context.Context, p gateway.Plan) error {
	s := h.s
	began := s.w.log.now()
	slow, told := s.pace()
	if err := pause(ctx, slow); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !h.alive.Load() {
		return errDead
	}
	before, carried := s.state(), s.carried(p, began) //nolint:contextcheck // it waits for nothing
	half := s.trip >= 0 && s.trip < len(p)
	if half {
		p, s.trip = p[:s.trip], -1
	}
	err := h.inner.Apply(ctx, p)
	if half {
		h.alive.Store(false)
		if h.end != nil {
			h.end()
		}
		s.w.log.notef("%s dies in the middle of a change", s.m.name)
		err = errDead
	}
	if err != nil {
		s.hand++
		s.sound = false
	}
	s.applied(before, s.state(), carried, //nolint:contextcheck // it waits for nothing
		h.looked == s.hand && (s.sound || told) && !beside(p))
	return err
}

// Own implements gateway.Owner.
func (h *handle) Own(ctx context.Context, i gateway.Interface) <-chan []netip.Addr {
	ctx, h.end = context.WithCancel(ctx)
	if o, able := h.inner.(gateway.Owner); able { // a part that is broken may be one by itself
		return o.Own(ctx, i)
	}
	return h.owner.Own(ctx, i)
}

// beside says whether a plan is about who carries whom, and not about what is desired: it
// leaves alone what it finds wrong.
func beside(p gateway.Plan) bool {
	removed := map[wgkey.Public]bool{}
	for _, step := range p {
		switch step.Verb {
		case gateway.Kick:
			return true
		case gateway.Remove:
			removed[step.Peer.Key] = true
		case gateway.Set:
			if removed[step.Peer.Key] {
				return true
			}
		default:
		}
	}
	return false
}

// pace is how long a change takes that begins now, and whether whoever makes it
// has heard of a core.
func (s *seat) pace() (slow time.Duration, told bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ails.slow, s.told
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close implements gateway.Device.
func (h *handle) Close() error {
	s := h.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if !h.alive.Load() {
		return errDead
	}
	before := s.state()
	err := h.inner.Close()
	s.closed(before, s.state())
	return err
}

// past is how far a seat had come a while ago: 2 s or more, 4 s at most.
type past struct{ before, now mark }

type mark struct {
	at     time.Time
	low    map[subject]int
	posted int
}

const aWhile = 2 * time.Second

func (p past) next(now time.Time, low map[subject]int, posted int) past {
	if now.Sub(p.now.at) < aWhile {
		return p
	}
	m := mark{now, map[subject]int{}, posted}
	maps.Copy(m.low, low)
	if p.now.low == nil {
		p.now = m
	}
	return past{before: p.now, now: m}
}
