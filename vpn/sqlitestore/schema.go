package sqlitestore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/pressly/goose/v3"
)

// application marks SQLite files that are ours: "Hfst". `file` shows it.
const application = 0x48667374

//go:embed migrations/*.sql
var embedded embed.FS

// migrations are the steps from an empty file to this version's schema. They go
// forward only.
func migrations() fs.FS {
	sub, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return embedded // cannot be: the name is right
	}
	return sub
}

// newest returns the number of the last step.
func newest(steps fs.FS) (last int64, err error) {
	names, err := fs.Glob(steps, "*.sql")
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		n, err := goose.NumericComponent(path.Base(name))
		if err != nil {
			return 0, err
		}
		last = max(last, n)
	}
	return last, nil
}

// inspect says whether a file is a store that we can work with, and is built as
// it should be. It changes nothing. An empty file, or a database in which
// nothing is, becomes a store: fresh is true.
func inspect(ctx context.Context, file string, steps fs.FS) (fresh bool, err error) {
	c := &conn{path: file, mode: glance(file)}
	if err := c.open(ctx); err != nil {
		return false, err
	}
	defer func() { _ = c.close() }() // nothing was written
	id, err := c.one(ctx, "PRAGMA application_id")
	if err != nil {
		return false, err
	}
	tables, err := c.one(ctx, "SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return false, err
	}
	switch {
	case id == int64(0) && tables == int64(0):
		return true, nil
	case id != int64(application):
		return false, fmt.Errorf("%w: %s is an SQLite database of another program; name another file", ErrForeign, file)
	}
	if err := known(ctx, c, steps); err != nil {
		return false, err
	}
	report, err := c.one(ctx, "PRAGMA quick_check(1)")
	switch {
	case err != nil:
		return false, err
	case report != "ok":
		return false, fmt.Errorf("%w: %s; move it away with its -wal file, and restore a backup: %v", ErrDamaged, file, report)
	}
	return false, nil
}

// known refuses what a newer version made.
func known(ctx context.Context, c *conn, steps fs.FS) error {
	last, err := newest(steps)
	if err != nil {
		return fmt.Errorf("sqlitestore: migrations: %w", err)
	}
	versioned, err := c.one(ctx, "SELECT count(*) FROM sqlite_schema WHERE name = 'goose_db_version'")
	if err != nil || versioned == int64(0) {
		return err
	}
	is, err := c.one(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied")
	if err != nil {
		return err
	}
	if n, ok := is.(int64); !ok || n > last {
		return fmt.Errorf("%w: made by a newer holdfast: %s has schema %v, this one knows %d; use the newer one, or restore a backup from before",
			ErrNewer, c.path, is, last)
	}
	return nil
}

// migrate makes a store of an inspected file, or the newest of an old one: all
// steps that are missing, or none.
func migrate(ctx context.Context, file string, fresh bool, steps fs.FS) error {
	connector, err := writes.connector(file)
	if err != nil {
		return fmt.Errorf("sqlitestore: open %s: %w", file, err)
	}
	db := sql.OpenDB(whole{connector})
	db.SetMaxOpenConns(1)
	if err := errors.Join(upgrade(ctx, db, fresh, steps), db.Close()); err != nil {
		return fmt.Errorf("sqlitestore: bring %s to this version's schema; nothing was changed: %w", file, explain(file, err))
	}
	return nil
}

func upgrade(ctx context.Context, db *sql.DB, fresh bool, steps fs.FS) error {
	steward, err := goose.NewProvider(goose.DialectSQLite3, db, steps,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if fresh {
		_, err = db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", application))
	}
	if err == nil {
		_, err = steward.Up(ctx)
	}
	if err == nil {
		_, err = db.ExecContext(ctx, "COMMIT")
	}
	return err // what was not committed ends with the connection
}

// whole makes connections that are inside a transaction already: those that are
// begun on them are parts of it.
type whole struct{ driver.Connector }

func (w whole) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := w.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return inside{c}, nil
}

type inside struct{ driver.Conn }

func (c inside) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	return part{c}, c.do(ctx, "SAVEPOINT part")
}

func (c inside) do(ctx context.Context, text string) error {
	s, err := c.Prepare(text)
	if err != nil {
		return err
	}
	e, ok := s.(driver.StmtExecContext)
	if !ok {
		return errors.Join(errDriver, s.Close())
	}
	_, err = e.ExecContext(ctx, nil)
	return errors.Join(err, s.Close())
}

type part struct{ c inside }

func (p part) Commit() error { return p.c.do(context.Background(), "RELEASE part") }

func (p part) Rollback() error {
	return errors.Join(p.c.do(context.Background(), "ROLLBACK TO part"), p.c.do(context.Background(), "RELEASE part"))
}
