package peer

import (
	"context"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Filter selects devices; the zero Filter selects all.
type Filter struct {
	Location location.ID // with a place there
	Owner    string
	After    DeviceID // later in ID order than this, for pages
	Limit    int      // at most so many; 0: all
}

// Match says whether f selects d, apart from Limit.
func (f Filter) Match(d Device) bool {
	if f.Owner != "" && f.Owner != d.Owner || f.After != "" && d.ID <= f.After {
		return false
	}
	_, here := d.At(f.Location)
	return f.Location == "" || here
}

// Store keeps devices with their places. It is safe for concurrent use, honours
// ctx, takes and returns values that share no memory with it, and passes
// peertest.RunStore.
type Store interface {
	// Get returns the row as last written, or ErrNotFound.
	Get(ctx context.Context, id DeviceID) (Device, error)
	// Find returns the device with that key, or ErrNotFound.
	Find(ctx context.Context, key wgkey.Public) (Device, error)
	// List returns the devices that f selects, in ID order.
	List(ctx context.Context, f Filter) ([]Device, error)
	// Update is the only write, as in location.Store. A claim that another
	// device holds fails with ErrKeyTaken (a name) or ErrAddressTaken (a
	// prefix).
	Update(ctx context.Context, id DeviceID, edit func(*Device) error) (Device, error)
}
