package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/kvstore"
)

// Config says where a store is.
type Config struct {
	// Path is the file. Its directory must exist, belong to us, and be writable
	// by nobody else.
	Path string
}

// Store is a backend in a file. It is safe for concurrent use.
type Store struct {
	*kvstore.Stores

	db    *database
	lock  *lock
	close func() error
}

var _ vpn.Stores = (*Store)(nil)

// Open opens a store; one that is not there is made. It checks how the whole
// file is built, to notice damage before anybody relies on it: some 10 ms for
// 10,000 devices.
//
// Errors are ErrInUse, ErrNewer, ErrForeign, ErrDamaged, ErrFull or ErrUnsafe,
// or say in words what else is wrong; then the file is as it was, or, where it
// was being made or migrated, such that the next Open goes on. ctx is for
// opening.
func Open(ctx context.Context, c Config) (*Store, error) { return open(ctx, c, migrations()) }

func open(ctx context.Context, c Config, steps fs.FS) (s *Store, err error) {
	path, err := c.path()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	held, err := claim(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = held.release()
		}
	}()
	if err := safeFile(path); errors.Is(err, fs.ErrNotExist) {
		err = alone(path)
		if err == nil {
			err = errors.Join(create(path), settle(path))
		}
		if err != nil {
			return nil, fmt.Errorf("sqlitestore: make %s: %w", path, err)
		}
	} else if err != nil {
		return nil, err
	}
	fresh, err := inspect(ctx, path, steps)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, path, fresh, steps); err != nil {
		return nil, err
	}
	db := newDatabase(path)
	if err := db.with(ctx, db.writer, func(*conn) error { return nil }); err != nil {
		return nil, errors.Join(err, db.close())
	}
	return &Store{
		Stores: kvstore.New(db), db: db, lock: held,
		close: sync.OnceValue(func() error { return errors.Join(db.close(), held.release()) }),
	}, nil
}

// claim looks at the directory, and takes the lock.
func claim(path string) (*lock, error) {
	if err := safeDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return acquire(path)
}

// path is an absolute one, so that another working directory changes nothing.
func (c Config) path() (string, error) {
	if c.Path == "" {
		return "", errors.New("sqlitestore: Config.Path is empty: name a file")
	}
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return "", fmt.Errorf("sqlitestore: %s: %w", c.Path, err)
	}
	return path, nil
}

// Close waits for what is under way, brings everything into the one file, and
// lets other processes have it. Whatever is asked of the store afterwards is
// ErrClosed; closing again does nothing.
func (s *Store) Close() error { return s.close() }
