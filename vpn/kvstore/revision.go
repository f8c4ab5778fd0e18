package kvstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfastvpn/holdfast/location"
)

// head is what is known of a location's history.
type head struct {
	number uint64 // of the newest write
	floor  uint64 // removals up to this number may be forgotten
	graves uint64 // how many removals are remembered
}

func parseHead(key string, b []byte) (h head, err error) {
	if b == nil {
		return h, nil
	}
	words := strings.Fields(string(b))
	for i, n := range []*uint64{&h.number, &h.floor, &h.graves} {
		if len(words) != 3 {
			err = strconv.ErrSyntax
		} else if err == nil {
			*n, err = strconv.ParseUint(words[i], 10, 64)
		}
	}
	if err != nil {
		err = fmt.Errorf("%s is damaged: %w", key, err)
	}
	return h, err
}

func loadHead(tx Tx, at location.ID) (head, error) {
	b, err := tx.Get(headKey(at))
	if err != nil {
		return head{}, err
	}
	return parseHead(headKey(at), b)
}

// raise gives a location its next number, for a write of the row who, which is
// part of the location afterwards or not.
func (s *Stores) raise(tx Tx, at location.ID, who string, stays bool) (uint64, error) {
	h, err := loadHead(tx, at)
	if err != nil {
		return 0, err
	}
	h.number++
	kind, id, _ := strings.Cut(who, "/")
	var todo []Pair
	put := func(key, value string) {
		p := Pair{Key: key}
		if value != "" {
			p.Value = []byte(value)
		}
		todo = append(todo, p)
	}
	was, err := tx.Get(atKey(at, kind) + id)
	if err != nil {
		return 0, err
	}
	if was != nil { // its newest write is this one now
		put(newKey(at)+string(was), "")
		grave, err := tx.Get(graveKey(at) + string(was))
		if err != nil {
			return 0, err
		}
		if grave != nil {
			put(graveKey(at)+string(was), "")
			h.graves--
		}
	}
	put(newKey(at)+digits(h.number), who)
	put(atKey(at, kind)+id, digits(h.number))
	if !stays {
		put(graveKey(at)+digits(h.number), who)
		h.graves++
	}
	for _, p := range todo {
		if err := tx.Put(p.Key, p.Value); err != nil {
			return 0, err
		}
	}
	if err := s.forget(tx, at, &h); err != nil {
		return 0, err
	}
	return h.number, tx.Put(headKey(at), fmt.Appendf(nil, "%d %d %d", h.number, h.floor, h.graves))
}

// forget drops the oldest removals beyond those that are kept.
func (s *Stores) forget(tx Tx, at location.ID, h *head) error {
	var old []Pair
	for p, err := range tx.Scan(graveKey(at), after(graveKey(at))) {
		if err != nil {
			return err
		}
		if h.graves-uint64(len(old)) <= uint64(s.keep) {
			break
		}
		old = append(old, Pair{p.Key[len(graveKey(at)):], append([]byte(nil), p.Value...)})
	}
	for _, p := range old {
		n, err := strconv.ParseUint(p.Key, 16, 64)
		if err != nil {
			return fmt.Errorf("%s%s is damaged: %w", graveKey(at), p.Key, err)
		}
		kind, id, _ := strings.Cut(string(p.Value), "/")
		for _, key := range []string{graveKey(at) + p.Key, newKey(at) + p.Key, atKey(at, kind) + id} {
			if err := tx.Put(key, nil); err != nil {
				return err
			}
		}
		h.floor = n
		h.graves--
	}
	return nil
}

// loadEpoch returns the epoch, 0 if there is none yet.
func loadEpoch(tx Tx) (uint64, error) {
	b, err := tx.Get(epochKey)
	if err != nil || b == nil {
		return 0, err
	}
	return parseEpoch(b)
}

func parseEpoch(b []byte) (uint64, error) {
	n, err := strconv.ParseUint(string(b), 16, 64)
	if err == nil && n == 0 {
		err = strconv.ErrRange
	}
	if err != nil {
		err = fmt.Errorf("%s is damaged: %w", epochKey, err)
	}
	return n, err
}

// Restart ends the epoch: what is in the database is the beginning of another
// history, and the first look at it afterwards begins a new epoch, in which
// every reader gets everything. It is for copies. A backup of which Restart has
// been called begins an epoch of its own each time that somebody takes it for
// the original; a backup of which it has not needs Restart when it is restored.
func Restart(tx Tx) error { return tx.Put(epochKey, nil) }

// begin gives the store its epoch, unless somebody was faster.
func (s *Stores) begin(ctx context.Context) error {
	return s.db.Update(ctx, func(tx Tx) error {
		have, err := loadEpoch(tx)
		if err != nil || have != 0 {
			return err
		}
		var b [8]byte
		for binary.BigEndian.Uint64(b[:]) == 0 {
			_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
		}
		return tx.Put(epochKey, []byte(digits(binary.BigEndian.Uint64(b[:]))))
	})
}
