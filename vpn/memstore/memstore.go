// Package memstore keeps everything in memory: for tests, for examples, and for
// services that put their own tables into a Core at every start.
//
// [New] gives a backend that several cores of one process may share. It is
// kvstore over an ordered map, and holds to the whole contract of vpn.Stores:
// looks are snapshots and wait for nobody, writes are one after another. When
// the process ends, everything is gone, so that seal.Ephemeral fits it.
package memstore

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/holdfastvpn/holdfast/vpn/kvstore"
)

// Stores is a backend in memory. It is safe for concurrent use.
type Stores struct{ *kvstore.Stores }

// New makes an empty backend.
func New() *Stores { return &Stores{kvstore.New(NewDB())} }

// DB is an ordered map with transactions.
type DB struct {
	writing sync.Mutex
	root    atomic.Pointer[node]
}

var _ kvstore.DB = (*DB)(nil)

// NewDB makes an empty map.
func NewDB() *DB { return &DB{} }

// View runs do on the map as it is now.
func (db *DB) View(ctx context.Context, do func(kvstore.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return do(&tx{root: db.root.Load()})
}

// Update runs do while no other Update runs, and keeps what it put unless it
// fails or ctx has ended.
func (db *DB) Update(ctx context.Context, do func(kvstore.Tx) error) error {
	db.writing.Lock()
	defer db.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	t := &tx{root: db.root.Load(), own: new(owner)}
	if err := do(t); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	db.root.Store(t.root)
	return nil
}

// tx is a version of the map that is being made, or looked at.
type tx struct {
	root *node
	own  *owner // nil: only looked at
}

func (t *tx) Get(key string) ([]byte, error) {
	if n := t.root.find(key); n != nil {
		return n.value, nil
	}
	return nil, nil
}

func (t *tx) Put(key string, value []byte) error {
	switch {
	case t.own == nil:
		return errReadOnly
	case value != nil:
		t.root = t.own.put(t.root, key, value)
	case t.root.find(key) != nil:
		t.root = t.own.remove(t.root, key)
	}
	return nil
}

func (t *tx) Scan(from, to string) iter.Seq2[kvstore.Pair, error] {
	return func(yield func(kvstore.Pair, error) bool) {
		t.root.scan(from, to, func(n *node) bool { return yield(kvstore.Pair{Key: n.key, Value: n.value}, nil) })
	}
}
