package kvstore_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn/kvstore"
)

// tinyDB is a database that copies everything at each write.
type tinyDB struct {
	mu   sync.Mutex
	data map[string][]byte
}

func (db *tinyDB) View(ctx context.Context, do func(kvstore.Tx) error) error {
	db.mu.Lock()
	now := db.data // never changed, only replaced
	db.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	return do(tinyTx(now))
}

func (db *tinyDB) Update(ctx context.Context, do func(kvstore.Tx) error) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	next := maps.Clone(db.data)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := do(tinyTx(next)); err != nil {
		return err
	}
	db.data = next
	return nil
}

type tinyTx map[string][]byte

func (t tinyTx) Get(key string) ([]byte, error) { return t[key], nil }

func (t tinyTx) Put(key string, value []byte) error {
	if t[key] = value; value == nil {
		delete(t, key)
	}
	return nil
}

func (t tinyTx) Scan(from, to string) iter.Seq2[kvstore.Pair, error] {
	return func(yield func(kvstore.Pair, error) bool) {
		for _, k := range slices.Sorted(maps.Keys(t)) {
			if k >= from && k < to && !yield(kvstore.Pair{Key: k, Value: t[k]}, nil) {
				return
			}
		}
	}
}

// A database of your own becomes a whole backend for a Core. This one passes
// kvstoretest.RunDB.
func Example() {
	ctx := context.Background()
	stores := kvstore.New(&tinyDB{data: map[string][]byte{}})
	_, err := stores.Locations().Update(ctx, "office", func(l *location.Location) error {
		*l = location.Location{ID: "office", Name: "Office"}
		return nil
	})
	heads, err2 := stores.Feed().Heads(ctx)
	fmt.Println(err, err2, heads["office"].Number)
	// Output: <nil> <nil> 1
}
