package gateway

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// grants is how many times as long as it took the next Keep waits: they take
	// a twentieth of the time at most.
	grants = 19
	// patient is how long a Keeper may take.
	patient = 30 * time.Second
	// farewell is how long it may take when the process ends.
	farewell = 5 * time.Second
)

// keeping hands a Keeper what changed, one call at a time, and makes nobody
// wait. Of what changes meanwhile it keeps the last. What takes access away is
// kept soon, so that a machine which goes down does not come back with it; what
// only gives access waits longer when keeping takes long.
//
// A nil keeping keeps nothing.
type keeping struct {
	to      Keeper
	now     func() time.Time
	log     *slog.Logger
	refresh time.Duration // how old the time of the last word may get
	wake    signal

	mu       sync.Mutex
	at       map[LocationID]*entry    // all that the Keeper has or is to have
	siblings map[LocationID][]Sibling // as they were told last
}

// entry is what a Keeper has or is to have of one location.
type entry struct {
	kept    Kept
	known   bool // kept.Config is
	written time.Time
	dirty   bool // kept is not what the Keeper has
	revokes bool // and what it has gives more
	forget  bool
	soon    time.Time // not before, if it revokes
	late    time.Time // not before, otherwise
	retry   *backoff.ExponentialBackOff
	failed  Problem // zero: the last call succeeded
}

// newKeeping returns nil for a nil Keeper.
func newKeeping(c ProcessConfig) *keeping {
	if c.Keeper == nil {
		return nil
	}
	k := &keeping{
		to: c.Keeper, now: c.Now, log: c.Log.With("gateway", string(c.ID)), refresh: time.Hour,
		wake: make(signal, 1), at: map[LocationID]*entry{}, siblings: map[LocationID][]Sibling{},
	}
	if c.MaxAge > 0 {
		k.refresh = min(k.refresh, c.MaxAge/24)
	}
	return k
}

// load returns what is kept.
func (k *keeping) load(ctx context.Context) []Kept {
	if k == nil {
		return nil
	}
	all, err := k.to.Load(ctx)
	if err != nil {
		k.log.Warn("cannot load all that was kept", "err", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, kept := range all {
		k.at[kept.Location] = &entry{kept: kept, known: kept.Refused == nil, written: kept.Heard}
		k.siblings[kept.Location] = kept.Siblings
	}
	return all
}

// entry returns that of a location. The caller holds mu.
func (k *keeping) entry(at LocationID) *entry {
	e := k.at[at]
	if e == nil {
		e = &entry{kept: Kept{Location: at}}
		k.at[at] = e
	}
	return e
}

// put says what the plane told now.
func (k *keeping) put(at LocationID, c Config, revokes bool) {
	if k == nil {
		return
	}
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.entry(at)
	e.kept = Kept{Location: at, Config: c, Siblings: k.siblings[at], Heard: now}
	e.known, e.dirty, e.forget = true, true, false
	e.revokes = e.revokes || revokes
	k.wake.set()
}

// assigned says who serves what is assigned, as the plane told now. Of a location
// whose configuration was not told yet there is nothing to keep.
func (k *keeping) assigned(list []Assignment) {
	if k == nil {
		return
	}
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.siblings)
	for _, a := range list {
		k.siblings[a.Location] = a.Siblings
		e := k.at[a.Location]
		if e == nil || !e.known || e.forget || slices.Equal(e.kept.Siblings, a.Siblings) {
			continue
		}
		e.revokes = e.revokes || leaves(e.kept.Siblings, a.Siblings)
		e.kept.Siblings, e.kept.Heard, e.dirty = a.Siblings, now, true
		k.wake.set()
	}
}

// leaves says whether one of old is not among now.
func leaves(old, now []Sibling) bool {
	return slices.ContainsFunc(old, func(o Sibling) bool {
		return !slices.ContainsFunc(now, func(n Sibling) bool { return n.ID == o.ID })
	})
}

// word says that the plane gave a sign of life.
func (k *keeping) word(at LocationID) {
	if k == nil {
		return
	}
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.at[at]
	if e == nil || !e.known {
		return
	}
	e.kept.Heard = now
	// Both ways: what was kept by a clock that was ahead is no good either.
	if age := now.Sub(e.written); !e.dirty && (age >= k.refresh || age < -ahead) {
		e.dirty = true
		k.wake.set()
	}
}

// ending says that a location is being ended here: should the machine go down
// meanwhile, it does not come back.
func (k *keeping) ending(at LocationID) {
	if k == nil || !k.has(at) {
		return
	}
	k.put(at, Config{}, true)
}

// ended says that nothing is left of a location here.
func (k *keeping) ended(at LocationID) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.at[at]; e != nil {
		e.forget, e.dirty, e.soon = true, false, time.Time{}
		k.wake.set()
	}
}

// has says whether a location was served here, and not ended since.
func (k *keeping) has(at LocationID) bool { return slices.Contains(k.held(), at) }

// held are the locations that were served here, and not ended since, in order.
func (k *keeping) held() []LocationID {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []LocationID
	for _, at := range slices.Sorted(maps.Keys(k.at)) {
		if !k.at[at].forget {
			all = append(all, at)
		}
	}
	return all
}

// problem returns what keeps a location from being kept.
func (k *keeping) problem(at LocationID) (Problem, bool) {
	if k == nil {
		return Problem{}, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.at[at]; e != nil && e.failed.What != "" {
		return e.failed, true
	}
	return Problem{}, false
}

// run works until ctx ends, and then does at once what is left to do.
func (k *keeping) run(ctx context.Context) {
	if k == nil {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		at, wait, more := k.next(k.now())
		switch {
		case more && wait <= 0:
			within, cancel := context.WithTimeout(ctx, patient)
			k.do(within, at)
			cancel()
			continue
		case more:
			timer.Reset(wait)
		default:
			timer.Stop()
		}
		select {
		case <-ctx.Done():
		case <-k.wake:
		case <-timer.C:
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	for _, at := range k.open() {
		k.do(last, at)
	}
}

// next returns what is to be done next, if there is anything, and in how long.
func (k *keeping) next(now time.Time) (at LocationID, wait time.Duration, more bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for l, e := range k.at {
		due := e.late
		switch {
		case !e.dirty && !e.forget:
			continue
		case e.forget || e.revokes:
			due = e.soon
		}
		if w := due.Sub(now); !more || w < wait {
			at, wait, more = l, w, true
		}
	}
	return at, wait, more
}

// open are the locations for which there is something to do.
func (k *keeping) open() []LocationID {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []LocationID
	for _, at := range slices.Sorted(maps.Keys(k.at)) {
		if e := k.at[at]; e.dirty || e.forget {
			all = append(all, at)
		}
	}
	return all
}

// do keeps or forgets one location.
func (k *keeping) do(ctx context.Context, at LocationID) {
	k.mu.Lock()
	e := k.at[at]
	forget, revokes, kept := e.forget, e.revokes, e.kept
	e.dirty, e.revokes = false, false
	k.mu.Unlock()

	began := k.now()
	var err error
	if forget {
		err = k.to.Forget(ctx, at)
	} else {
		kept.Config = withhold(kept.Config, keepable)
		err = k.to.Keep(ctx, kept)
	}
	now := k.now()

	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) { // the process ends, and it is tried once more
			k.fail(e, err, now)
		}
		e.dirty, e.revokes = e.dirty || !forget, e.revokes || revokes
		return
	}
	if e.failed.What != "" {
		k.log.Info("what the control plane says is kept again", "location", string(at))
	}
	e.failed, e.retry = Problem{}, nil
	if forget && e.forget {
		delete(k.at, at)
		return
	}
	took := now.Sub(began)
	e.written, e.soon, e.late = kept.Heard, now.Add(took), now.Add(grants*took)
}

// fail notes that a call failed. The caller holds mu.
func (k *keeping) fail(e *entry, err error, now time.Time) {
	if e.retry == nil {
		e.retry = newBackoff(time.Minute)
		k.log.Warn("cannot keep what the control plane says: should this machine start again while it is away, it comes back as it was before",
			"location", string(e.kept.Location), "err", err)
		e.failed.At = now
	}
	e.failed.What = "cannot keep the configuration for a restart: " + err.Error()
	e.soon = now.Add(max(time.Second, e.retry.NextBackOff()))
	e.late = e.soon
}
