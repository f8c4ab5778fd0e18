package kvstore

import (
	"context"
	"fmt"
	"reflect"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn"
)

// row is what the types of the domain tell a store.
type row[T any] interface {
	Claims() []location.Claim
	Touches(old T) []location.ID
}

// table keeps rows of one kind.
type table[T row[T]] struct {
	s      *Stores
	kind   string
	encode func(T) ([]byte, error)
	decode func([]byte) (T, error)
	id     func(T) string
	stamp  func(*T, location.ID, uint64)
	stays  func(T, location.ID) bool // whether the row, unless deleted, is part of a location
	taken  func(location.Claim) error
	absent error
}

// load reads a row; absent is the zero row.
func (t table[T]) load(tx Tx, id string) (row T, found bool, err error) {
	b, err := tx.Get(rowKey(t.kind, id))
	if err != nil || b == nil {
		return row, false, err
	}
	row, err = t.parse(rowKey(t.kind, id), b)
	return row, err == nil, err
}

func (t table[T]) parse(key string, b []byte) (T, error) {
	row, err := t.decode(b)
	if err != nil {
		err = fmt.Errorf("%s is damaged, or of a newer version: %w", key, err)
	}
	return row, err
}

func (t table[T]) get(ctx context.Context, id string) (row T, err error) {
	found := false
	err = t.s.db.View(ctx, func(tx Tx) error {
		row, found, err = t.load(tx, id)
		return err
	})
	switch {
	case err != nil:
		return row, t.failed("get", id, err)
	case !found:
		return row, fmt.Errorf("%w: %q", t.absent, id)
	}
	return row, nil
}

// update is the one way in which rows are written.
func (t table[T]) update(ctx context.Context, id string, edit func(*T) error) (T, error) {
	var row T
	var touched []location.ID
	var refused error // what edit says is the caller's, and comes back as it is
	err := t.s.db.Update(ctx, func(tx Tx) error {
		var err error
		row, touched, refused, err = t.write(tx, id, edit)
		if refused != nil {
			return refused
		}
		return err
	})
	switch {
	case refused != nil:
		return *new(T), refused
	case err != nil:
		return *new(T), t.failed("update", id, err)
	}
	for _, at := range touched {
		t.s.hints.give(vpn.Hint{Location: at})
	}
	return row, nil
}

func (t table[T]) write(tx Tx, id string, edit func(*T) error) (row T, touched []location.ID, refused, err error) {
	old, _, err := t.load(tx, id)
	if err != nil {
		return row, nil, nil, err
	}
	row, _, err = t.load(tx, id) // a copy of its own
	if err != nil {
		return row, nil, nil, err
	}
	if refused = edit(&row); refused != nil {
		return row, nil, refused, nil
	}
	gone := reflect.ValueOf(row).IsZero()
	if !gone && t.id(row) != id {
		return row, nil, nil, fmt.Errorf("the row says that its ID is %q", t.id(row))
	}
	if err = claim(tx, holder(t.kind, id), old.Claims(), row.Claims(), t.taken); err != nil {
		return row, nil, nil, err
	}
	touched = row.Touches(old)
	for _, at := range touched {
		rev, err := t.s.raise(tx, at, holder(t.kind, id), !gone && t.stays(row, at))
		if err != nil {
			return row, nil, nil, err
		}
		t.stamp(&row, at, rev)
	}
	var b []byte
	if !gone {
		if b, err = t.encode(row); err != nil {
			return row, nil, nil, err
		}
	}
	return row, touched, nil, tx.Put(rowKey(t.kind, id), b)
}

func (t table[T]) failed(doing, id string, err error) error {
	return fmt.Errorf("kvstore: %s %s %q: %w", doing, t.kind, id, err)
}
