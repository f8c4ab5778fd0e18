package gatewaytest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/holdfastvpn/holdfast/gateway"
)

var _ gateway.Keeper = (*Keeper)(nil)

// Keeper keeps in memory what a gateway was told, as long as a test lasts. It
// passes RunKeeper. It is safe for concurrent use, and what it gives and takes are
// copies.
type Keeper struct {
	mu      sync.Mutex
	kept    map[gateway.LocationID]gateway.Kept
	failing error
	dead    bool
	keeps   int
}

// NewKeeper returns a Keeper that has nothing.
func NewKeeper() *Keeper { return &Keeper{kept: map[gateway.LocationID]gateway.Kept{}} }

// Load implements gateway.Keeper.
func (k *Keeper) Load(ctx context.Context) ([]gateway.Kept, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.fails(ctx); err != nil {
		return nil, err
	}
	var all []gateway.Kept
	for _, at := range slices.Sorted(maps.Keys(k.kept)) {
		all = append(all, cloneKept(k.kept[at]))
	}
	return all, nil
}

// Keep implements gateway.Keeper.
func (k *Keeper) Keep(ctx context.Context, kept gateway.Kept) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.fails(ctx); err != nil {
		return err
	}
	k.keeps++
	if !k.dead {
		k.kept[kept.Location] = cloneKept(kept)
	}
	return nil
}

// Forget implements gateway.Keeper.
func (k *Keeper) Forget(ctx context.Context, at gateway.LocationID) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.fails(ctx); err != nil {
		return err
	}
	if !k.dead {
		delete(k.kept, at)
	}
	return nil
}

func (k *Keeper) fails(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("gatewaytest: keeper: %w", err)
	}
	return k.failing
}

// Kept returns what is kept of a location, and whether there is anything.
func (k *Keeper) Kept(at gateway.LocationID) (gateway.Kept, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	kept, ok := k.kept[at]
	return cloneKept(kept), ok
}

// Put makes what is kept be so, as if it had been kept before.
func (k *Keeper) Put(kept gateway.Kept) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept[kept.Location] = cloneKept(kept)
}

// Keeps says how often Keep has succeeded.
func (k *Keeper) Keeps() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keeps
}

// Fail makes every call fail; nil ends that.
func (k *Keeper) Fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failing = err
}

// Kill returns a Keeper with what is kept now, and makes k take in nothing more:
// what a process that was killed can do no more, one in a test can not do either.
func (k *Keeper) Kill() *Keeper {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dead = true
	next := NewKeeper()
	for at, kept := range k.kept {
		next.kept[at] = cloneKept(kept)
	}
	return next
}

func cloneKept(k gateway.Kept) gateway.Kept {
	k.Config, k.Siblings = k.Config.Clone(), slices.Clone(k.Siblings)
	return k
}
