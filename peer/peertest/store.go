// Package peertest has the contract of peer.Store as running code: [RunStore]
// says whether an implementation is right. [Store] is the smallest one that is.
package peertest

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Store is a peer.Store in memory that does everything the plainest way: for
// tests, and to read. It stamps places with the number of writes that touched
// their location. Make one with NewStore.
type Store struct {
	mu     sync.Mutex
	rows   map[peer.DeviceID]peer.Device
	claims map[peer.DeviceID][]location.Claim // of rows, so that one need not ask again
	revs   map[location.ID]uint64
}

var _ peer.Store = (*Store)(nil)

// NewStore makes an empty store.
func NewStore() *Store {
	return &Store{
		rows:   map[peer.DeviceID]peer.Device{},
		claims: map[peer.DeviceID][]location.Claim{},
		revs:   map[location.ID]uint64{},
	}
}

// Get is peer.Store's.
func (s *Store) Get(ctx context.Context, id peer.DeviceID) (peer.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return peer.Device{}, err
	}
	d, ok := s.rows[id]
	if !ok {
		return peer.Device{}, peer.ErrNotFound
	}
	return d.Clone(), nil
}

// Find is peer.Store's.
func (s *Store) Find(ctx context.Context, key wgkey.Public) (peer.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return peer.Device{}, err
	}
	for _, d := range s.rows {
		if d.Key == key {
			return d.Clone(), nil
		}
	}
	return peer.Device{}, peer.ErrNotFound
}

// List is peer.Store's.
func (s *Store) List(ctx context.Context, f peer.Filter) ([]peer.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out []peer.Device
	for _, d := range s.rows {
		if f.Match(d) {
			out = append(out, d.Clone())
		}
	}
	slices.SortFunc(out, func(a, b peer.Device) int { return strings.Compare(string(a.ID), string(b.ID)) })
	if f.Limit > 0 && len(out) > f.Limit {
		out = out[:f.Limit]
	}
	return out, nil
}

// Update is peer.Store's.
func (s *Store) Update(ctx context.Context, id peer.DeviceID, edit func(*peer.Device) error) (peer.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return peer.Device{}, err
	}
	old := s.rows[id]
	row := old.Clone()
	if err := edit(&row); err != nil {
		return peer.Device{}, err
	}
	row = row.Clone() // edit may have kept what it put in
	claims := row.Claims()
	for other, theirs := range s.claims {
		if err := clash(claims, theirs); other != id && err != nil {
			return peer.Device{}, err
		}
	}
	for _, touched := range row.Touches(old) {
		s.revs[touched]++
		row.Stamp(touched, s.revs[touched])
	}
	if row.ID == "" {
		delete(s.rows, id)
		delete(s.claims, id)
		return peer.Device{}, nil
	}
	s.rows[id], s.claims[id] = row, claims
	return row.Clone(), nil
}

func clash(ours, theirs []location.Claim) error {
	for _, a := range ours {
		for _, b := range theirs {
			switch {
			case a.Scope != b.Scope:
			case a.Prefix.IsValid() && a.Prefix.Overlaps(b.Prefix):
				return peer.ErrAddressTaken
			case !a.Prefix.IsValid() && !b.Prefix.IsValid() && a.Name == b.Name:
				return peer.ErrKeyTaken
			}
		}
	}
	return nil
}
