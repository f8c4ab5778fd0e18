package peer

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// errOwner says that an edit gave a device an owner whose standing is not known
// yet: look, and edit again.
var errOwner = errors.New("peer: another owner's device now")

// standingOf reads what an owner's row says. Devices without an owner have none.
func (s *Service) standingOf(ctx context.Context, owner string) (Standing, error) {
	if s.standing == nil || owner == "" {
		return Standing{}, nil
	}
	now, err := s.standing(ctx, owner)
	if err != nil {
		return Standing{}, fmt.Errorf("what owner %q may is not known: %w", owner, err)
	}
	return now, nil
}

// heed reads an owner's row once more after a device was written by what it said
// before. Who disables an owner writes the row first and then the devices, so one
// of the two sees the other. When the row cannot be read now, the device stays as
// it is until whoever keeps the rows compares them.
func (s *Service) heed(ctx context.Context, saved Device) (Device, error) {
	for s.standing != nil && saved.Owner != "" {
		now, err := s.standingOf(ctx, saved.Owner)
		if err != nil || now.same(saved.Standing) {
			return saved, nil //nolint:nilerr // see above
		}
		next, err := s.stand(ctx, saved.ID, saved.Owner, now)
		if err != nil {
			return saved, err
		}
		if next.ID == "" || next.Owner != saved.Owner {
			return next, nil // deleted, or somebody else's
		}
		saved = next
	}
	return saved, nil
}

// stand copies a standing into one device, if it is still the owner's.
func (s *Service) stand(ctx context.Context, id DeviceID, owner string, standing Standing) (Device, error) {
	return s.store.Update(ctx, id, func(row *Device) error {
		if row.ID != "" && row.Owner == owner {
			row.Standing = Device{Standing: standing}.Clone().Standing
		}
		return nil
	})
}

func (s Standing) same(o Standing) bool {
	return s.Disabled == o.Disabled && slices.Equal(s.Groups, o.Groups)
}
