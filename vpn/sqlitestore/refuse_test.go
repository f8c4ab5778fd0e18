package sqlitestore_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/kvstore"
	"github.com/holdfastvpn/holdfast/vpn/sqlitestore"
)

// made is a store that is not open, with one device in it.
func made(tb testing.TB) (path string) {
	tb.Helper()
	path = place(tb)
	s := open(tb, path)
	addDevice(tb, s, 1)
	require.NoError(tb, s.Close())
	return path
}

// foreign is a database of somebody else.
func foreign(tb testing.TB, path string) {
	tb.Helper()
	db, err := sql.Open("sqlite", path)
	require.NoError(tb, err)
	_, err = db.ExecContext(tb.Context(), "CREATE TABLE pairs (a)")
	require.NoError(tb, err)
	require.NoError(tb, db.Close())
	require.NoError(tb, os.Chmod(path, 0o600))
}

// What cannot be a store is refused with words, and left as it was.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, path string) // of a store
		want  error                           // nil: words only
		words string
	}{
		"readable by others":    {func(t *testing.T, p string) { require.NoError(t, os.Chmod(p, 0o644)) }, sqlitestore.ErrUnsafe, "chmod 600"},
		"readable by the group": {func(t *testing.T, p string) { require.NoError(t, os.Chmod(p, 0o640)) }, sqlitestore.ErrUnsafe, "chmod 600"},
		"read-only file":        {func(t *testing.T, p string) { require.NoError(t, os.Chmod(p, 0o400)) }, nil, "read-only"},
		"directory open to all": {func(t *testing.T, p string) {
			require.NoError(t, os.Chmod(filepath.Dir(p), 0o777))
		}, sqlitestore.ErrUnsafe, "chmod go-w"},
		"a symbolic link": {func(t *testing.T, p string) {
			require.NoError(t, os.Rename(p, p+".real"))
			require.NoError(t, os.Symlink(p+".real", p))
		}, sqlitestore.ErrForeign, "no plain file"},
		"a directory": {func(t *testing.T, p string) {
			require.NoError(t, os.Remove(p))
			require.NoError(t, os.Mkdir(p, 0o700))
		}, sqlitestore.ErrForeign, "no plain file"},
		"not a database": {func(t *testing.T, p string) {
			require.NoError(t, os.WriteFile(p, []byte(strings.Repeat("text ", 1000)), 0o600))
		}, sqlitestore.ErrForeign, "name another file"},
		"a short file": {func(t *testing.T, p string) { require.NoError(t, os.WriteFile(p, []byte("x"), 0o600)) }, sqlitestore.ErrForeign, "name another file"},
		"another program's database": {func(t *testing.T, p string) {
			require.NoError(t, os.Remove(p))
			foreign(t, p)
		}, sqlitestore.ErrForeign, "of another program"},
		"a newer version's": {func(t *testing.T, p string) {
			require.NoError(t, sqlitestore.Exec(p, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)"))
		}, sqlitestore.ErrNewer, "made by a newer holdfast: "},
		"a damaged page": {func(t *testing.T, p string) { spoil(t, p, 4096+8, 64) }, sqlitestore.ErrDamaged, "restore a backup"},
		"damage that nobody meets": {func(t *testing.T, p string) {
			s := open(t, p)
			for n := range 300 {
				addDevice(t, s, n)
			}
			require.NoError(t, s.Close())
			info, err := os.Stat(p)
			require.NoError(t, err)
			spoil(t, p, int(info.Size())/8192*4096, 64)
		}, sqlitestore.ErrDamaged, "restore a backup"},
		"cut off": {func(t *testing.T, p string) {
			info, err := os.Stat(p)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(p, info.Size()-4096))
		}, sqlitestore.ErrDamaged, "restore a backup"},
	} {
		t.Run(name, func(t *testing.T) {
			path := made(t)
			c.spoil(t, path)
			before := files(t, path)
			_, err := sqlitestore.Open(t.Context(), sqlitestore.Config{Path: path})
			require.Error(t, err)
			t.Log(err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			require.ErrorContains(t, err, c.words)
			require.ErrorContains(t, err, filepath.Dir(path))
			require.Equal(t, before, files(t, path), "it is as it was")
		})
	}
}

// files are those of a store's directory.
func files(tb testing.TB, path string) map[string]string {
	tb.Helper()
	all := map[string]string{}
	names, err := os.ReadDir(filepath.Dir(path))
	require.NoError(tb, err)
	for _, n := range names {
		if !n.Type().IsRegular() || strings.HasSuffix(n.Name(), ".lock") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(filepath.Dir(path), n.Name()))
		require.NoError(tb, err)
		all[n.Name()] = fmt.Sprintf("%x", sha256.Sum256(b))
	}
	return all
}

func spoil(tb testing.TB, path string, at, n int) {
	tb.Helper()
	b, err := os.ReadFile(path)
	require.NoError(tb, err)
	for i := range n {
		b[at+i] ^= 0xff
	}
	require.NoError(tb, os.WriteFile(path, b, 0o600))
}

func TestNoPlaceAtAll(t *testing.T) {
	_, err := sqlitestore.Open(t.Context(), sqlitestore.Config{})
	require.ErrorContains(t, err, "Config.Path")
	_, err = sqlitestore.Open(t.Context(), sqlitestore.Config{Path: filepath.Join(t.TempDir(), "absent", "core.db")})
	require.ErrorContains(t, err, "mkdir -m 700")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestOpeningEndsWithItsContext(t *testing.T) {
	path := place(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := sqlitestore.Open(ctx, sqlitestore.Config{Path: path})
	require.ErrorIs(t, err, context.Canceled)
	ctx, cancel = context.WithCancel(t.Context())
	s, err := sqlitestore.Open(ctx, sqlitestore.Config{Path: path})
	require.NoError(t, err)
	cancel()
	addDevice(t, s, 1) // which it is no longer for
	require.NoError(t, s.Close())
}

func TestNobodyElseReadsIt(t *testing.T) {
	path := place(t)
	s := open(t, path)
	addDevice(t, s, 1)
	look(t, s, vpn.Revision{})
	names, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, names, 4, "the file, its -wal and -shm, and the lock")
	for _, n := range names {
		info, err := n.Info()
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), n.Name())
	}
	require.NoError(t, s.Close())
	names, err = os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, names, 2, "the file and the lock")
}

func TestOneProcess(t *testing.T) {
	path := place(t)
	s := open(t, path)
	_, err := sqlitestore.Open(t.Context(), sqlitestore.Config{Path: path})
	require.ErrorIs(t, err, sqlitestore.ErrInUse)
	require.ErrorContains(t, err, fmt.Sprintf("process %d", os.Getpid()))
	addDevice(t, s, 1)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err = s.Feed().Heads(t.Context())
	require.ErrorIs(t, err, sqlitestore.ErrClosed)
	require.NotEmpty(t, look(t, open(t, path), vpn.Revision{}).Devices)
}

// An sqlite3 shell that holds a lock is waited for, and then named.
func TestLockedByAShell(t *testing.T) {
	path := place(t)
	s := open(t, path)
	addDevice(t, s, 1)
	look(t, s, vpn.Revision{})
	shell, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	shell.SetMaxOpenConns(1)
	_, err = shell.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	require.NoError(t, err)
	err = s.Records().Update(t.Context(), "r", func([]byte) ([]byte, error) { return []byte("1"), nil })
	require.ErrorIs(t, err, sqlitestore.ErrInUse)
	require.ErrorContains(t, err, "sqlite3 shell")
	require.NotEmpty(t, look(t, s, vpn.Revision{}).Devices, "looking waits for nobody")
	_, err = shell.ExecContext(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	require.NoError(t, shell.Close())
	addDevice(t, s, 2)
}

// Damage that appears while the store is open is said where it is met.
func TestDamageWhileOpen(t *testing.T) {
	path := place(t)
	s := open(t, path)
	for n := range 200 {
		addDevice(t, s, n)
	}
	require.NoError(t, s.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	s = open(t, path)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(strings.Repeat("\xa5", len(b)-8192)), 8192)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = s.Feed().View(t.Context(), "l", vpn.Revision{})
	require.ErrorIs(t, err, sqlitestore.ErrDamaged)
	require.ErrorContains(t, err, "restore a backup")
}

func TestDurable(t *testing.T) {
	s := open(t, place(t))
	for what, want := range map[string]any{"synchronous": int64(2), "journal_mode": "wal"} {
		is, err := s.Ask(t.Context(), true, "PRAGMA "+what)
		require.NoError(t, err)
		require.Equal(t, want, is, what)
	}
	is, err := s.Ask(t.Context(), false, "PRAGMA query_only")
	require.NoError(t, err)
	require.Equal(t, int64(1), is)
}

// A disk without room takes nothing, and gives everything that it has.
func TestFull(t *testing.T) {
	s := open(t, place(t))
	addDevice(t, s, 1)
	before := look(t, s, vpn.Revision{})
	_, err := s.Ask(t.Context(), true, "PRAGMA max_page_count = 1") // of what there is, that is
	require.NoError(t, err)
	full(t, s)
	require.Equal(t, before, look(t, s, vpn.Revision{}))
	_, err = s.Ask(t.Context(), true, "PRAGMA max_page_count = 1000000")
	require.NoError(t, err)
	addDevice(t, s, 2)
}

// Whoever goes on after a failed write, as if nothing were, writes nothing:
// SQLite may have ended the transaction by itself.
func TestNoWayAroundAFailure(t *testing.T) {
	s := open(t, place(t))
	_, err := s.Ask(t.Context(), true, "PRAGMA max_page_count = 1")
	require.NoError(t, err)
	err = s.DB().Update(t.Context(), func(tx kvstore.Tx) error {
		require.NoError(t, tx.Put("before", []byte("1")))
		require.ErrorIs(t, tx.Put("big", make([]byte, 1<<20)), sqlitestore.ErrFull)
		_ = tx.Put("after", []byte("1"))
		return nil
	})
	require.ErrorIs(t, err, sqlitestore.ErrFull)
	require.NoError(t, s.DB().View(t.Context(), func(tx kvstore.Tx) error {
		for _, key := range []string{"before", "big", "after"} {
			value, err := tx.Get(key)
			require.NoError(t, err)
			require.Nil(t, value, key)
		}
		return nil
	}))
	err = s.DB().View(t.Context(), func(tx kvstore.Tx) error { return tx.Put("a", []byte("1")) })
	require.ErrorContains(t, err, "within a view")
}

// A panic in the middle is as if nothing had been, and holds up nobody.
func TestPanic(t *testing.T) {
	s := open(t, place(t))
	require.NoError(t, s.DB().Update(t.Context(), func(tx kvstore.Tx) error { return tx.Put("b", []byte("1")) }))
	for range 10 {
		require.Panics(t, func() {
			_ = s.DB().Update(t.Context(), func(tx kvstore.Tx) error {
				require.NoError(t, tx.Put("a", []byte("1")))
				panic("in the middle")
			})
		})
		require.Panics(t, func() {
			_ = s.DB().View(t.Context(), func(tx kvstore.Tx) error {
				for _, err := range tx.Scan("", "z") {
					panic(err)
				}
				return nil
			})
		})
	}
	require.NoError(t, s.DB().View(t.Context(), func(tx kvstore.Tx) error {
		value, err := tx.Get("a")
		require.Nil(t, value)
		return err
	}))
	addDevice(t, s, 1)
}

// Waiting for one's turn ends with the context.
func TestWaiting(t *testing.T) {
	s := open(t, place(t))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.NoError(t, s.DB().Update(t.Context(), func(kvstore.Tx) error {
		err := s.DB().Update(ctx, func(kvstore.Tx) error { return errors.New("nobody's turn") })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		return nil
	}))
	addDevice(t, s, 1)
}

// full writes until nothing goes any more, and looks what is left of that.
func full(t *testing.T, s *sqlitestore.Store) {
	t.Helper()
	big := make([]byte, 100_000)
	for i := range 10_000 {
		key := fmt.Sprintf("big/%d", i)
		err := s.Records().Update(t.Context(), key, func([]byte) ([]byte, error) { return big, nil })
		if err == nil {
			continue
		}
		require.ErrorIs(t, err, sqlitestore.ErrFull)
		require.ErrorContains(t, err, "not kept")
		_, err = s.Records().Get(t.Context(), key)
		require.ErrorIs(t, err, vpn.ErrNotFound)
		all, err := s.Records().List(t.Context(), "big/", "", 0)
		require.NoError(t, err)
		require.Len(t, all, i)
		return
	}
	t.Fatal("it never got full")
}

func steps(files map[string]string) fstest.MapFS {
	all := fstest.MapFS{}
	for name, text := range files {
		all[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return all
}

func TestMigrations(t *testing.T) {
	const (
		one   = "-- +goose Up\nCREATE TABLE pairs (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;\n"
		two   = "-- +goose Up\nCREATE TABLE more (a);\nINSERT INTO more VALUES (7);\n"
		three = "-- +goose Up\nCREATE TABLE last (a);\n"
		wrong = "-- +goose Up\nCREATE TABLE last (a);\nDELETE FROM pairs;\nINSERT INTO absent VALUES (7);\n"
	)
	path := place(t)
	c := sqlitestore.Config{Path: path}
	with := func(last string) error {
		s, err := sqlitestore.OpenWith(t.Context(), c, steps(map[string]string{"00001_a.sql": one, "00002_b.sql": two, "00003_c.sql": last}))
		if err != nil {
			return err
		}
		defer func() { require.NoError(t, s.Close()) }()
		require.Len(t, look(t, s, vpn.Revision{}).Devices, 1)
		return nil
	}
	s := open(t, path)
	addDevice(t, s, 1)
	require.NoError(t, s.Close())

	require.ErrorContains(t, with(wrong), "nothing was changed")
	s = open(t, path)
	require.Len(t, look(t, s, vpn.Revision{}).Devices, 1, "the old version still works with it")
	require.NoError(t, s.Close())
	fresh := place(t)
	_, err := sqlitestore.OpenWith(t.Context(), sqlitestore.Config{Path: fresh}, steps(map[string]string{"00001_a.sql": one, "00002_b.sql": wrong}))
	require.ErrorContains(t, err, "nothing was changed")
	require.NoError(t, open(t, fresh).Close(), "what did not become a store can become one")
	tables, err := sqlitestore.Ask(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'more'")
	require.NoError(t, err)
	require.Equal(t, int64(0), tables)

	require.NoError(t, with(three))
	require.NoError(t, with(three), "once is enough")
	before := files(t, path)
	_, err = sqlitestore.Open(t.Context(), c)
	require.ErrorIs(t, err, sqlitestore.ErrNewer)
	require.ErrorContains(t, err, "has schema 3, this one knows 1")
	require.Equal(t, before, files(t, path))
}
