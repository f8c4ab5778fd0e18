package memstore_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/vpn/kvstore"
	"github.com/holdfastvpn/holdfast/vpn/kvstore/kvstoretest"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
)

func TestDB(t *testing.T) {
	kvstoretest.RunDB(t, func(testing.TB) kvstore.DB { return memstore.NewDB() })
}

func TestAViewCannotPut(t *testing.T) {
	err := memstore.NewDB().View(t.Context(), func(tx kvstore.Tx) error { return tx.Put("a", []byte("1")) })
	require.ErrorContains(t, err, "within a view")
}

// A random history of updates, some of which fail, is compared with a map; old
// views are compared with what they were.
func TestDBIsAMapWithVersions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		db, model := memstore.NewDB(), map[string]string{}
		key := rapid.StringMatching(`[ab/]{0,4}`)
		step := func(t *rapid.T, tx kvstore.Tx, draft map[string]string) {
			k, v := key.Draw(t, "key"), rapid.SampledFrom([]string{"", "1", "2", "-"}).Draw(t, "value")
			if v == "-" {
				delete(draft, k)
				require.NoError(t, tx.Put(k, nil))
				return
			}
			draft[k] = v
			require.NoError(t, tx.Put(k, []byte(v)))
		}
		for range rapid.IntRange(1, 20).Draw(t, "updates") {
			require.NoError(t, db.View(t.Context(), func(old kvstore.Tx) error {
				was := maps.Clone(model)
				fail := rapid.Bool().Draw(t, "fail")
				wrong := errors.New("wrong")
				draft := maps.Clone(model)
				err := db.Update(t.Context(), func(tx kvstore.Tx) error {
					for range rapid.IntRange(0, 10).Draw(t, "steps") {
						step(t, tx, draft)
						same(t, draft, tx)
					}
					if fail {
						return wrong
					}
					return nil
				})
				if fail {
					require.Equal(t, wrong, err)
				} else {
					require.NoError(t, err)
					model = draft
				}
				same(t, was, old)
				return nil
			}))
			require.NoError(t, db.View(t.Context(), func(tx kvstore.Tx) error {
				same(t, model, tx)
				return nil
			}))
		}
	})
}

func same(t *rapid.T, want map[string]string, tx kvstore.Tx) {
	var keys []string
	for p, err := range tx.Scan("", "\xff") {
		require.NoError(t, err)
		require.Equal(t, want[p.Key], string(p.Value))
		keys = append(keys, p.Key)
	}
	require.Equal(t, slices.Sorted(maps.Keys(want)), keys)
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			db := memstore.NewDB()
			for i := range size {
				require.NoError(b, db.Update(b.Context(), func(tx kvstore.Tx) error {
					return tx.Put(fmt.Sprintf("key/%08d", (i*7919)%size), []byte("value"))
				}))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				_ = db.Update(b.Context(), func(tx kvstore.Tx) error {
					return tx.Put(fmt.Sprintf("key/%08d", i%size), []byte("other"))
				})
			}
		})
	}
}
