package sim

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/holdfastvpn/holdfast/gateway"
)

// disk is what outlives a reboot.
type disk struct {
	mu   sync.Mutex
	kept map[gateway.LocationID]gateway.Kept
}

// keeper is a process's way to its machine's disk.
type keeper struct {
	*disk

	alive *atomic.Bool
}

// Load implements gateway.Keeper.
func (k keeper) Load(context.Context) ([]gateway.Kept, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []gateway.Kept
	for _, kept := range k.kept {
		all = append(all, kept)
	}
	return all, nil
}

// Keep implements gateway.Keeper.
func (k keeper) Keep(_ context.Context, kept gateway.Kept) error {
	return k.write(func() { k.kept[kept.Location] = kept })
}

// Forget implements gateway.Keeper.
func (k keeper) Forget(_ context.Context, at gateway.LocationID) error {
	return k.write(func() { delete(k.kept, at) })
}

func (k keeper) write(do func()) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.alive.Load() {
		return errDead
	}
	do()
	return nil
}
