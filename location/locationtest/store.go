// Package locationtest has the contract of location.Store as running code:
// [RunStore] says whether an implementation is right. [Store] is the smallest one
// that is.
package locationtest

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/holdfastvpn/holdfast/location"
)

// Store is a location.Store in memory that does everything the plainest way: for
// tests, and to read. It stamps rows with the number of the location's writes.
// Make one with NewStore.
type Store struct {
	mu   sync.Mutex
	rows map[location.ID]location.Location
	revs map[location.ID]uint64
}

var _ location.Store = (*Store)(nil)

// NewStore makes an empty store.
func NewStore() *Store {
	return &Store{rows: map[location.ID]location.Location{}, revs: map[location.ID]uint64{}}
}

// Get is location.Store's.
func (s *Store) Get(ctx context.Context, id location.ID) (location.Location, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return location.Location{}, err
	}
	l, ok := s.rows[id]
	if !ok {
		return location.Location{}, location.ErrNotFound
	}
	return l.Clone(), nil
}

// List is location.Store's.
func (s *Store) List(ctx context.Context) ([]location.Location, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out []location.Location
	for _, l := range s.rows {
		out = append(out, l.Clone())
	}
	slices.SortFunc(out, func(a, b location.Location) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out, nil
}

// Update is location.Store's.
func (s *Store) Update(ctx context.Context, id location.ID, edit func(*location.Location) error) (location.Location, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return location.Location{}, err
	}
	old := s.rows[id]
	row := old.Clone()
	if err := edit(&row); err != nil {
		return location.Location{}, err
	}
	row = row.Clone() // edit may have kept what it put in
	for other, o := range s.rows {
		if err := clash(row.Claims(), o.Claims()); other != id && err != nil {
			return location.Location{}, err
		}
	}
	for _, touched := range row.Touches(old) {
		s.revs[touched]++
		row.Stamp(touched, s.revs[touched])
	}
	if row.ID == "" {
		delete(s.rows, id)
		return location.Location{}, nil
	}
	s.rows[id] = row
	return row.Clone(), nil
}

func clash(ours, theirs []location.Claim) error {
	for _, a := range ours {
		for _, b := range theirs {
			switch {
			case a.Scope != b.Scope:
			case a.Prefix.IsValid() && a.Prefix.Overlaps(b.Prefix):
				return location.ErrOverlap
			case !a.Prefix.IsValid() && !b.Prefix.IsValid() && a.Name == b.Name:
				return location.ErrExists
			}
		}
	}
	return nil
}
