// Package wgkey has one type per kind of WireGuard key, so that a secret can
// not be used, printed or stored by mistake.
//
// [Public] is an ordinary value: comparable, printable, usable as a map key.
// [Private] and [Preshared] are secrets: they are comparable, but they print as
// "(secret)" under every verb and refuse to marshal, because a redacted key
// that was stored would be a lost key. Reveal is the one way to their bytes, so
// that a search for it lists every place that handles a secret.
//
// The package does not keep secrets at rest (see package seal) and does not
// wipe memory: Go may have copied the bytes already.
package wgkey

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"unique"
)

// Size is the length of every WireGuard key in bytes.
const Size = 32

// textSize is the length of a key in base64 with padding.
const textSize = 44

// ErrInvalid is what every parse failure is.
var ErrInvalid = errors.New("wgkey: not a key")

// ErrSecret is what marshalling a secret gives.
var ErrSecret = errors.New("wgkey: a secret does not marshal: seal it, or Reveal it")

// Public is a Curve25519 public key. The zero value is no key.
type Public [Size]byte

// ParsePublic reads a public key in standard base64, 44 characters with
// padding, as wg(8) prints it. The zero key is refused: no key pair has it.
func ParsePublic(s string) (Public, error) {
	b, err := parse("public key", s)
	if err != nil {
		return Public{}, err
	}
	if b == [Size]byte{} {
		return Public{}, fmt.Errorf("%w: public key: all bytes are zero", ErrInvalid)
	}
	return b, nil
}

// String returns the key in base64, as wg(8) prints it.
func (k Public) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// IsZero says whether k is no key.
func (k Public) IsZero() bool { return k == Public{} }

// Compare orders keys by their bytes.
func (k Public) Compare(other Public) int { return bytes.Compare(k[:], other[:]) }

// MarshalText returns the key in base64.
func (k Public) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText wrote; the zero key is accepted, since
// a zero field marshals to it.
func (k *Public) UnmarshalText(text []byte) error {
	b, err := parse("public key", string(text))
	if err == nil {
		*k = b
	}
	return err
}

// secret is what the secret kinds share. It holds its bytes behind a handle,
// which is comparable like the bytes, because fmt does not ask a value in an
// unexported field how to print it. Of a handle to a string fmt can only print
// the address; one to an array it would follow.
type secret struct{ h unique.Handle[string] }

func conceal(b [Size]byte) secret {
	if b == [Size]byte{} {
		return secret{}
	}
	return secret{unique.Make(string(b[:]))}
}

// Format prints "(secret)" for every verb, so that %x and %v of a struct that
// holds a secret show nothing either.
func (secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(secret)")) }

// String returns "(secret)".
func (secret) String() string { return "(secret)" }

// GoString returns "(secret)".
func (secret) GoString() string { return "(secret)" }

// LogValue logs "(secret)".
func (secret) LogValue() slog.Value { return slog.StringValue("(secret)") }

// MarshalText fails with ErrSecret.
func (secret) MarshalText() ([]byte, error) { return nil, ErrSecret }

// MarshalJSON fails with ErrSecret.
func (secret) MarshalJSON() ([]byte, error) { return nil, ErrSecret }

// MarshalBinary fails with ErrSecret; encoding/gob uses it.
func (secret) MarshalBinary() ([]byte, error) { return nil, ErrSecret }

// IsZero says whether there is no key.
func (s secret) IsZero() bool { return s == secret{} }

// Reveal returns the key's bytes: handle with care.
func (s secret) Reveal() [Size]byte {
	if s.IsZero() {
		return [Size]byte{}
	}
	return [Size]byte([]byte(s.h.Value()))
}

// RevealText returns the key in base64, as wg(8) takes it: handle with care.
func (s secret) RevealText() string {
	b := s.Reveal()
	return base64.StdEncoding.EncodeToString(b[:])
}

// Private is a Curve25519 private key. The zero value is no key.
type Private struct{ secret }

// NewPrivate makes a private key from the system's random source.
func NewPrivate() Private {
	var b [Size]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return PrivateFrom(b)
}

// PrivateFrom makes a private key of 32 bytes, clamped as RFC 7748 section 5
// asks, which is what WireGuard does with it too. Zero bytes give the zero key.
func PrivateFrom(b [Size]byte) Private {
	if b != [Size]byte{} {
		b[0] &= 248
		b[31] = b[31]&127 | 64
	}
	return Private{conceal(b)}
}

// ParsePrivate reads a private key in standard base64. The zero key is refused.
// The error does not quote the input.
func ParsePrivate(s string) (Private, error) {
	b, err := parse("private key", s)
	if err != nil {
		return Private{}, err
	}
	if b == [Size]byte{} {
		return Private{}, fmt.Errorf("%w: private key: all bytes are zero", ErrInvalid)
	}
	return PrivateFrom(b), nil
}

// Public returns the public half. That of the zero key is the zero key.
func (k Private) Public() Public {
	if k.IsZero() {
		return Public{}
	}
	b := k.Reveal()
	p, err := ecdh.X25519().NewPrivateKey(b[:])
	if err != nil { // the length is right, and nothing else is refused
		return Public{}
	}
	return Public(p.PublicKey().Bytes())
}

// Preshared is a symmetric key that two ends share beside their key pairs. The
// zero value means none, as in WireGuard.
type Preshared struct{ secret }

// NewPreshared makes a preshared key from the system's random source.
func NewPreshared() Preshared {
	var b [Size]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return Preshared{conceal(b)}
}

// PresharedFrom makes a preshared key of 32 bytes.
func PresharedFrom(b [Size]byte) Preshared { return Preshared{conceal(b)} }

// ParsePreshared reads a preshared key in standard base64. Zero is allowed: it
// means none. The error does not quote the input.
func ParsePreshared(s string) (Preshared, error) {
	b, err := parse("preshared key", s)
	return Preshared{conceal(b)}, err
}

// parse reads a key strictly: one way to write each key, so that equal keys
// are equal texts.
func parse(what, s string) (b [Size]byte, err error) {
	if len(s) != textSize {
		return b, fmt.Errorf("%w: %s: want %d characters of base64, got %d", ErrInvalid, what, textSize, len(s))
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != Size {
		return b, fmt.Errorf("%w: %s: want %d bytes in base64", ErrInvalid, what, Size)
	}
	return [Size]byte(raw), nil
}
