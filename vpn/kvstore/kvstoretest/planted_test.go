package kvstoretest_test

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/holdfastvpn/holdfast/internal/planted"
	"github.com/holdfastvpn/holdfast/vpn/kvstore"
	"github.com/holdfastvpn/holdfast/vpn/kvstore/kvstoretest"
)

// naive is a database that copies everything, with a place for each fault.
type naive struct {
	fault string

	mu   sync.Mutex
	live map[string]string
}

func (db *naive) View(ctx context.Context, do func(kvstore.Tx) error) error {
	if err := ctx.Err(); err != nil && db.fault != "ignores the context" {
		return err
	}
	if db.fault == "views are live" {
		return do(&naiveTx{db: db, now: func() map[string]string { return db.copy() }})
	}
	m := db.copy()
	return do(&naiveTx{db: db, now: func() map[string]string { return m }})
}

func (db *naive) copy() map[string]string {
	db.mu.Lock()
	defer db.mu.Unlock()
	return maps.Clone(db.live)
}

func (db *naive) Update(ctx context.Context, do func(kvstore.Tx) error) error {
	if err := ctx.Err(); err != nil && db.fault != "ignores the context" {
		return err
	}
	if db.fault == "last writer wins" {
		return db.race(do)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	m := maps.Clone(db.live)
	if m == nil {
		m = map[string]string{}
	}
	before := maps.Clone(m)
	tx := &naiveTx{db: db, now: func() map[string]string { return m }, put: m}
	if db.fault == "an update does not see its writes" {
		tx.now = func() map[string]string { return before }
	}
	err := do(tx)
	if err == nil || db.fault == "keeps what failed" {
		db.live = m
	}
	return err
}

// race lets others in between reading and writing.
func (db *naive) race(do func(kvstore.Tx) error) error {
	m := db.copy()
	if m == nil {
		m = map[string]string{}
	}
	before := maps.Clone(m)
	if err := do(&naiveTx{db: db, now: func() map[string]string { return m }, put: m}); err != nil {
		return err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.live == nil {
		db.live = map[string]string{}
	}
	for k, v := range m {
		if old, was := before[k]; !was || old != v {
			db.live[k] = v
		}
	}
	for k := range before {
		if _, is := m[k]; !is {
			delete(db.live, k)
		}
	}
	return nil
}

type naiveTx struct {
	db  *naive
	now func() map[string]string
	put map[string]string
}

func (t *naiveTx) Get(key string) ([]byte, error) {
	v, ok := t.now()[key]
	if !ok {
		return nil, nil
	}
	return []byte(v), nil
}

func (t *naiveTx) Put(key string, value []byte) error {
	switch {
	case value == nil && t.db.fault != "deletes nothing", len(value) == 0 && t.db.fault == "empty is absent":
		delete(t.put, key)
	default:
		t.put[key] = string(value)
	}
	return nil
}

func (t *naiveTx) Scan(from, to string) iter.Seq2[kvstore.Pair, error] {
	return func(yield func(kvstore.Pair, error) bool) {
		m := t.now()
		keys := slices.Sorted(maps.Keys(m))
		if t.db.fault == "sorts like people do" {
			slices.SortFunc(keys, func(a, b string) int { return cmp.Compare(strings.ToLower(a), strings.ToLower(b)) })
		}
		for _, k := range keys {
			if k < from || k > to || k == to && t.db.fault != "scans include the end" {
				continue
			}
			if !yield(kvstore.Pair{Key: k, Value: []byte(m[k])}, nil) && t.db.fault != "scans go on" {
				return
			}
		}
	}
}

func cases(fault string) iter.Seq2[string, func(testing.TB)] {
	return kvstoretest.Cases(func(testing.TB) kvstore.DB { return &naive{fault: fault} })
}

func TestANaiveDatabasePasses(t *testing.T) {
	kvstoretest.RunDB(t, func(testing.TB) kvstore.DB { return &naive{} })
}

func TestFaultsAreNoticed(t *testing.T) {
	const (
		halfOpen = "a scan is half open and in byte order"
		left     = "a scan may be left and nested"
		own      = "an update sees its own writes"
		empty    = "nil deletes and empty stays"
	)
	for fault, want := range map[string][]string{
		"empty is absent":                   {empty, halfOpen},
		"deletes nothing":                   {empty, own, "a view is one snapshot"},
		"sorts like people do":              {halfOpen},
		"scans include the end":             {halfOpen},
		"scans go on":                       {left},
		"an update does not see its writes": {own},
		"keeps what failed":                 {"an error keeps nothing"},
		"views are live":                    {"a view is one snapshot", "readers and writers at once"},
		"last writer wins":                  {"updates lose nothing", "updates are serializable"},
		"ignores the context":               {"cancelled context"},
	} {
		t.Run(fault, func(t *testing.T) { planted.Exactly(t, cases(fault), want...) })
	}
}
