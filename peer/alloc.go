package peer

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/holdfastvpn/holdfast/location"
)

// allocator gives free addresses of one location. What it knows may be old: a
// store may have several writers, and its claims have the last word. An address
// that turns out to be taken is passed over, and after many such the pool is
// built anew from the store. So allocating costs one write as a rule, whatever
// the number of peers.
type allocator struct {
	store Store
	turn  chan struct{} // held while building, so that one caller reads the store for all

	mu      sync.Mutex
	pool    *location.Pool // nil: not built yet
	of      location.Location
	rows    int                     // seen when it was built
	missed  int                     // addresses in a row that were not free after all
	pending map[netip.Addr]struct{} // given, and not yet written
}

func newAllocator(s Store) *allocator {
	return &allocator{store: s, turn: make(chan struct{}, 1), pending: map[netip.Addr]struct{}{}}
}

// take gives one address of each family that l has. The caller settles them.
func (a *allocator) take(ctx context.Context, l location.Location) ([]netip.Addr, error) {
	for fresh := false; ; fresh = true {
		got, stale := a.give(l, fresh)
		if got != nil {
			return got, nil
		}
		if fresh {
			return nil, fmt.Errorf("%w: %q has %v", ErrExhausted, l.Name, l.Networks)
		}
		if err := a.build(ctx, l, stale); err != nil {
			return nil, err
		}
	}
}

// give takes addresses from the pool, or returns the pool that will not do.
func (a *allocator) give(l location.Location, fresh bool) (got []netip.Addr, stale *location.Pool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pool == nil || !sameShape(a.of, l) || !fresh && a.missed > 8+a.rows/100 {
		return nil, a.pool
	}
	got, ok := a.pool.NextAddrs()
	if !ok {
		return nil, a.pool
	}
	for _, addr := range got {
		a.pending[addr] = struct{}{}
	}
	return got, nil
}

// sameShape says whether the pools of two states of a location are the same.
func sameShape(a, b location.Location) bool {
	return slices.Equal(a.Networks, b.Networks) && slices.Equal(a.Gateway, b.Gateway) && slices.Equal(a.Reserved, b.Reserved)
}

// build replaces the stale pool by one that knows what is in the store. It does
// nothing if somebody else did that meanwhile.
func (a *allocator) build(ctx context.Context, l location.Location, stale *location.Pool) error {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	a.mu.Lock()
	done := a.pool != stale
	a.mu.Unlock()
	if done {
		return nil
	}
	devices, err := a.store.List(ctx, Filter{Location: l.ID})
	if err != nil {
		return err
	}
	pool := location.NewPool(l)
	for _, d := range devices {
		p, _ := d.At(l.ID)
		for _, addr := range p.Addrs {
			pool.Take(addr)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for addr := range a.pending {
		pool.Take(addr)
	}
	a.pool, a.of, a.rows, a.missed = pool, l.Clone(), len(devices), 0
	return nil
}

// outcome is how a write went.
type outcome int

const (
	written outcome = iota
	failed          // nothing was written, as far as one knows
	taken           // somebody else had an address
)

// settle ends what take began; kept is what the row holds now.
func (a *allocator) settle(given, kept []netip.Addr, how outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, addr := range given {
		delete(a.pending, addr)
	}
	if how == taken && len(given) > 0 {
		a.missed++ // somebody has them, so they stay taken here too
		return
	}
	if how == written {
		a.missed = 0
	}
	if a.pool == nil {
		return
	}
	// What failed may have been written after all: then somebody will meet it.
	for _, addr := range given {
		if !slices.Contains(kept, addr) {
			a.pool.Free(addr)
		}
	}
	for _, addr := range kept {
		a.pool.Take(addr)
	}
}

// release gives back what a row held.
func (a *allocator) release(addrs []netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pool == nil {
		return
	}
	for _, addr := range addrs {
		a.pool.Free(addr)
	}
}
