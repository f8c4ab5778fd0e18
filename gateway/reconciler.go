package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// ReconcilerConfig holds what NewReconciler needs.
type ReconcilerConfig struct {
	ID       ID           // required
	Location LocationID   // required
	Device   Device       // required; the caller closes it, after Run
	Plane    ControlPlane // required
	// Poll is how often to look at the device for activity and for what others
	// changed; 0 means 1 s. It is stretched, up to 30 s, so that looking takes no
	// more than about a twentieth of the time.
	Poll    time.Duration
	Version string           // of the gateway's software, for Status
	Now     func() time.Time // nil means time.Now
	Log     *slog.Logger     // nil discards
	Trace   Trace
	// Memory keeps what was heard for the next Reconciler of the location; nil:
	// nobody does.
	Memory Memory
	// Boot tells how old things are when Now's clock is set; required with Memory.
	// nil: Now's clock alone does.
	Boot BootClock
	// Synced tells whether the machine's system says that it keeps the wall clock
	// right, as with NTP; runstate.Clock does. It is called often, from several
	// goroutines. nil: it does not say so.
	Synced func() bool
	// Guard says of the clocks that are known, just before handshakes are started with
	// clients of other gateways, why they are not to be; nil means Clocks.Fit.
	Guard func(Clocks) error
	// OnOwn is called when a floating address of the location has come to the machine,
	// after handshakes were begun with those who are to be taken over; owned are all
	// that it has, in order, and the callee's. OnYield is called when the last one has
	// gone, after the sessions were forgotten, and when the location has no floating
	// addresses any more, which takes no session. Either may be nil. They are called in
	// order, one at a time, and hold up nothing, so what passed while one took its time
	// is left out: the next call is for what is then. An address that went and came back
	// meanwhile is no news. ctx ends with Run, which waits for them, and calls none by
	// ending. They may call methods of the Reconciler, but not Run.
	OnOwn   func(ctx context.Context, owned []netip.Addr)
	OnYield func(ctx context.Context)
}

// Reconciler makes one Device be what a ControlPlane wants for one location,
// and keeps it so. Its methods are safe for concurrent use.
type Reconciler struct {
	c        ReconcilerConfig
	log      *slog.Logger
	epoch    uint64
	notifier Notifier // nil: the device has no such ability

	running atomic.Bool
	turn    chan struct{} // whoever has put something in uses the device, and what enforce.go names
	dev     enforcing

	wake  signal // the desired state changed
	moved signal // what an Owner has to know changed
	lost  signal // siblings are
	news  signal // there is something to report at once
	seen  signal // there is something to report, soon

	taking sync.Mutex // held while an update is taken in

	mu       sync.Mutex
	desired  Config        // as the plane says
	fitting  fitting       // what of it a device may be asked for
	known    bool          // desired came from the plane
	anew     bool          // the next stream has to begin with everything
	link     error         // why the stream of updates ended last; nil since it yielded
	since    time.Time     // when the present stream was begun; zero: there is none
	looked   time.Time     // when the last look at the device ended
	took     time.Duration // and how long it took
	cut      func()        // ends the look that is under way; nil: there is none
	hurt     bool          // the last round failed to do something
	status   Status        // but for what compose fills in
	activity *Activity
	laid     bool         // the data plane is: see settle
	footing  footing      // beside the siblings
	toldAt   time.Time    // when the last update came
	bereft   []ID         // siblings that were lost, and nobody has acted yet
	placed   Interface    // what an Owner has to know
	owned    []netip.Addr // the floating addresses that the machine has
	mirrored uint64       // what of activity the siblings' Carrying has
	kept     *Config      // what to resume from, after the first look
	restored bool         // desired came from there, and no plane has heard of it

	origin  time.Time // what the wall clock showed when the machine started; zero: not known
	saved   uint64    // the edits of activity that Memory has
	amnesia bool      // the last call of Memory failed

	sib   *siblings
	hooks *hooks

	began   time.Time     // by Now
	refused atomic.Uint64 // takeovers that the clock was not fit for

	keep *keeping // where what is told is kept; nil: nowhere
}

// NewReconciler checks c. It starts nothing and does not touch the device.
func NewReconciler(c ReconcilerConfig) (*Reconciler, error) {
	for _, missing := range []struct {
		field string
		is    bool
	}{
		{"ID", c.ID == ""}, {"Location", c.Location == ""}, {"Device", c.Device == nil}, {"Plane", c.Plane == nil},
		{"Boot", c.Memory != nil && c.Boot == nil},
	} {
		if missing.is {
			return nil, fmt.Errorf("gateway: new reconciler: ReconcilerConfig.%s is missing", missing.field)
		}
	}
	if c.Poll < 0 {
		return nil, fmt.Errorf("gateway: new reconciler: ReconcilerConfig.Poll is %v: want a duration, or 0 for 1s", c.Poll)
	}
	if c.Poll == 0 {
		c.Poll = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	r := &Reconciler{
		c:        c,
		log:      c.Log.With("gateway", string(c.ID), "location", string(c.Location)),
		epoch:    uint64(c.Now().UnixMicro()),
		turn:     make(chan struct{}, 1),
		wake:     make(signal, 1),
		moved:    make(signal, 1),
		lost:     make(signal, 1),
		sib:      newSiblings(c.ID),
		news:     make(signal, 1),
		seen:     make(signal, 1),
		activity: NewActivity(c.ID),
		link:     errors.New("gateway: not asked yet"),
	}
	r.began, r.hooks = c.Now(), newHooks(c)
	r.notifier, _ = c.Device.(Notifier)
	return r, nil
}

// Run follows the plane, enforces what it says, looks for activity and for what
// others changed, and reports, until ctx ends; then it returns nil and leaves
// everything in place. It can run once at a time.
//
// Following and reporting on one side and enforcing on the other wait for
// nothing of each other: a plane that stalls delays no repair, and a device that
// stalls loses no update.
func (r *Reconciler) Run(ctx context.Context) error {
	if !r.running.CompareAndSwap(false, true) {
		return fmt.Errorf("gateway: run reconciler of %s: it is running already", r.c.Location)
	}
	defer r.running.Store(false)
	r.mu.Lock()
	r.footing = footing{heard: time.Now()} // it has as long as others to hear of a core
	r.mu.Unlock()
	r.recall(ctx)
	r.restore(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.follow(ctx) })
	wg.Go(func() { r.enforce(ctx) })
	wg.Go(func() { r.report(ctx) })
	wg.Go(func() { r.remember(ctx) })
	wg.Go(func() { r.landlord(ctx) })
	wg.Go(func() { r.stray(ctx) })
	wg.Go(func() { r.hooks.run(ctx) })
	wg.Go(func() { r.stand(ctx) })
	wg.Go(func() { r.detour(ctx) })
	wg.Go(func() { r.track(ctx) })
	wg.Wait()
	r.last(ctx)
	return nil
}

// Reconcile does one full round: observe, work out the difference, apply. It
// returns the plan, done or not; the error may be an *ApplyError. While Run is
// not running, Reconcile first asks the plane what it wants, and waits for the
// answer; when that fails, it goes by what it knew, or returns the error.
func (r *Reconciler) Reconcile(ctx context.Context) (Plan, error) {
	if !r.running.Load() {
		if err := r.fetch(ctx); err != nil && !r.told() {
			return nil, err
		}
	}
	return r.round(ctx, true)
}

// Status returns what the next full Report would say.
func (r *Reconciler) Status() Status {
	s, _ := r.compose(true, 0)
	return s
}

// Ready returns nil if clients may be sent here: the interface is there, up, and
// has a key, and no sibling is better off. Otherwise the error says what is missing.
// That the plane is away is no reason to be unready as long as it is away for all.
func (r *Reconciler) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.status.Ready:
		return nil
	case r.laid && r.footing.aside != "":
		return fmt.Errorf("gateway: location %s is not ready: %s", r.c.Location, r.footing.aside)
	case len(r.status.Failed) > 0 && r.status.Failed[0].Key.IsZero():
		return fmt.Errorf("gateway: location %s is not ready: %s", r.c.Location, r.status.Failed[0].What)
	case !r.known && r.link != nil:
		return fmt.Errorf("gateway: location %s is not ready: it has no configuration yet: the control plane is away: %w",
			r.c.Location, r.link)
	case r.known && r.desired.Interface.IsZero():
		return fmt.Errorf("gateway: location %s is not ready: it has ended here", r.c.Location)
	default:
		return fmt.Errorf("gateway: location %s is not ready: its interface is not up yet", r.c.Location)
	}
}

// stands is how long a stream has to stand, which has nothing to say, to be one.
const stands = 2 * time.Second

// Connected returns nil while the plane answers, and otherwise why it does not.
// Nothing that a gateway does depends on it.
func (r *Reconciler) Connected() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.link == nil || !r.since.IsZero() && time.Since(r.since) >= stands {
		return nil
	}
	return fmt.Errorf("gateway: the control plane of location %s is away: %w", r.c.Location, r.link)
}

func (r *Reconciler) told() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known
}
