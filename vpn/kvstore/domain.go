package kvstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const (
	locationKind = "location"
	deviceKind   = "device"
)

func locationTable(s *Stores) table[location.Location] {
	return table[location.Location]{
		s: s, kind: locationKind, absent: location.ErrNotFound,
		encode: encodeLocation, decode: decodeLocation,
		id:    func(l location.Location) string { return string(l.ID) },
		stamp: (*location.Location).Stamp,
		stays: func(location.Location, location.ID) bool { return true },
		taken: func(c location.Claim) error {
			if c.Prefix.IsValid() {
				return location.ErrOverlap
			}
			return location.ErrExists
		},
	}
}

type locations struct{ table[location.Location] }

func (s locations) Get(ctx context.Context, id location.ID) (location.Location, error) {
	return s.get(ctx, string(id))
}

func (s locations) Update(ctx context.Context, id location.ID, edit func(*location.Location) error) (location.Location, error) {
	return s.update(ctx, string(id), edit)
}

func (s locations) List(ctx context.Context) (all []location.Location, err error) {
	err = s.s.db.View(ctx, func(tx Tx) error {
		all = nil
		for p, err := range tx.Scan(rowsKey(s.kind), after(rowsKey(s.kind))) {
			if err != nil {
				return err
			}
			l, err := s.parse(p.Key, p.Value)
			if err != nil {
				return err
			}
			all = append(all, l)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("kvstore: list locations: %w", err)
	}
	return all, nil
}

func deviceTable(s *Stores) table[peer.Device] {
	return table[peer.Device]{
		s: s, kind: deviceKind, absent: peer.ErrNotFound,
		encode: encodeDevice, decode: decodeDevice,
		id:    func(d peer.Device) string { return string(d.ID) },
		stamp: (*peer.Device).Stamp,
		stays: func(d peer.Device, at location.ID) bool { _, here := d.At(at); return here },
		taken: func(c location.Claim) error {
			if c.Prefix.IsValid() {
				return peer.ErrAddressTaken
			}
			return peer.ErrKeyTaken
		},
	}
}

type devices struct{ table[peer.Device] }

func (s devices) Get(ctx context.Context, id peer.DeviceID) (peer.Device, error) {
	return s.get(ctx, string(id))
}

func (s devices) Update(ctx context.Context, id peer.DeviceID, edit func(*peer.Device) error) (peer.Device, error) {
	return s.update(ctx, string(id), edit)
}

// Find goes by the claim that the device has on its key.
func (s devices) Find(ctx context.Context, key wgkey.Public) (d peer.Device, err error) {
	found := false
	err = s.s.db.View(ctx, func(tx Tx) error {
		d, found = peer.Device{}, false
		claims := peer.Device{ID: "any", Key: key}.Claims()
		who, err := tx.Get(nameKey(claims[0])) // one with a key and no places has this one
		if err != nil || who == nil {
			return err
		}
		_, id, _ := strings.Cut(string(who), "/")
		d, found, err = s.load(tx, id)
		return err
	})
	switch {
	case err != nil:
		return d, s.failed("find", key.String(), err)
	case !found:
		return d, fmt.Errorf("%w: key %s", peer.ErrNotFound, key)
	}
	return d, nil
}

func (s devices) List(ctx context.Context, f peer.Filter) (all []peer.Device, err error) {
	err = s.s.db.View(ctx, func(tx Tx) error {
		all, err = nil, nil
		if f.Location != "" {
			all, err = s.here(tx, f)
		} else {
			all, err = s.everywhere(tx, f)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kvstore: list devices: %w", err)
	}
	return all, nil
}

func (s devices) everywhere(tx Tx, f peer.Filter) (all []peer.Device, err error) {
	rows := rowsKey(s.kind)
	for p, err := range tx.Scan(rows+string(f.After), after(rows)) {
		if err != nil {
			return nil, err
		}
		d, err := s.parse(p.Key, p.Value)
		if err != nil {
			return nil, err
		}
		if f.Match(d) {
			all = append(all, d)
		}
		if f.Limit > 0 && len(all) == f.Limit {
			break
		}
	}
	return all, nil
}

// here goes by what is known of the location, so that a small one costs little
// beside a large one.
func (s devices) here(tx Tx, f peer.Filter) (all []peer.Device, err error) {
	at := atKey(f.Location, s.kind)
	for p, err := range tx.Scan(at+string(f.After), after(at)) {
		if err != nil {
			return nil, err
		}
		d, found, err := s.load(tx, p.Key[len(at):])
		if err != nil {
			return nil, err
		}
		if found && f.Match(d) {
			all = append(all, d)
		}
		if f.Limit > 0 && len(all) == f.Limit {
			break
		}
	}
	return all, nil
}
