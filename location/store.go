package location

import "context"

// Store keeps locations. It is safe for concurrent use, honours ctx, takes and
// returns values that share no memory with it, and passes
// locationtest.RunStore.
type Store interface {
	// Get returns the row as last written, or ErrNotFound.
	Get(ctx context.Context, id ID) (Location, error)
	// List returns every row, in ID order.
	List(ctx context.Context) ([]Location, error)
	// Update is the only write. edit gets the row, the zero Location if there
	// is none; a row left zero is deleted. edit may run more than once, inside
	// a transaction: it depends on its argument alone, is quick and calls no
	// store. Its error comes back as it is, and nothing is saved. A claim that
	// another row holds fails with ErrExists (a name) or ErrOverlap (a prefix).
	// The row is returned as saved.
	Update(ctx context.Context, id ID, edit func(*Location) error) (Location, error)
}
