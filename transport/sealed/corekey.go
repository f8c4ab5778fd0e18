package sealed

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
)

// SeedSize is the length of a core's key in its stored form, in bytes.
const SeedSize = 32

// CorePublicSize is the length of a core's public key in bytes: that of the KEM (X-Wing,
// 1,216), and an X25519 key to which devices prove their WireGuard keys.
const CorePublicSize = 1216 + 32

// ErrKey is what a key that cannot be read gives.
var ErrKey = errors.New("sealed: not a key")

// CoreKey is the key that devices seal to: all cores of a deployment have it. The zero
// value is no key. It neither prints nor marshals: see Reveal. It is safe for concurrent
// use, but two of them are compared by their fingerprints.
type CoreKey struct {
	hidden

	parts func() *coreParts
}

// coreParts are made of the seed, once.
type coreParts struct {
	seed   [SeedSize]byte
	kem    hpke.PrivateKey
	dh     *ecdh.PrivateKey // for the proof of WireGuard keys, and nothing else
	public CorePublic
}

// NewCoreKey makes a key from the system's random source.
func NewCoreKey() CoreKey {
	var seed [SeedSize]byte
	_, _ = rand.Read(seed[:]) // never fails: crypto/rand ends the program instead
	k, _ := CoreKeyFrom(seed[:])
	return k
}

// CoreKeyFrom makes a key of what Reveal returned, and fails with ErrKey if that has
// another length, or is zero.
func CoreKeyFrom(stored []byte) (CoreKey, error) {
	if len(stored) != SeedSize || [SeedSize]byte(stored) == [SeedSize]byte{} {
		return CoreKey{}, fmt.Errorf("%w: a core's key has %d bytes that are not all zero", ErrKey, SeedSize)
	}
	p := &coreParts{seed: [SeedSize]byte(stored)}
	derive := func(what string) []byte {
		out, _ := hkdf.Key(sha256.New, stored, nil, "holdfast core key v1: "+what, 32) // fails for lengths only
		return out
	}
	var err error
	if p.kem, err = hpke.MLKEM768X25519().NewPrivateKey(derive("sealing")); err != nil {
		return CoreKey{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	if p.dh, err = ecdh.X25519().NewPrivateKey(derive("possession")); err != nil {
		return CoreKey{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	p.public = newCorePublic(p.kem.PublicKey(), p.dh.PublicKey())
	return CoreKey{parts: func() *coreParts { return p }}, nil
}

// IsZero says whether there is no key.
func (k CoreKey) IsZero() bool { return k.parts == nil }

// Reveal returns the bytes to store, sealed: handle with care. Those of the zero key are
// nil.
func (k CoreKey) Reveal() []byte {
	if k.IsZero() {
		return nil
	}
	seed := k.parts().seed
	return seed[:]
}

// Public returns the public half; that of the zero key is the zero CorePublic.
func (k CoreKey) Public() CorePublic {
	if k.IsZero() {
		return CorePublic{}
	}
	return k.parts().public
}

// CorePublic is the public half of a core's key. Whether it is the right one, its
// fingerprint says: anybody may have made it. The zero value is none.
type CorePublic struct {
	kem   hpke.PublicKey
	dh    *ecdh.PublicKey
	print Fingerprint
}

func newCorePublic(kem hpke.PublicKey, dh *ecdh.PublicKey) CorePublic {
	p := CorePublic{kem: kem, dh: dh}
	p.print = sha256.Sum256(append([]byte("holdfast core key v1\x00"), p.Bytes()...))
	return p
}

// ParseCorePublic reads what Bytes wrote, and fails with ErrKey.
func ParseCorePublic(b []byte) (CorePublic, error) {
	if len(b) != CorePublicSize {
		return CorePublic{}, fmt.Errorf("%w: a core's public key has %d bytes", ErrKey, CorePublicSize)
	}
	kem, err := hpke.MLKEM768X25519().NewPublicKey(b[:CorePublicSize-32])
	if err != nil {
		return CorePublic{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	dh, err := ecdh.X25519().NewPublicKey(b[CorePublicSize-32:])
	if err != nil {
		return CorePublic{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return newCorePublic(kem, dh), nil
}

// IsZero says whether there is no key.
func (p CorePublic) IsZero() bool { return p.kem == nil }

// Bytes is what crosses a wire, CorePublicSize bytes; of the zero value there are none.
func (p CorePublic) Bytes() []byte {
	if p.IsZero() {
		return nil
	}
	return append(p.kem.Bytes(), p.dh.Bytes()...)
}

// Fingerprint is what a device knows the key by.
func (p CorePublic) Fingerprint() Fingerprint { return p.print }

// String is the fingerprint's text.
func (p CorePublic) String() string { return p.print.String() }

// Fingerprint is a SHA-256 over a core's public key. It is comparable; the zero value is
// that of no key.
type Fingerprint [32]byte

// String is the fingerprint as OpenSSH writes its own: SHA256: and base64.
func (f Fingerprint) String() string { return "SHA256:" + base64.RawStdEncoding.EncodeToString(f[:]) }

// keyIDSize is how much of a fingerprint names the key in an envelope.
const keyIDSize = 8

func (f Fingerprint) keyID() [keyIDSize]byte { return [keyIDSize]byte(f[:keyIDSize]) }
