package sqlitestore

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// What may be wrong with a store. The errors of this package, and those of the
// stores that come through it, say more, and what to do.
var (
	// ErrInUse says that another process has the store.
	ErrInUse = errors.New("sqlitestore: the store is in use")
	// ErrNewer says that newer software has written the store. It is as it was.
	ErrNewer = errors.New("sqlitestore: the store is of a newer version")
	// ErrForeign says that the file is something else. It is as it was.
	ErrForeign = errors.New("sqlitestore: the file is not a store")
	// ErrDamaged says that the file's contents are not what SQLite left there.
	ErrDamaged = errors.New("sqlitestore: the store is damaged")
	// ErrFull says that there is no room on the disk, and that what was to be
	// written is not kept, no part of it. Looking still works.
	ErrFull = errors.New("sqlitestore: the disk is full")
	// ErrUnsafe says that other users could read the file, or replace it.
	ErrUnsafe = errors.New("sqlitestore: the store is not safe from others")
	// ErrExists says that a backup or a restored store would replace a file.
	ErrExists = errors.New("sqlitestore: there is a file already")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("sqlitestore: the store is closed")
)

// explain says what an error of SQLite means to whoever keeps the file.
func explain(path string, err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	code := e.Code() & 0xff
	if e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE { // no room for PATH-shm
		code = sqlite3.SQLITE_FULL
	}
	switch code {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: no room for a write to %s, which was not kept; free some, the store goes on by itself: %w", ErrFull, path, err)
	case sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%w: %s; stop, move it away with its -wal file, and restore a backup: %w", ErrDamaged, path, err)
	case sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %s is no SQLite database: name another file, or restore a backup: %w", ErrForeign, path, err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fmt.Errorf("%w: another program, perhaps an sqlite3 shell, has locked %s for more than %v: %w", ErrInUse, path, patience, err)
	case sqlite3.SQLITE_READONLY:
		return fmt.Errorf("sqlitestore: %s, or its disk, is read-only: make it writable: %w", path, err)
	case sqlite3.SQLITE_IOERR:
		return fmt.Errorf("sqlitestore: the disk of %s failed: look into the system's log: %w", path, err)
	case sqlite3.SQLITE_CANTOPEN:
		return fmt.Errorf("sqlitestore: open %s or a file beside it: is its directory writable? %w", path, err)
	default:
		return fmt.Errorf("sqlitestore: %s: %w", path, err)
	}
}
