package location

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Reveal opens the location's private key and checks that it belongs to
// PublicKey. The error is seal.ErrUnreadable if it cannot be opened, and quotes
// nothing of the key.
func (l Location) Reveal(keys *seal.Keyring) (wgkey.Private, error) {
	raw, err := keys.Open(l.Key, l.KeyBound())
	if err != nil {
		return wgkey.Private{}, fmt.Errorf("location: open the key of %q: %w", l.Name, err)
	}
	if len(raw) != wgkey.Size {
		return wgkey.Private{}, fmt.Errorf("location: open the key of %q: %w: it has %d bytes, not %d", l.Name, seal.ErrUnreadable, len(raw), wgkey.Size)
	}
	key := wgkey.PrivateFrom([wgkey.Size]byte(raw))
	if key.IsZero() || key.Public() != l.PublicKey {
		return wgkey.Private{}, fmt.Errorf("location: open the key of %q: %w: it does not belong to the public key", l.Name, seal.ErrUnreadable)
	}
	return key, nil
}

// setKey seals key into l, whose ID is set.
func (l *Location) setKey(keys *seal.Keyring, key wgkey.Private) {
	raw := key.Reveal()
	l.PublicKey = key.Public()
	l.Key = keys.Seal(raw[:], l.KeyBound())
}

// Reseal seals every private key anew that was not sealed with the ring's first
// key, and returns how many: a step in the rotation of the ring. One that cannot
// be opened stays, and is in the error; the others are done all the same.
func (s *Service) Reseal(ctx context.Context) (int, error) {
	all, err := s.store.List(ctx)
	if err != nil {
		return 0, fmt.Errorf("location: seal keys anew: %w", err)
	}
	var done int
	var errs []error
	for _, l := range all {
		if !s.keys.Stale(l.Key) {
			continue
		}
		_, err := s.store.Update(ctx, l.ID, func(l *Location) error {
			if l.ID == "" || !s.keys.Stale(l.Key) {
				return nil // it went, or somebody else did it
			}
			key, err := l.Reveal(s.keys)
			if err == nil {
				l.setKey(s.keys, key)
			}
			return err
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("location: seal the key of %q anew: %w", l.Name, err))
			continue
		}
		done++
	}
	return done, errors.Join(errs...)
}
