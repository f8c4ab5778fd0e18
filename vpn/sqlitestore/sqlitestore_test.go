package sqlitestore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/kvstore"
	"github.com/holdfastvpn/holdfast/vpn/kvstore/kvstoretest"
	"github.com/holdfastvpn/holdfast/vpn/sqlitestore"
	"github.com/holdfastvpn/holdfast/vpn/vpntest"
)

// place is where a store can be, whatever the umask.
func place(tb testing.TB) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "state")
	require.NoError(tb, os.Mkdir(dir, 0o700))
	return filepath.Join(dir, "core.db")
}

func open(tb testing.TB, path string) *sqlitestore.Store {
	tb.Helper()
	s, err := sqlitestore.Open(tb.Context(), sqlitestore.Config{Path: path})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

func TestStores(t *testing.T) {
	vpntest.RunStores(t, func(tb testing.TB) vpn.Stores { return open(tb, place(tb)) })
}

func TestDB(t *testing.T) {
	kvstoretest.RunDB(t, func(tb testing.TB) kvstore.DB { return open(tb, place(tb)).DB() })
}

func TestReopen(t *testing.T) {
	vpntest.RunReopen(t, func(tb testing.TB, place string) (vpn.Stores, func()) {
		tb.Helper()
		require.NoError(tb, os.Chmod(place, 0o700))
		s := open(tb, filepath.Join(place, "core.db"))
		return s, func() { require.NoError(tb, s.Close()) }
	})
}

func TestAnyName(t *testing.T) {
	dir := filepath.Dir(place(t))
	t.Chdir(dir)
	for _, name := range []string{"core", "a b.db", "50%41?mode=ro&x=1#y.db", "ä;'\".db", ":memory:", "file:x"} {
		s := open(t, name)
		addDevice(t, s, 1)
		require.NoError(t, s.Backup(t.Context(), name+".backup"))
		require.NoError(t, s.Close())
		require.FileExists(t, filepath.Join(dir, name))
		require.FileExists(t, filepath.Join(dir, name+".backup"))
		require.Len(t, look(t, open(t, filepath.Join(dir, name)), vpn.Revision{}).Devices, 1)
	}
}
