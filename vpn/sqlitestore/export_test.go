package sqlitestore

import (
	"context"
	"io/fs"

	"github.com/holdfastvpn/holdfast/vpn/kvstore"
)

// OpenWith opens a store with other migrations.
func OpenWith(ctx context.Context, c Config, steps fs.FS) (*Store, error) { return open(ctx, c, steps) }

// DB is what is under the store.
func (s *Store) DB() kvstore.DB { return s.db }

// Ask asks the connection that writes, or one that looks.
func (s *Store) Ask(ctx context.Context, write bool, text string) (value any, err error) {
	pool := s.db.looker
	if write {
		pool = s.db.writer
	}
	err = s.db.with(ctx, pool, func(c *conn) error {
		value, err = c.one(ctx, text)
		return err
	})
	return value, err
}

// Ask asks a file that is not open.
func Ask(path, text string) (any, error) {
	c := &conn{path: path, mode: copies}
	if err := c.open(context.Background()); err != nil {
		return nil, err
	}
	defer func() { _ = c.close() }()
	return c.one(context.Background(), text)
}

// Exec changes a file that is not open.
func Exec(path, text string) error {
	c := &conn{path: path, mode: writes}
	if err := c.open(context.Background()); err != nil {
		return err
	}
	defer func() { _ = c.close() }()
	return c.exec(context.Background(), text)
}
