package vpn

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
)

// ErrNotFound says that there is no such record.
var ErrNotFound = errors.New("vpn: no such record")

// Revision orders the desired states of one location.
type Revision = gateway.Revision

// Stores is a backend: one database. It is the unit of replacement, because a
// location's revision is raised by writes to several of its parts. It is safe
// for concurrent use, by several cores at once where the backend is shared, and
// passes vpntest.RunStores.
//
// A write whose row says Touches(old) raises the number of each location named,
// by one, in the same commit and as the last thing in it, and stamps it on what
// was written (Rev). The number outlives its location. A commit with a higher
// number never becomes visible before one with a lower. The epoch is random,
// and changes when a history does: a new store, a restored backup.
type Stores interface {
	Locations() location.Store
	Devices() peer.Store
	Records() Records
	Feed() Feed
}

// Feed tells what changed.
type Feed interface {
	// Heads returns the revision of every location that ever was, as of one
	// moment, in one cheap look.
	Heads(ctx context.Context) (map[location.ID]Revision, error)
	// View returns, as of one moment, the location's revision and every row of
	// it that was stamped later than after; with after zero, of another epoch,
	// from the future, or so old that what was removed since is forgotten, all
	// rows (Since is zero then). A location that never was has the zero View but
	// for its ID and the epoch in Rev.
	View(ctx context.Context, at location.ID, after Revision) (View, error)
	// Hints yields what may have changed since Hints was called: soon, at least
	// once, possibly merged. It ends with ctx. Nothing depends on it but speed.
	Hints(ctx context.Context) iter.Seq[Hint]
}

// Hint says where to look: a location's View, or a record. The zero Hint is
// anywhere.
type Hint struct {
	Location location.ID
	Record   string
}

// View is one look at a location.
type View struct {
	ID    location.ID
	Since Revision // zero: everything is in the View
	Rev   Revision
	// Location is nil when it is not there, or unchanged since Since; a zero one
	// is gone since then.
	Location *location.Location
	// Devices are in ID order. One without a place here (zero but for its ID if
	// it was deleted) is gone since Since.
	Devices []peer.Device
}

// Records keeps what no gateway needs to see, as bytes by key: registered
// gateways, acknowledgements. Typed parts of this package stand above it, so
// that a backend need not know them.
type Records interface {
	// Get returns the value as last written, or ErrNotFound.
	Get(ctx context.Context, key string) ([]byte, error)
	// List returns up to limit records (0: all) whose keys have the prefix and
	// come after after, in the order of the keys' bytes.
	List(ctx context.Context, prefix, after string, limit int) ([]Record, error)
	// Update is the only write, as in location.Store: old is nil when there is
	// none, and returning nil deletes.
	Update(ctx context.Context, key string, edit func(old []byte) ([]byte, error)) error
}

// Record is a key with its value.
type Record struct {
	Key   string
	Value []byte
}

// Clock is an optional ability of Stores: the time of the database, by which
// several cores agree. Without it a core uses its own.
type Clock interface {
	Now(ctx context.Context) (time.Time, error)
}
