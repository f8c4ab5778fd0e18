package kvstore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/holdfastvpn/holdfast/vpn"
)

type records struct{ s *Stores }

func (r records) Get(ctx context.Context, key string) (value []byte, err error) {
	err = r.s.db.View(ctx, func(tx Tx) error {
		b, err := tx.Get(recordKey + key)
		value = bytes.Clone(b)
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("kvstore: get record %q: %w", key, err)
	case value == nil:
		return nil, fmt.Errorf("%w: %q", vpn.ErrNotFound, key)
	}
	return value, nil
}

func (r records) List(ctx context.Context, prefix, since string, limit int) (all []vpn.Record, err error) {
	from := recordKey + prefix
	if since != "" {
		from = max(from, recordKey+since+"\x00")
	}
	err = r.s.db.View(ctx, func(tx Tx) error {
		all = nil
		for p, err := range tx.Scan(from, after(recordKey+prefix)) {
			if err != nil {
				return err
			}
			all = append(all, vpn.Record{Key: p.Key[len(recordKey):], Value: bytes.Clone(p.Value)})
			if limit > 0 && len(all) == limit {
				break
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("kvstore: list records %q: %w", prefix, err)
	}
	return all, nil
}

func (r records) Update(ctx context.Context, key string, edit func(old []byte) ([]byte, error)) error {
	var refused error // what edit says is the caller's, and comes back as it is
	err := r.s.db.Update(ctx, func(tx Tx) error {
		old, err := tx.Get(recordKey + key)
		if err != nil {
			return err
		}
		var value []byte
		if value, refused = edit(bytes.Clone(old)); refused != nil {
			return refused
		}
		return tx.Put(recordKey+key, bytes.Clone(value))
	})
	switch {
	case refused != nil:
		return refused
	case err != nil:
		return fmt.Errorf("kvstore: update record %q: %w", key, err)
	}
	r.s.hints.give(vpn.Hint{Record: key})
	return nil
}
