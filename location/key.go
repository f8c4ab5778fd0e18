package location

import (
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
