// Package kvstore makes a whole backend (vpn.Stores) of any ordered key-value
// database with transactions.
//
// Write a [DB] over the database, usually about 70 lines, see to it that
// kvstoretest.RunDB passes, and give it to [New]: revisions, unique claims,
// copies, views and hints are done here. memstore is the smallest example.
//
// Rows are JSON with stable names, and read strictly: a row with a field that
// this software does not know was written by newer software, and is an error
// for whoever reads it. So older software neither loses what it does not know
// nor grants what a newer rule forbids; while two versions run side by side, it
// says that it is stale, and gateways turn to another core. Zero fields are not
// written, so that a new field bothers nobody before it is used.
//
// Hints come from writes through the same [Stores] only. Cores that share a
// database through several of them find each other's writes by looking.
package kvstore

import (
	"context"
	"iter"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
)

// DB is what a key-value database has to offer. It is safe for concurrent use,
// orders keys by their bytes, and passes kvstoretest.RunDB.
type DB interface {
	// View runs do on one snapshot: what others commit meanwhile is not seen.
	// An error of do, or that of ctx when it has ended, is returned as it is.
	View(ctx context.Context, do func(Tx) error) error
	// Update runs do and commits what it put, all or nothing; an error of do is
	// returned as it is, and nothing is kept. Updates are serializable: the
	// outcome is that of running them one after another, in the order in which
	// they return. do may run more than once. What is committed is durable, as
	// far as the database ever is, and seen by every View that starts
	// afterwards.
	Update(ctx context.Context, do func(Tx) error) error
}

// Tx is a transaction, for one goroutine and until do returns. It sees its own
// writes. Values that it returns are the database's: they are not changed, and
// not used after do returns. Values given to Put are not changed afterwards.
type Tx interface {
	// Get returns the value, nil if there is none. An empty value is not nil.
	Get(key string) ([]byte, error)
	// Put writes the value; nil deletes. It is not called within a View, nor
	// while a Scan is under way.
	Put(key string, value []byte) error
	// Scan yields the pairs with from <= key < to in key order, and ends after
	// an error.
	Scan(from, to string) iter.Seq2[Pair, error]
}

// Pair is a key with its value.
type Pair struct {
	Key   string
	Value []byte
}

// Stores is a backend over a DB. It is safe for concurrent use.
type Stores struct {
	db    DB
	keep  int // how many tombstones of a location are remembered
	hints hints
}

var _ vpn.Stores = (*Stores)(nil)

// tombstones is how many removals of a location can be told one by one. Who has
// not looked for longer gets everything.
const tombstones = 10_000

// New makes a backend of a database. It reads and writes nothing yet.
func New(db DB) *Stores { return &Stores{db: db, keep: tombstones} }

// Locations returns the store of locations.
func (s *Stores) Locations() location.Store { return locations{table: locationTable(s)} }

// Devices returns the store of devices with their places.
func (s *Stores) Devices() peer.Store { return devices{table: deviceTable(s)} }

// Records returns the store of all else.
func (s *Stores) Records() vpn.Records { return records{s} }

// Feed returns what tells of changes.
func (s *Stores) Feed() vpn.Feed { return feed{s} }
