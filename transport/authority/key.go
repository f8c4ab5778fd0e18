package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
)

// Key is a root's private key. It does not print and does not marshal; Reveal is for
// who seals it. The zero Key is none.
type Key struct{ get func() *ecdsa.PrivateKey } // a function, because those never print what they hold

// NewKey makes a key: ECDSA on P-256.
func NewKey() (Key, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Key{}, fmt.Errorf("authority: making a key: %w", err)
	}
	return Key{func() *ecdsa.PrivateKey { return k }}, nil
}

// ParseKey reads what Reveal returned.
func ParseKey(b []byte) (Key, error) {
	k, err := x509.ParsePKCS8PrivateKey(b)
	if ec, ok := k.(*ecdsa.PrivateKey); err == nil && ok && ec.Curve == elliptic.P256() {
		return Key{func() *ecdsa.PrivateKey { return ec }}, nil
	}
	return Key{}, errors.New("authority: not a root's key") // which quotes nothing of it
}

// Reveal is the key in PKCS #8: handle with care.
func (k Key) Reveal() ([]byte, error) {
	if k.get == nil {
		return nil, errors.New("authority: no key")
	}
	return x509.MarshalPKCS8PrivateKey(k.get())
}

// Signer is for Config.Signers; nil of the zero Key.
func (k Key) Signer() crypto.Signer {
	if k.get == nil {
		return nil
	}
	return k.get()
}

// Format prints "(secret)" for every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(secret)")) }

// LogValue logs "(secret)".
func (Key) LogValue() slog.Value { return slog.StringValue("(secret)") }

// MarshalText fails: a key is kept by who made it.
func (Key) MarshalText() ([]byte, error) { return nil, errors.New("authority: a key does not marshal") }
