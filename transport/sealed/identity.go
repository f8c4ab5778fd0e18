package sealed

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// Identity is what a device signs with: an Ed25519 key, which never leaves the device.
// The zero value is none. It neither prints nor marshals: see Reveal.
type Identity struct {
	hidden

	key func() ed25519.PrivateKey
}

// NewIdentity makes one from the system's random source.
func NewIdentity() Identity {
	var seed [SeedSize]byte
	_, _ = rand.Read(seed[:]) // never fails: crypto/rand ends the program instead
	i, _ := IdentityFrom(seed[:])
	return i
}

// IdentityFrom makes one of what Reveal returned, and fails with ErrKey if that has
// another length, or is zero.
func IdentityFrom(stored []byte) (Identity, error) {
	if len(stored) != SeedSize || [SeedSize]byte(stored) == [SeedSize]byte{} {
		return Identity{}, fmt.Errorf("%w: an identity has %d bytes that are not all zero", ErrKey, SeedSize)
	}
	key := ed25519.NewKeyFromSeed(stored)
	return Identity{key: func() ed25519.PrivateKey { return key }}, nil
}

// IsZero says whether there is none.
func (i Identity) IsZero() bool { return i.key == nil }

// Reveal returns the bytes to store: handle with care. Those of the zero Identity are
// nil.
func (i Identity) Reveal() []byte {
	if i.IsZero() {
		return nil
	}
	return i.key().Seed()
}

// Public returns the public half; that of the zero Identity is zero.
func (i Identity) Public() IdentityPublic {
	if i.IsZero() {
		return IdentityPublic{}
	}
	return IdentityPublic(i.key()[SeedSize:])
}

// IdentityPublic is what a core knows a device's identity by: an Ed25519 public key. It
// is comparable; the zero value is none.
type IdentityPublic [ed25519.PublicKeySize]byte

// String is the key in base64.
func (p IdentityPublic) String() string { return base64.StdEncoding.EncodeToString(p[:]) }

// signing is the context of signatures (Ed25519ctx, RFC 8032 section 5.1): no signature
// made for anything else is good here.
var signing = &ed25519.Options{Context: "holdfast device request v1"} //nolint:gochecknoglobals // a constant

func (i Identity) sign(message []byte) []byte {
	sig, err := i.key().Sign(nil, message, signing)
	if err != nil { // the context is short enough, and nothing else is refused
		return make([]byte, ed25519.SignatureSize)
	}
	return sig
}

func verify(key IdentityPublic, message, signature []byte) bool {
	return ed25519.VerifyWithOptions(key[:], message, signature, signing) == nil
}
