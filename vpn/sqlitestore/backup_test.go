package sqlitestore_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/sqlitestore"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func deviceID(n int) peer.DeviceID { return peer.DeviceID(fmt.Sprintf("d%06d", n)) }

func device(n int) func(*peer.Device) error {
	return func(d *peer.Device) error {
		*d = peer.Device{
			ID: deviceID(n), Name: "laptop of somebody", Owner: "somebody",
			Key: wgkey.Public{1, byte(n >> 16), byte(n >> 8), byte(n)},
			Peers: []peer.Peer{
				{Location: "l", Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})}},
			},
		}
		return nil
	}
}

func addDevice(tb testing.TB, s vpn.Stores, n int) {
	tb.Helper()
	_, err := s.Devices().Update(tb.Context(), deviceID(n), device(n))
	require.NoError(tb, err)
}

func look(tb testing.TB, s vpn.Stores, after vpn.Revision) vpn.View {
	tb.Helper()
	v, err := s.Feed().View(tb.Context(), "l", after)
	require.NoError(tb, err)
	return v
}

func backup(tb testing.TB, s *sqlitestore.Store) string {
	tb.Helper()
	to := filepath.Join(tb.TempDir(), "backup.db")
	require.NoError(tb, s.Backup(tb.Context(), to))
	return to
}

func TestARestoredBackupBeginsAnEpoch(t *testing.T) {
	s := open(t, place(t))
	for n := range 3 {
		addDevice(t, s, n)
	}
	then := look(t, s, vpn.Revision{})
	file := backup(t, s)
	addDevice(t, s, 9) // gateways see it, the backup does not
	now := look(t, s, vpn.Revision{})
	require.Equal(t, then.Rev.Epoch, now.Rev.Epoch, "a backup changes nothing here")

	epochs := map[uint64]string{now.Rev.Epoch: "the first"}
	begins := func(how, path string) {
		r := open(t, path)
		addDevice(t, r, 20) // has the number that 9 had
		v := look(t, r, now.Rev)
		require.Zero(t, v.Since, "%s: everything is told", how)
		require.Len(t, v.Devices, 4)
		require.Equal(t, now.Rev.Number, v.Rev.Number)
		require.Empty(t, epochs[v.Rev.Epoch], "%s: the epoch is not new", how)
		require.NotZero(t, v.Rev.Epoch)
		epochs[v.Rev.Epoch] = how
		require.NoError(t, r.Close())
		r = open(t, path)
		require.Equal(t, v.Rev, look(t, r, v.Rev).Rev, "%s: and stays", how)
		require.NoError(t, r.Close())
	}
	for i := range 2 {
		path := place(t)
		require.NoError(t, sqlitestore.Restore(t.Context(), sqlitestore.Config{Path: path}, file))
		begins(fmt.Sprintf("restored %d", i), path)

		path = place(t)
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		begins(fmt.Sprintf("moved into place %d", i), path)
	}

	// The file of a store that is not running does as well.
	old, path := place(t), place(t)
	from := open(t, old)
	addDevice(t, from, 1)
	rev := look(t, from, vpn.Revision{}).Rev
	require.NoError(t, from.Close())
	require.NoError(t, sqlitestore.Restore(t.Context(), sqlitestore.Config{Path: path}, old))
	require.NotEqual(t, rev.Epoch, look(t, open(t, path), vpn.Revision{}).Rev.Epoch)
	require.Equal(t, rev, look(t, open(t, old), vpn.Revision{}).Rev, "which stays as it was")
}

// Backups are taken while somebody writes pairs that belong together.
func TestABackupIsOneMoment(t *testing.T) {
	s := open(t, place(t))
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				if _, err := s.Devices().Update(t.Context(), deviceID(n), device(n)); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	dir := t.TempDir()
	last := uint64(0)
	for i := range 10 {
		require.Eventually(t, func() bool { return look(t, s, vpn.Revision{}).Rev.Number != last },
			20*time.Second, time.Millisecond, "the writer has its turn")
		acked := look(t, s, vpn.Revision{}).Rev.Number
		file := filepath.Join(dir, fmt.Sprintf("%d.db", i))
		require.NoError(t, s.Backup(t.Context(), file))
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		path := place(t)
		require.NoError(t, sqlitestore.Restore(t.Context(), sqlitestore.Config{Path: path}, file))
		v := look(t, open(t, path), vpn.Revision{})
		require.GreaterOrEqual(t, v.Rev.Number, acked, "what was acknowledged before is in it")
		require.Len(t, v.Devices, int(v.Rev.Number), "each device raised the number by one")
		last = acked
	}
	close(stop)
	<-ended
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 10, "and nothing beside them")
}

func TestABackupReplacesNothing(t *testing.T) {
	path := place(t)
	s := open(t, path)
	addDevice(t, s, 1)
	file := backup(t, s)
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	require.ErrorIs(t, s.Backup(t.Context(), file), sqlitestore.ErrExists)
	require.ErrorIs(t, s.Backup(t.Context(), path), sqlitestore.ErrExists)
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Backup(t.Context(), file+"2"), sqlitestore.ErrClosed)

	err = sqlitestore.Restore(t.Context(), sqlitestore.Config{Path: path}, file)
	require.ErrorIs(t, err, sqlitestore.ErrExists)
	require.ErrorContains(t, err, "move "+path+" away")
	require.NoError(t, os.Rename(path, path+".old"))
	require.NoError(t, os.WriteFile(path+"-wal", []byte("of the old one"), 0o600))
	require.ErrorIs(t, sqlitestore.Restore(t.Context(), sqlitestore.Config{Path: path}, file), sqlitestore.ErrExists)
	_, err = sqlitestore.Open(t.Context(), sqlitestore.Config{Path: path})
	require.ErrorIs(t, err, sqlitestore.ErrExists, "another store's half is not taken for its own")
	require.NoError(t, os.Remove(path+"-wal"))
	require.NoError(t, sqlitestore.Restore(t.Context(), sqlitestore.Config{Path: path}, file))
}

func TestWhatFailsLeavesNoCopy(t *testing.T) {
	path := place(t)
	s := open(t, path)
	addDevice(t, s, 1)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	require.ErrorIs(t, s.Backup(ended, filepath.Join(dir, "b")), context.Canceled)
	require.Error(t, s.Backup(t.Context(), filepath.Join(dir, "absent", "b")))
	for n := range 3000 {
		require.NoError(t, s.Records().Update(t.Context(), fmt.Sprint(n), func([]byte) ([]byte, error) { return make([]byte, 4096), nil }))
	}
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Backup(soon, filepath.Join(dir, "b")), context.DeadlineExceeded)

	text := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(text, []byte("these are not the bytes of a database"), 0o600))
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	target := sqlitestore.Config{Path: filepath.Join(dir, "core.db")}
	require.NoError(t, os.Chmod(dir, 0o700))
	require.ErrorIs(t, sqlitestore.Restore(t.Context(), target, text), sqlitestore.ErrForeign)
	require.ErrorIs(t, sqlitestore.Restore(t.Context(), target, empty), sqlitestore.ErrForeign)
	require.ErrorIs(t, sqlitestore.Restore(t.Context(), target, filepath.Join(dir, "absent")), os.ErrNotExist)
	require.ErrorIs(t, sqlitestore.Restore(t.Context(), target, t.TempDir()), sqlitestore.ErrForeign)
	whole := backup(t, s)
	data, err := os.ReadFile(whole)
	require.NoError(t, err)
	for i := len(data) / 2; i < len(data)/2+8192; i++ {
		data[i] ^= 0x55
	}
	require.NoError(t, os.WriteFile(whole, data, 0o600))
	require.ErrorIs(t, sqlitestore.Restore(t.Context(), target, whole), sqlitestore.ErrDamaged)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "%v", left)
	require.Equal(t, "core.db.lock", left[0].Name())
	require.NoError(t, s.Close())
	require.NotEmpty(t, look(t, open(t, path), vpn.Revision{}).Devices, "the store goes on")
}
