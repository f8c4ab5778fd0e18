package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"modernc.org/sqlite"
)

// patience is how long to wait for a lock of a program that is not ours.
const patience = 2 * time.Second

// mode is what a connection is for.
type mode string

const (
	// writes is for the one that writes: WAL, so that nobody waits for those who
	// look, synced at each commit; what a long look made of it is cut to 64 MiB.
	writes mode = "mode=rw&_txlock=immediate&_journal_mode=WAL&_synchronous=FULL&_pragma=journal_size_limit(67108864)"
	// looks is for those that look while another writes.
	looks mode = "mode=rw&_query_only=1"
	// peeks is for a file that may not be ours, and for copying: it writes nothing
	// to it. What another connection has beside the file is seen.
	peeks mode = "mode=ro"
	// stares leaves nothing beside the file either. There must be nothing yet.
	stares mode = "mode=ro&immutable=1"
	// copies is for a backup that is being made: one file, nothing beside it.
	copies mode = "mode=rw&_txlock=immediate&_journal_mode=DELETE&_synchronous=FULL"
)

func (m mode) connector(path string) (driver.Connector, error) {
	where := url.URL{Scheme: "file", Path: path, RawQuery: fmt.Sprintf(
		"%s&_busy_timeout=%d&_defensive=1&_dqs=0&_error_rc=1&_pragma=temp_store(2)&_pragma=trusted_schema(0)&_pragma=cell_size_check(1)",
		m, patience.Milliseconds())}
	return sqlite.NewConnector(where.String())
}

// glance is the way to look at a file that is not open.
func glance(path string) mode {
	if _, err := os.Lstat(path + "-journal"); err == nil {
		return looks // who was killed in the middle of a write left it: only who may write can take that back
	}
	if _, err := os.Lstat(path + "-wal"); err == nil {
		return peeks
	}
	return stares
}

// conn is a connection, for one at a time. It opens itself when it is first
// used, and again after it has failed. database/sql is not between, because we
// need few of its services and pay for all at each key.
//
// A context that ends interrupts what runs, so that only what changes nothing
// gets one that can end: interrupting a write is a way to lose track of what was
// written.
type conn struct {
	path string
	mode mode

	c        driver.Conn // nil: not open
	prepared map[string][]*stmt
}

// stmt is a prepared statement. SQLite steps through one set of rows with it.
type stmt struct {
	driver.Stmt

	text string
}

func (c *conn) open(ctx context.Context) error {
	if c.c != nil {
		return nil
	}
	connector, err := c.mode.connector(c.path)
	if err != nil {
		return fmt.Errorf("sqlitestore: open %s: %w", c.path, err)
	}
	if c.c, err = connector.Connect(ctx); err != nil {
		c.c = nil
		return explain(c.path, err)
	}
	c.prepared = map[string][]*stmt{}
	return nil
}

func (c *conn) close() error {
	if c.c == nil {
		return nil
	}
	var errs []error
	for _, free := range c.prepared {
		for _, s := range free {
			errs = append(errs, s.Close())
		}
	}
	errs = append(errs, c.c.Close())
	c.c, c.prepared = nil, nil
	return explain(c.path, errors.Join(errs...))
}

// take returns a statement that nobody is stepping through, for give.
func (c *conn) take(text string) (*stmt, error) {
	if free := c.prepared[text]; len(free) > 0 {
		s := free[len(free)-1]
		c.prepared[text] = free[:len(free)-1]
		return s, nil
	}
	s, err := c.c.Prepare(text)
	if err != nil {
		return nil, explain(c.path, err)
	}
	return &stmt{s, text}, nil
}

func (c *conn) give(s *stmt) { c.prepared[s.text] = append(c.prepared[s.text], s) }

// exec runs a statement.
func (c *conn) exec(ctx context.Context, text string, args ...any) error {
	s, err := c.take(text)
	if err != nil {
		return err
	}
	defer c.give(s)
	do, ok := s.Stmt.(driver.StmtExecContext)
	if !ok {
		return errDriver
	}
	if _, err = do.ExecContext(ctx, named(args)); err != nil {
		return explain(c.path, err)
	}
	return nil
}

// rows yields each row of a query, in memory that the next one reuses; values
// are copies. It ends at yield's first false or error.
func (c *conn) rows(ctx context.Context, text string, yield func(row []driver.Value) (bool, error), args ...any) error {
	s, err := c.take(text)
	if err != nil {
		return err
	}
	defer c.give(s)
	do, ok := s.Stmt.(driver.StmtQueryContext)
	if !ok {
		return errDriver
	}
	rows, err := do.QueryContext(ctx, named(args))
	if err != nil {
		return explain(c.path, err)
	}
	defer func() { _ = rows.Close() }() // repeats the error of the last row
	row := make([]driver.Value, len(rows.Columns()))
	for {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return explain(c.path, err)
		}
		if more, err := yield(row); err != nil || !more {
			return err
		}
	}
}

// one returns the only value of the only row of a query, nil if there is none.
func (c *conn) one(ctx context.Context, text string, args ...any) (value driver.Value, err error) {
	err = c.rows(ctx, text, func(row []driver.Value) (bool, error) {
		value = row[0]
		if b, ok := value.([]byte); ok && b == nil {
			value = []byte{} // an empty blob
		}
		return false, nil
	}, args...)
	return value, err
}

func named(args []any) []driver.NamedValue {
	all := make([]driver.NamedValue, len(args))
	for i, a := range args {
		all[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return all
}

var errDriver = errors.New("sqlitestore: the SQLite driver has changed: this is a bug")
