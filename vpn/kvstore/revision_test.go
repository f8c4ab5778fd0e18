package kvstore_test

import (
	"context"
	"iter"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/kvstore"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
)

// A history that begins again goes on counting, and is told whole to everybody.
func TestRestart(t *testing.T) {
	db := memstore.NewDB()
	s := kvstore.New(db)
	require.NoError(t, db.Update(t.Context(), kvstore.Restart), "of what has not begun")
	require.NoError(t, write(t, s, device(1, "l")))
	require.NoError(t, write(t, s, device(2, "l")))
	had, err := s.Feed().View(t.Context(), "l", vpn.Revision{})
	require.NoError(t, err)

	require.NoError(t, db.Update(t.Context(), kvstore.Restart))
	require.NoError(t, write(t, s, device(3, "l")), "before anybody looks")
	heads, err := s.Feed().Heads(t.Context())
	require.NoError(t, err)
	require.Equal(t, uint64(3), heads["l"].Number)
	require.NotZero(t, heads["l"].Epoch)
	require.NotEqual(t, had.Rev.Epoch, heads["l"].Epoch)
	v, err := s.Feed().View(t.Context(), "l", had.Rev)
	require.NoError(t, err)
	require.Equal(t, heads["l"], v.Rev)
	require.Zero(t, v.Since)
	require.Len(t, v.Devices, 3)
}

// counting counts what is asked of a database.
type counting struct {
	kvstore.DB

	views, gets, scans int
}

type countingTx struct {
	kvstore.Tx

	db *counting
}

func (db *counting) View(ctx context.Context, do func(kvstore.Tx) error) error {
	db.views++
	return db.DB.View(ctx, func(tx kvstore.Tx) error { return do(countingTx{tx, db}) })
}

func (t countingTx) Get(key string) ([]byte, error) {
	t.db.gets++
	return t.Tx.Get(key)
}

func (t countingTx) Scan(from, to string) iter.Seq2[kvstore.Pair, error] {
	t.db.scans++
	return t.Tx.Scan(from, to)
}

// Every core looks at the heads several times a second.
func TestHeadsAreOneScan(t *testing.T) {
	db := &counting{DB: memstore.NewDB()}
	s := kvstore.New(db)
	for _, l := range []location.ID{"a", "b", "c"} {
		require.NoError(t, write(t, s, device(int(l[0]), l)))
	}
	_, err := s.Feed().Heads(t.Context())
	require.NoError(t, err, "which begins the epoch")
	db.views, db.gets, db.scans = 0, 0, 0
	heads, err := s.Feed().Heads(t.Context())
	require.NoError(t, err)
	require.Len(t, heads, 3)
	require.Equal(t, []int{1, 0, 1}, []int{db.views, db.gets, db.scans})
}
