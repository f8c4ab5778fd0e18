package peer_test

import (
	"context"
	"errors"

	"github.com/holdfastvpn/holdfast/peer"
)

// swift is a store where somebody else is quicker: before runs before the first
// Update.
type swift struct {
	peer.Store
	before func()
}

func (s *swift) Update(ctx context.Context, id peer.DeviceID, edit func(*peer.Device) error) (peer.Device, error) {
	if f := s.before; f != nil {
		s.before = nil
		f()
	}
	return s.Store.Update(ctx, id, edit)
}

// failing is a store that cannot write one row.
type failing struct {
	peer.Store
	id peer.DeviceID
}

var errDisk = errors.New("the disk is full")

func (s failing) Update(ctx context.Context, id peer.DeviceID, edit func(*peer.Device) error) (peer.Device, error) {
	if id == s.id {
		return peer.Device{}, errDisk
	}
	return s.Store.Update(ctx, id, edit)
}

// stumbling is a store that cannot write for some time.
type stumbling struct {
	peer.Store
	times int
}

func (s *stumbling) Update(ctx context.Context, id peer.DeviceID, edit func(*peer.Device) error) (peer.Device, error) {
	if s.times > 0 {
		s.times--
		return peer.Device{}, errDisk
	}
	return s.Store.Update(ctx, id, edit)
}
