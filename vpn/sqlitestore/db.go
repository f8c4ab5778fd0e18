package sqlitestore

import (
	"context"
	"errors"
	"iter"

	"database/sql/driver"

	"github.com/holdfastvpn/holdfast/vpn/kvstore"
)

// readers is how many look at the same time; others wait.
const readers = 4

// database is the file as a kvstore.DB: one ordered table, one connection that
// writes, and several that look.
type database struct {
	path   string
	writer chan *conn
	looker chan *conn
	closed chan struct{}
}

var _ kvstore.DB = (*database)(nil)

func newDatabase(path string) *database {
	db := &database{
		path:   path,
		writer: make(chan *conn, 1),
		looker: make(chan *conn, readers),
		closed: make(chan struct{}),
	}
	db.writer <- &conn{path: path, mode: writes}
	for range readers {
		db.looker <- &conn{path: path, mode: looks}
	}
	return db
}

// View runs do on one snapshot.
func (db *database) View(ctx context.Context, do func(kvstore.Tx) error) error {
	return db.with(ctx, db.looker, func(c *conn) error { return c.transact(ctx, "BEGIN", do) })
}

// Update runs do and commits, one Update after the other.
func (db *database) Update(ctx context.Context, do func(kvstore.Tx) error) error {
	return db.with(ctx, db.writer, func(c *conn) error { return c.transact(ctx, "BEGIN IMMEDIATE", do) })
}

// with waits for a connection.
func (db *database) with(ctx context.Context, pool chan *conn, do func(*conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-db.closed:
		return ErrClosed
	case c := <-pool:
		defer func() { pool <- c }()
		select {
		case <-db.closed: // both were ready
			return ErrClosed
		default:
		}
		if err := c.open(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		return do(c)
	}
}

// close waits for those who are at it, and closes the writer last, so that what
// is beside the file goes into it.
func (db *database) close() error {
	close(db.closed)
	var errs []error
	for range readers {
		errs = append(errs, (<-db.looker).close())
	}
	errs = append(errs, (<-db.writer).close())
	return errors.Join(errs...)
}

// transact runs do between begin and COMMIT, or ROLLBACK if anything fails, if
// ctx has ended, or if do never returns.
func (c *conn) transact(ctx context.Context, begin string, do func(kvstore.Tx) error) error {
	background := context.WithoutCancel(ctx)
	if err := c.exec(background, begin); err != nil {
		return err
	}
	open := true
	defer func() {
		if !open {
			return
		}
		// SQLite has rolled back by itself after some failures, and says so with
		// an error. In either case, a connection that is new is right.
		if err := c.exec(background, "ROLLBACK"); err != nil {
			_ = c.close()
		}
	}()
	t := &tx{c: c, ctx: ctx, background: background, look: begin == "BEGIN"}
	err := do(t)
	switch {
	case err != nil:
		return err
	case t.failed != nil: // and do kept it to itself
		return t.failed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if err := c.exec(background, "COMMIT"); err != nil {
		return err
	}
	open = false
	return nil
}

// tx is a transaction under way.
type tx struct {
	c    *conn
	ctx  context.Context //nolint:containedctx // a transaction is shorter than the call that it is for
	look bool

	// background is for statements, which run to their end.
	background context.Context //nolint:containedctx // the same

	failed error // what went wrong first: after it, SQLite may be outside the transaction
}

var errView = errors.New("sqlitestore: put within a view")

// check comes before each step.
func (t *tx) check() error {
	if t.failed == nil {
		t.failed = t.ctx.Err()
	}
	return t.failed
}

func (t *tx) fail(err error) error {
	if t.failed == nil {
		t.failed = err
	}
	return err
}

func (t *tx) Get(key string) ([]byte, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	value, err := t.c.one(t.background, "SELECT value FROM pairs WHERE key = ?", []byte(key))
	if err != nil {
		return nil, t.fail(err)
	}
	b, _ := value.([]byte)
	return b, nil
}

func (t *tx) Put(key string, value []byte) error {
	if err := t.check(); err != nil {
		return err
	}
	if t.look {
		return t.fail(errView)
	}
	if value == nil {
		return t.fail(t.c.exec(t.background, "DELETE FROM pairs WHERE key = ?", []byte(key)))
	}
	return t.fail(t.c.exec(t.background,
		"INSERT INTO pairs (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", []byte(key), value))
}

func (t *tx) Scan(from, to string) iter.Seq2[kvstore.Pair, error] {
	return func(yield func(kvstore.Pair, error) bool) {
		if err := t.check(); err != nil {
			yield(kvstore.Pair{}, err)
			return
		}
		left := false
		err := t.c.rows(t.background, "SELECT key, value FROM pairs WHERE key >= ? AND key < ? ORDER BY key", func(row []driver.Value) (bool, error) {
			key, _ := row[0].([]byte)
			value, _ := row[1].([]byte)
			if value == nil {
				value = []byte{}
			}
			left = !yield(kvstore.Pair{Key: string(key), Value: value}, nil)
			if left {
				return false, nil
			}
			return true, t.ctx.Err()
		}, []byte(from), []byte(to))
		if err != nil && !left {
			yield(kvstore.Pair{}, t.fail(err))
		}
	}
}
