package gateway

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// errUnassigned is why a location is ended, and not only left alone.
var errUnassigned = errors.New("gateway: not assigned any more")

// ProcessConfig holds what NewProcess needs.
type ProcessConfig struct {
	ID    ID           // required
	Plane ControlPlane // required
	// Open returns the device of a location; required. It is called again, with
	// growing waits, until it succeeds, and the Process closes what it returned.
	// It may be called for several locations at once.
	Open func(ctx context.Context, at LocationID) (Device, error)
	// Keeper keeps what the plane says for the next start; nil: nobody does, and
	// a Process that starts waits for the plane.
	Keeper Keeper
	// MaxAge is how old the last word of the plane may be for a Process to start
	// from what Keeper has; 0 means 30 days, and less than 0 that there is no
	// limit. It takes nothing from a Process that runs, and nothing from an
	// interface that is there.
	MaxAge  time.Duration
	Poll    time.Duration             // as in ReconcilerConfig
	Version string                    // as in ReconcilerConfig
	Now     func() time.Time          // nil means time.Now
	Log     *slog.Logger              // nil discards
	Trace   func(at LocationID) Trace // nil: none
	Memory  Memory                    // as in ReconcilerConfig
	Boot    BootClock                 // as in ReconcilerConfig
	Synced  func() bool               // as in ReconcilerConfig
	Guard   func(Clocks) error        // as in ReconcilerConfig
	// OnOwn and OnYield are as in ReconcilerConfig, for each location by itself.
	OnOwn   func(ctx context.Context, at LocationID, owned []netip.Addr)
	OnYield func(ctx context.Context, at LocationID)
}

var _ Talker = (*Process)(nil)

// Process serves the locations that a ControlPlane assigns to a gateway, each
// with a Reconciler and a Device of its own: what fails in one does not reach
// another. Its methods are safe for concurrent use.
//
// A location that is not assigned any more is ended on this gateway: its
// interface is taken away. A Process that stops leaves all of them in place.
//
// With a Keeper, a Process that starts goes on from what was told last, until the
// plane says something else: it makes interfaces that are gone, adopts those that
// are there, and touches none of their peers. What the Keeper has to refuse, or is
// too old, it leaves exactly as it is. Locations that were taken from the gateway
// while it was down end when the plane says what is assigned.
type Process struct {
	c       ProcessConfig
	running atomic.Bool
	again   signal // a service has ended
	keep    *keeping

	mu       sync.Mutex
	known    bool                     // assigned came from the plane
	assigned []LocationID             // in order
	siblings map[LocationID][]Sibling // of what is assigned
	changed  chan struct{}            // closed, and made anew, when one of these is another
	services map[LocationID]*service
	kept     map[LocationID]Kept // what a first service of the location resumes from
}

// service is one location, from its first assignment until its device is closed.
type service struct {
	at     LocationID
	cancel context.CancelCauseFunc
	r      *Reconciler // nil until the device is open
	err    error       // why it is not open
	ends   bool        // it is only there to be ended
}

// NewProcess checks c. It starts nothing.
func NewProcess(c ProcessConfig) (*Process, error) {
	for _, missing := range []struct {
		field string
		is    bool
	}{
		{"ID", c.ID == ""}, {"Plane", c.Plane == nil}, {"Open", c.Open == nil},
		{"Boot", c.Memory != nil && c.Boot == nil},
	} {
		if missing.is {
			return nil, fmt.Errorf("gateway: new process: ProcessConfig.%s is missing", missing.field)
		}
	}
	if c.Poll < 0 {
		return nil, fmt.Errorf("gateway: new process: ProcessConfig.Poll is %v: want a duration, or 0 for 1s", c.Poll)
	}
	if c.MaxAge == 0 {
		c.MaxAge = maxAge
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Trace == nil {
		c.Trace = func(LocationID) Trace { return Trace{} }
	}
	return &Process{
		c: c, again: make(signal, 1), keep: newKeeping(c),
		services: map[LocationID]*service{}, kept: map[LocationID]Kept{}, siblings: map[LocationID][]Sibling{}, changed: make(chan struct{}),
	}, nil
}

// Run serves until ctx ends; then it returns nil and leaves every interface in
// place. It can run once at a time.
func (p *Process) Run(ctx context.Context) error {
	if !p.running.CompareAndSwap(false, true) {
		return fmt.Errorf("gateway: run process of %s: it is running already", p.c.ID)
	}
	defer p.running.Store(false)
	defer p.keeping(ctx)()
	var wg sync.WaitGroup
	defer wg.Wait()
	clock := time.NewTicker(clocked)
	defer clock.Stop()
	p.restore()
	p.arrange(ctx, &wg)
	changed := make(signal, 1)
	wg.Go(func() {
		persist(ctx, p.c.Now, func(ctx context.Context) error { return p.follow(ctx, changed) }, func(err error) {
			p.c.Log.Warn("the control plane is away; the locations served stay", "gateway", string(p.c.ID), "err", err)
		})
	})
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-p.again:
		case <-clock.C:
			if !p.restore() {
				continue
			}
		}
		p.arrange(ctx, &wg)
	}
}

// follow takes in what is assigned until the stream ends, and says why it did.
func (p *Process) follow(ctx context.Context, changed signal) error {
	for list, err := range p.c.Plane.Assigned(ctx, p.c.ID) {
		if err != nil {
			return err
		}
		list = arrange(list, p.c.ID)
		p.keep.assigned(withoutMissing(list))
		p.assign(list)
		changed.set()
	}
	return errEnded
}

// assign takes in what the plane said, which is in order.
func (p *Process) assign(list []Assignment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.assigned, p.known = make([]LocationID, len(list)), true
	clear(p.siblings)
	for i, a := range list {
		p.assigned[i], p.siblings[a.Location] = a.Location, a.Siblings
	}
	p.altered()
	for at, s := range p.services {
		if s.r != nil {
			s.r.sib.only(p.siblings[at], p.c.Now())
		}
	}
}

// altered wakes who waits for other assignments. The caller holds mu.
func (p *Process) altered() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Assignments lists, in order, the locations that the gateway serves and who else
// does, as far as is known: see Siblings. changed is closed when that may be different.
func (p *Process) Assignments() (list []Assignment, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.assigned {
		list = append(list, Assignment{at, slices.Clone(p.siblings[at])})
	}
	return list, p.changed
}

// arrange begins what is assigned and ends what is not.
func (p *Process) arrange(ctx context.Context, wg *sync.WaitGroup) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at, s := range p.services {
		if slices.Contains(p.assigned, at) == s.ends {
			s.cancel(errUnassigned)
		}
	}
	for _, at := range p.assigned {
		p.begin(ctx, wg, &service{at: at})
	}
	if !p.known {
		return
	}
	for _, at := range p.keep.held() {
		if !slices.Contains(p.assigned, at) {
			p.begin(ctx, wg, &service{at: at, ends: true})
		}
	}
}

// begin begins a service, unless there is one of the location: if that one is
// being ended, it says when it has. The caller holds mu.
func (p *Process) begin(ctx context.Context, wg *sync.WaitGroup, s *service) {
	if p.services[s.at] != nil {
		return
	}
	p.services[s.at] = s
	var inner context.Context
	inner, s.cancel = context.WithCancelCause(ctx)
	do := p.serve
	if s.ends {
		do = p.finish
	}
	wg.Go(func() {
		defer s.cancel(nil)
		do(ctx, inner, s)
		p.mu.Lock()
		delete(p.services, s.at)
		p.mu.Unlock()
		p.again.set()
	})
}

// serve serves one location until inner ends, and ends it if that is why. outer
// is the context of the process.
func (p *Process) serve(outer, inner context.Context, s *service) {
	d := p.open(inner, s)
	if d == nil {
		return
	}
	defer p.release(s.at, d)
	rc := ReconcilerConfig{
		ID: p.c.ID, Location: s.at, Device: d, Plane: p.c.Plane,
		Poll: p.c.Poll, Version: p.c.Version, Now: p.c.Now, Log: p.c.Log, Trace: p.c.Trace(s.at),
		Memory: p.c.Memory, Boot: p.c.Boot, Synced: p.c.Synced, Guard: p.c.Guard,
	}
	if p.c.OnOwn != nil {
		rc.OnOwn = func(ctx context.Context, owned []netip.Addr) { p.c.OnOwn(ctx, s.at, owned) }
	}
	if p.c.OnYield != nil {
		rc.OnYield = func(ctx context.Context) { p.c.OnYield(ctx, s.at) }
	}
	r, err := NewReconciler(rc)
	p.mu.Lock()
	s.r, s.err = r, err
	if err == nil {
		r.sib.only(p.siblings[s.at], p.c.Now())
		p.prime(r)
	}
	p.mu.Unlock()
	if err != nil {
		p.c.Log.Error("cannot serve", "location", string(s.at), "err", err)
		<-inner.Done()
		return
	}
	_ = r.Run(inner) // has no error but that it runs already
	if errors.Is(context.Cause(inner), errUnassigned) {
		p.end(outer, s.at, d)
	}
}

// release closes a device.
func (p *Process) release(at LocationID, d Device) {
	if err := d.Close(); err != nil {
		p.c.Log.Warn("cannot close the device", "location", string(at), "err", err)
	}
}

// open opens the device of a location, as often as it takes. It is nil when ctx
// ends first.
func (p *Process) open(ctx context.Context, s *service) Device {
	b := newBackoff(10 * time.Second)
	var first time.Time
	for ctx.Err() == nil {
		d, err := p.c.Open(ctx, s.at)
		if err == nil && d == nil {
			err = errors.New("gateway: Open returned no device")
		}
		if err == nil {
			return d
		}
		if ctx.Err() != nil {
			return nil
		}
		if first.IsZero() {
			first = p.c.Now()
			p.c.Log.Warn("cannot open the device", "location", string(s.at), "err", err)
		}
		p.mu.Lock()
		s.err = err
		p.mu.Unlock()
		if !s.ends { // of what is not assigned the plane wants to hear nothing
			p.complain(ctx, s.at, Problem{What: "cannot open the device: " + err.Error(), At: first})
		}
		if !pause(ctx, b.NextBackOff()) {
			return nil
		}
	}
	return nil
}

// complain reports that a location can not be served.
func (p *Process) complain(ctx context.Context, at LocationID, what Problem) {
	ctx, cancel := context.WithTimeout(ctx, answer)
	context.AfterFunc(ctx, cancel)                // not sooner: see Planes
	_ = p.c.Plane.Report(ctx, p.c.ID, at, Status{ // it is told again after the next attempt
		Epoch: uint64(p.c.Now().UnixMicro()), Version: p.c.Version, Failed: []Problem{what}, Full: true,
	})
}

// end takes the interface away, as often as it takes, unless the location is
// assigned again.
func (p *Process) end(ctx context.Context, at LocationID, d Device) {
	b := newBackoff(10 * time.Second)
	p.keep.ending(at)
	for ctx.Err() == nil && !p.serves(at) {
		var have State
		err := d.Observe(ctx, &have)
		if err == nil {
			err = d.Apply(ctx, Diff(Config{}, have))
		}
		if err == nil {
			p.c.Log.Info("the location has ended here", "location", string(at))
			p.keep.ended(at)
			p.forget(ctx, at)
			return
		}
		p.c.Log.Warn("cannot end the location, and try again", "location", string(at), "err", err)
		pause(ctx, b.NextBackOff())
	}
}

// forget forgets what was heard in a location that has ended.
func (p *Process) forget(ctx context.Context, at LocationID) {
	if p.c.Memory == nil {
		return
	}
	if err := p.c.Memory.Forget(ctx, at); err != nil {
		p.c.Log.Warn("cannot forget what was heard", "location", string(at), "err", err)
	}
}

func (p *Process) serves(at LocationID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.assigned, at)
}

// Locations lists, in order, what is assigned, as far as is known.
func (p *Process) Locations() []LocationID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.assigned)
}

// Siblings lists, in order of ID, who else serves a location, as the plane said
// last: while it is away that stays, and with a Keeper also when the process has
// started anew. It is nil if the location is not assigned, as far as is known, and
// a copy.
func (p *Process) Siblings(at LocationID) []Sibling {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.assigned, at) {
		return nil
	}
	return append([]Sibling{}, p.siblings[at]...)
}

// Talk implements Talker.
func (p *Process) Talk(ctx context.Context, at LocationID, with ID, in iter.Seq[Note]) iter.Seq2[Note, error] {
	return func(yield func(Note, error) bool) {
		p.mu.Lock()
		member := slices.ContainsFunc(p.siblings[at], func(s Sibling) bool { return s.ID == with })
		p.mu.Unlock()
		r := p.Reconciler(at)
		switch {
		case !member:
			yield(Note{}, fmt.Errorf("gateway: talk with %s about %s: it is no sibling here: %w", with, at, ErrUnknown))
			return
		case r == nil:
			yield(Note{}, fmt.Errorf("gateway: talk with %s about %s: it is not served here yet", with, at))
			return
		}
		for n, err := range r.Talk(ctx, with, in) {
			if !yield(n, err) {
				return
			}
		}
	}
}

// Reconciler returns the one that serves a location, or nil while its device is
// not open.
func (p *Process) Reconciler(at LocationID) *Reconciler {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.services[at]; s != nil {
		return s.r
	}
	return nil
}

// Ready returns nil if the data plane of every location that is assigned is
// ready, as Reconciler.Ready says, be it from what was kept. Before anything is
// known to be assigned it is not.
func (p *Process) Ready() error {
	p.mu.Lock()
	known, assigned, services := p.known, slices.Clone(p.assigned), map[LocationID]service{}
	for at, s := range maps.All(p.services) {
		services[at] = *s
	}
	p.mu.Unlock()
	all := p.refused()
	if !known && len(assigned) == 0 && len(all) == 0 {
		return fmt.Errorf("gateway: process %s is not ready: the control plane has not said what to serve", p.c.ID)
	}
	for _, at := range assigned {
		switch s := services[at]; {
		case s.r != nil:
			all = append(all, s.r.Ready())
		case s.err != nil:
			all = append(all, fmt.Errorf("gateway: location %s is not ready: cannot open its device: %w", at, s.err))
		default:
			all = append(all, fmt.Errorf("gateway: location %s is not ready: its device is being opened", at))
		}
	}
	return errors.Join(all...)
}
