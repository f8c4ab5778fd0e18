package sqlitestore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfastvpn/holdfast/vpn/kvstore"
)

// Backup writes everything, as of one moment, to a new file, readable by our user
// only. Nobody waits for it. When it returns nil, the file is whole, checked and
// on the disk; until then it has another name, path.partial-RANDOM, and after an
// error it is gone. A file that is there is not replaced: ErrExists.
func (s *Store) Backup(ctx context.Context, path string) error {
	// The connection is not the one that copies, but Close waits for it.
	err := s.db.with(ctx, s.db.looker, func(*conn) error { return duplicate(ctx, s.db.path, peeks, path) })
	if err != nil {
		return fmt.Errorf("sqlitestore: back up to %s: %w", path, err)
	}
	return nil
}

// Restore makes a store, which Open opens then, of a backup or of the file of a
// store that is not running. Nothing may be at its place: ErrExists. It
// continues no history that anybody has seen: it begins a new epoch, another one
// each time that the same backup is restored.
//
// What others must not do with what they had before the backup, such as a token
// that has been used since, is for the layer above to end; it knows by the epoch.
func Restore(ctx context.Context, c Config, from string) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	held, err := claim(path)
	if err != nil {
		return err
	}
	defer func() { _ = held.release() }()
	if err := restore(ctx, path, from); err != nil {
		return fmt.Errorf("sqlitestore: restore %s from %s: %w", path, from, err)
	}
	return nil
}

func restore(ctx context.Context, path, from string) error {
	if err := alone(path); err != nil {
		return err
	}
	if info, err := os.Stat(from); err != nil {
		return err
	} else if !info.Mode().IsRegular() || info.Size() < smallest {
		return fmt.Errorf("%w: nothing is in it", ErrForeign)
	}
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	fresh, err := inspect(ctx, from, migrations())
	switch {
	case err != nil:
		return err
	case fresh:
		return fmt.Errorf("%w: nothing is in it", ErrForeign)
	}
	return duplicate(ctx, from, glance(from), path)
}

// alone refuses a place where a file is, or one that SQLite would take for a
// part of a file there.
func alone(path string) error {
	for _, end := range []string{"", "-wal", "-shm", "-journal"} {
		_, err := os.Lstat(path + end)
		switch {
		case err == nil:
			return fmt.Errorf("%w: move %s away", ErrExists, path+end)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// duplicate copies a store to a path where nothing is, without its epoch.
func duplicate(ctx context.Context, from string, how mode, to string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	if err := alone(to); err != nil {
		return err
	}
	partial := to + ".partial-" + rand.Text()[:8]
	if err := create(partial); err != nil {
		return err
	}
	defer func() { // after an error everything, else the second name
		for _, end := range []string{"", "-journal"} {
			_ = os.Remove(partial + end)
		}
	}()
	if err := copyOut(ctx, from, how, partial); err != nil {
		return err
	}
	if err := unstamp(ctx, partial); err != nil {
		return err
	}
	if err := settle(partial); err != nil {
		return err
	}
	// Unlike a rename, a link replaces nothing.
	if err := os.Link(partial, to); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: move %s away", ErrExists, to)
	} else if err != nil {
		return err
	}
	return flush(filepath.Dir(to))
}

// copyOut writes what is in a store now to an empty file.
func copyOut(ctx context.Context, from string, how mode, to string) error {
	c := &conn{path: from, mode: how}
	if err := c.open(ctx); err != nil {
		return err
	}
	defer func() { _ = c.close() }() // nothing was written here
	if err := c.exec(ctx, "VACUUM INTO ?", to); err != nil {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrFull): // where the copy is, that is
			return fmt.Errorf("%w: no room for the copy: free some, or copy to another disk", ErrFull)
		}
		return err
	}
	return nil
}

// unstamp takes the epoch out of a copy, and reads it from end to end.
func unstamp(ctx context.Context, path string) (err error) {
	c := &conn{path: path, mode: copies}
	if err := c.open(ctx); err != nil {
		return err
	}
	defer func() {
		if e := c.close(); err == nil {
			err = e
		}
	}()
	if err := c.transact(ctx, "BEGIN IMMEDIATE", kvstore.Restart); err != nil {
		return err
	}
	report, err := c.one(ctx, "PRAGMA integrity_check(1)")
	if err == nil && report != "ok" {
		err = fmt.Errorf("%w: the copy is: %v", ErrDamaged, report)
	}
	return err
}
