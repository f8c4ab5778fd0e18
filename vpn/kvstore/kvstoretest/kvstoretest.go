// Package kvstoretest says whether a key-value database is fit for kvstore:
// [RunDB] is the contract of kvstore.DB as running code.
//
//	func TestDB(t *testing.T) {
//		kvstoretest.RunDB(t, func(tb testing.TB) kvstore.DB { return open(tb, tb.TempDir()) })
//	}
//
// A database that passes makes a backend that passes vpntest.RunStores.
package kvstoretest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/vpn/kvstore"
)

// RunDB checks a kvstore.DB against its contract. open returns an empty
// database; what has to be closed, it gives to Cleanup. Each case opens its own.
func RunDB(t *testing.T, open func(testing.TB) kvstore.DB) {
	t.Helper()
	for name, test := range Cases(open) {
		t.Run(name, func(t *testing.T) { test(t) })
	}
}

// Cases yields what RunDB runs, by name: for suites that try broken databases.
func Cases(open func(testing.TB) kvstore.DB) iter.Seq2[string, func(testing.TB)] {
	return func(yield func(string, func(testing.TB)) bool) {
		for _, c := range []struct {
			name string
			test func(testing.TB, kvstore.DB)
		}{
			{"what is put comes back", comesBack},
			{"nil deletes and empty stays", deletes},
			{"any bytes are a key", anyBytes},
			{"a scan is half open and in byte order", scans},
			{"a scan may be left and nested", leavesScan},
			{"an update sees its own writes", seesOwnWrites},
			{"an error keeps nothing", keepsNothing},
			{"a view is one snapshot", snapshot},
			{"an update that returned is seen", seen},
			{"updates lose nothing", losesNothing},
			{"updates are serializable", serializable},
			{"readers and writers at once", atOnce},
			{"large", large},
			{"cancelled context", cancelled},
		} {
			if !yield(c.name, func(tb testing.TB) {
				tb.Helper()
				c.test(tb, open(tb))
			}) {
				return
			}
		}
	}
}

// put writes pairs in one update: key, value, key, value.
func put(tb testing.TB, db kvstore.DB, pairs ...string) {
	tb.Helper()
	require.NoError(tb, db.Update(tb.Context(), func(tx kvstore.Tx) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := tx.Put(pairs[i], []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	}))
}

// get reads a key in a view of its own; "-" is none.
func get(tb testing.TB, db kvstore.DB, key string) (value string) {
	tb.Helper()
	require.NoError(tb, db.View(tb.Context(), func(tx kvstore.Tx) (err error) {
		value, err = read(tx, key)
		return err
	}))
	return value
}

func read(tx kvstore.Tx, key string) (string, error) {
	b, err := tx.Get(key)
	if b == nil {
		return "-", err
	}
	return string(b), err
}

// all returns "key=value" for each pair of a scan.
func all(tx kvstore.Tx, from, to string) (pairs []string, err error) {
	pairs = []string{}
	for p, err := range tx.Scan(from, to) {
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, p.Key+"="+string(p.Value))
	}
	return pairs, nil
}

func scan(tb testing.TB, db kvstore.DB, from, to string) (pairs []string) {
	tb.Helper()
	require.NoError(tb, db.View(tb.Context(), func(tx kvstore.Tx) (err error) {
		pairs, err = all(tx, from, to)
		return err
	}))
	return pairs
}

func comesBack(tb testing.TB, db kvstore.DB) {
	require.Equal(tb, "-", get(tb, db, "a"), "a key that was never put")
	put(tb, db, "a", "1", "b", "2")
	require.Equal(tb, "1", get(tb, db, "a"))
	put(tb, db, "a", "3")
	require.Equal(tb, "3", get(tb, db, "a"), "the newest value counts")
	require.Equal(tb, "2", get(tb, db, "b"))
}

func deletes(tb testing.TB, db kvstore.DB) {
	put(tb, db, "a", "1", "b", "", "c", "3")
	require.NoError(tb, db.Update(tb.Context(), func(tx kvstore.Tx) error {
		return errors.Join(tx.Put("a", nil), tx.Put("absent", nil))
	}))
	require.Equal(tb, "-", get(tb, db, "a"))
	require.Empty(tb, get(tb, db, "b"), "an empty value is a value")
	require.Equal(tb, []string{"b=", "c=3"}, scan(tb, db, "a", "z"))
}

func anyBytes(tb testing.TB, db kvstore.DB) {
	keys := []string{"\x00", "a", "a\x00", "a/b", "a\xff", "A", "ä", "%", "'; --", " ", strings.Repeat("k", 500)}
	var pairs []string
	for i, k := range keys {
		pairs = append(pairs, k, fmt.Sprintf("%d\x00\xff", i))
	}
	put(tb, db, pairs...)
	for i, k := range keys {
		require.Equal(tb, fmt.Sprintf("%d\x00\xff", i), get(tb, db, k), "key %q", k)
	}
}

func scans(tb testing.TB, db kvstore.DB) {
	put(tb, db, "b", "", "a", "", "a\x00", "", "a/", "", "a0", "", "B", "", "a\xff", "", "ä", "")
	for _, c := range []struct {
		from, to string
		want     []string
	}{
		{"", "\xff\xff", []string{"B=", "a=", "a\x00=", "a/=", "a0=", "a\xff=", "b=", "ä="}},
		{"a", "b", []string{"a=", "a\x00=", "a/=", "a0=", "a\xff="}},
		{"a/", "a0", []string{"a/="}},
		{"a\x00", "a0", []string{"a\x00=", "a/="}},
		{"aa", "ab", []string{}},
		{"b", "a", []string{}},
		{"b", "b", []string{}},
	} {
		require.Equal(tb, c.want, scan(tb, db, c.from, c.to), "from %q to %q", c.from, c.to)
	}
}

func leavesScan(tb testing.TB, db kvstore.DB) {
	put(tb, db, "a", "1", "b", "2", "c", "3")
	require.NoError(tb, db.Update(tb.Context(), func(tx kvstore.Tx) error {
		for range 3 { // what the first ones left behind is of use to the others
			got, err := nested(tx)
			if err != nil {
				return err
			}
			require.Equal(tb, []string{"aa", "ab", "ba", "bb"}, got)
		}
		return tx.Put("d", []byte("4"))
	}))
	require.Equal(tb, []string{"c=3", "d=4"}, scan(tb, db, "c", "z"))
}

// nested scans within a scan, and leaves both early.
func nested(tx kvstore.Tx) (got []string, err error) {
	for outer, err := range tx.Scan("a", "z") {
		if err != nil {
			return nil, err
		}
		for inner, err := range tx.Scan("a", "z") {
			if err != nil {
				return nil, err
			}
			if v, err := read(tx, inner.Key); err != nil || v != string(inner.Value) {
				return nil, fmt.Errorf("get within a scan: %q, %w", v, err)
			}
			got = append(got, outer.Key+inner.Key)
			if inner.Key == "b" {
				break
			}
		}
		if outer.Key == "b" {
			break
		}
	}
	return got, nil
}

func seesOwnWrites(tb testing.TB, db kvstore.DB) {
	put(tb, db, "a", "1", "b", "2", "c", "3")
	require.NoError(tb, db.Update(tb.Context(), func(tx kvstore.Tx) error {
		if err := errors.Join(tx.Put("a", []byte("9")), tx.Put("b", nil), tx.Put("ab", []byte("new"))); err != nil {
			return err
		}
		a, err := read(tx, "a")
		require.NoError(tb, err)
		require.Equal(tb, "9", a)
		b, err := read(tx, "b")
		require.NoError(tb, err)
		require.Equal(tb, "-", b)
		pairs, err := all(tx, "a", "z")
		require.NoError(tb, err)
		require.Equal(tb, []string{"a=9", "ab=new", "c=3"}, pairs)
		return nil
	}))
}

func keepsNothing(tb testing.TB, db kvstore.DB) {
	put(tb, db, "a", "1")
	wrong := errors.New("wrong")
	err := db.Update(tb.Context(), func(tx kvstore.Tx) error {
		if err := errors.Join(tx.Put("a", []byte("2")), tx.Put("b", []byte("2"))); err != nil {
			return err
		}
		return wrong
	})
	require.ErrorIs(tb, err, wrong)
	require.Equal(tb, []string{"a=1"}, scan(tb, db, "a", "z"))
	err = db.View(tb.Context(), func(kvstore.Tx) error { return wrong })
	require.ErrorIs(tb, err, wrong)
}

// snapshot works for databases whose writers wait for readers, too.
func snapshot(tb testing.TB, db kvstore.DB) {
	put(tb, db, "a", "1", "b", "1")
	written := make(chan error, 1)
	require.NoError(tb, db.View(tb.Context(), func(tx kvstore.Tx) error {
		a, err := read(tx, "a")
		require.NoError(tb, err)
		go func() {
			written <- db.Update(tb.Context(), func(tx kvstore.Tx) error {
				return errors.Join(tx.Put("a", []byte("2")), tx.Put("b", nil), tx.Put("c", []byte("2")))
			})
		}()
		select {
		case err := <-written:
			written <- err
		case <-time.After(50 * time.Millisecond): // it waits for us
		}
		pairs, err := all(tx, "a", "z")
		require.NoError(tb, err)
		require.Equal(tb, []string{"a=" + a, "b=1"}, pairs)
		b, err := read(tx, "b")
		require.NoError(tb, err)
		require.Equal(tb, "1", b)
		return nil
	}))
	require.NoError(tb, <-written)
	require.Equal(tb, []string{"a=2", "c=2"}, scan(tb, db, "a", "z"))
}

func seen(tb testing.TB, db kvstore.DB) {
	const rounds = 200
	for i := range rounds {
		value := fmt.Sprint(i)
		put(tb, db, "a", value)
		require.Equal(tb, value, get(tb, db, "a"))
	}
}

// add raises the number under a key within an update.
func add(tx kvstore.Tx, key string) error {
	var n int
	switch v, err := read(tx, key); {
	case err != nil:
		return err
	case v != "-":
		if _, err := fmt.Sscan(v, &n); err != nil {
			return err
		}
	}
	return tx.Put(key, fmt.Append(nil, n+1))
}

func losesNothing(tb testing.TB, db kvstore.DB) {
	const writers, each = 8, 25
	var wg sync.WaitGroup
	read := make(chan struct{})
	errs := make(chan error, writers*each)
	for range writers {
		wg.Go(func() {
			for range each {
				errs <- db.Update(tb.Context(), func(tx kvstore.Tx) error {
					err := add(tx, "n")
					meet(read)
					return err
				})
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(tb, err)
	}
	require.Equal(tb, fmt.Sprint(writers*each), get(tb, db, "n"))
}

// moment is how long to wait for others who may be waiting for us.
const moment = time.Millisecond

// meet waits until somebody else meets too, for a moment at most.
func meet(here chan struct{}) {
	select {
	case here <- struct{}{}:
	case <-here:
	case <-time.After(moment):
	}
}

// serializable looks for write skew: each of two writers takes a seat of its own
// only if it sees that both are free.
func serializable(tb testing.TB, db kvstore.DB) {
	const rounds = 20
	for i := range rounds {
		room := fmt.Sprintf("room%d/", i)
		var wg sync.WaitGroup
		looked := make(chan struct{})
		for _, seat := range []string{"left", "right"} {
			wg.Go(func() {
				err := db.Update(tb.Context(), func(tx kvstore.Tx) error {
					taken, err := all(tx, room, room+"\xff")
					meet(looked)
					if err != nil || len(taken) > 0 {
						return err
					}
					return tx.Put(room+seat, []byte("taken"))
				})
				if err != nil {
					tb.Errorf("Update: %v", err)
				}
			})
		}
		wg.Wait()
		require.Len(tb, scan(tb, db, room, room+"\xff"), 1, "both saw a free room, and took a seat")
	}
}

// atOnce has two keys change together, and readers who must never see them
// apart.
func atOnce(tb testing.TB, db kvstore.DB) {
	const writers, readers, each = 2, 2, 40
	put(tb, db, "a", "0", "z", "0")
	var wg sync.WaitGroup
	written := make(chan struct{})
	for range writers {
		wg.Go(func() {
			for range each {
				err := db.Update(tb.Context(), func(tx kvstore.Tx) error { return errors.Join(add(tx, "a"), add(tx, "z")) })
				if err != nil {
					tb.Errorf("Update: %v", err)
				}
				meet(written)
			}
		})
	}
	for range readers {
		wg.Go(func() {
			for range each {
				err := db.View(tb.Context(), func(tx kvstore.Tx) error {
					a, err := read(tx, "a")
					if err != nil {
						return err
					}
					meet(written)
					z, err := read(tx, "z")
					if a != z {
						tb.Errorf("a is %s and z is %s within one view", a, z)
					}
					return err
				})
				if err != nil {
					tb.Errorf("View: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func large(tb testing.TB, db kvstore.DB) {
	const keys = 5000
	value := strings.Repeat("v", 1<<20)
	var pairs []string
	for i := range keys {
		pairs = append(pairs, fmt.Sprintf("k%05d", (i*7919)%keys), fmt.Sprint(i))
	}
	put(tb, db, append(pairs, "big", value)...)
	require.Equal(tb, value, get(tb, db, "big"))
	got := scan(tb, db, "k", "l")
	require.Len(tb, got, keys)
	require.IsIncreasing(tb, got)
}

func cancelled(tb testing.TB, db kvstore.DB) {
	put(tb, db, "a", "1")
	ended, cancel := context.WithCancel(tb.Context())
	cancel()
	require.ErrorIs(tb, db.View(ended, func(kvstore.Tx) error { return nil }), context.Canceled)
	require.ErrorIs(tb, db.Update(ended, func(tx kvstore.Tx) error { return tx.Put("a", []byte("2")) }), context.Canceled)
	require.Equal(tb, "1", get(tb, db, "a"))

	// When it ends meanwhile, either way is right, but not both.
	ending, cancel := context.WithCancel(tb.Context())
	err := db.Update(ending, func(tx kvstore.Tx) error {
		cancel()
		return tx.Put("a", []byte("3"))
	})
	if err == nil {
		require.Equal(tb, "3", get(tb, db, "a"))
		return
	}
	require.ErrorIs(tb, err, context.Canceled)
	require.Equal(tb, "1", get(tb, db, "a"), "an update that failed was kept")
}
