package sealed

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/transport/internal/tokentext"
)

// Token lets one device enrol, through a relay that is not trusted. It does not print
// and does not marshal: Reveal gives the text that is typed.
type Token struct {
	// Deployment is the core's; 1 to 63 bytes.
	Deployment string
	// Keys are the fingerprints of the core's keys, 1 to MaxKeys.
	Keys []Fingerprint
	// Proxies are where to reach one, such as https://vpn.example.org; at most 16, of at
	// most 255 bytes.
	Proxies []string
	// Expires is when it stops working, to the second.
	Expires time.Time
	// ID names the token to the core, and tells nothing of its secret.
	ID [16]byte

	secret func() [32]byte // a function, because those never print what they hold
}

// NewToken gives t a fresh ID and secret.
func NewToken(t Token) Token {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand ends the program instead
	_, _ = rand.Read(t.ID[:])
	t.secret = func() [32]byte { return secret }
	return t
}

const (
	tokenPrefix  = "holdfast://enrol/" //nolint:gosec // that is where a token begins, not one
	tokenVersion = 1
	maxProxies   = 16
)

// Trusts says whether a key is one of the token's core.
func (t Token) Trusts(core CorePublic) bool {
	return !core.IsZero() && slices.Contains(t.Keys, core.Fingerprint())
}

// Key is what a core keeps of the token. It is zero for a Token that was not made by
// NewToken or ParseToken.
func (t Token) Key() EnrolKey {
	if t.secret == nil {
		return EnrolKey{}
	}
	secret := t.secret()
	key, _ := hkdf.Key(sha256.New, secret[:], t.ID[:], "holdfast enrol key v1: "+t.Deployment, len(secret)) // fails for lengths only
	k, _ := EnrolKeyFrom(key)
	return k
}

// Reveal is the text of the token, one shell word of letters, digits, ':', '/', '-' and
// '_': handle with care. It is "" if a part is missing, or longer than it may be.
func (t Token) Reveal() string {
	if t.secret == nil || t.check() != nil {
		return ""
	}
	secret := t.secret()
	b := append([]byte{tokenVersion, byte(len(t.Deployment))}, t.Deployment...)
	b = append(b, byte(len(t.Keys)))
	for _, k := range t.Keys {
		b = append(b, k[:]...)
	}
	b = append(b, byte(len(t.Proxies)))
	for _, p := range t.Proxies {
		b = append(append(b, byte(len(p))), p...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(t.Expires.Unix()))
	return tokentext.Encode(tokenPrefix, append(append(b, t.ID[:]...), secret[:]...))
}

func (t Token) check() error {
	switch {
	case len(t.Deployment) < 1 || len(t.Deployment) > maxDeployment:
		return fmt.Errorf("the deployment's name has 1 to %d bytes", maxDeployment)
	case len(t.Keys) < 1 || len(t.Keys) > MaxKeys:
		return fmt.Errorf("a core has 1 to %d keys", MaxKeys)
	case len(t.Proxies) > maxProxies || slices.ContainsFunc(t.Proxies, func(p string) bool { return p == "" || len(p) > 255 }):
		return fmt.Errorf("at most %d proxies, each of 1 to 255 bytes", maxProxies)
	}
	return nil
}

// ParseToken reads what Reveal wrote; white space around it does not matter. It fails
// with ErrToken if anything is missing, and quotes nothing.
func ParseToken(s string) (Token, error) {
	body, err := tokentext.Decode(tokenPrefix, s, ErrToken)
	if err != nil {
		return Token{}, err
	}
	c := cursor{rest: body}
	if v := c.byte(); v != tokenVersion {
		return Token{}, fmt.Errorf("%w: it is of a newer version: get a newer program", ErrToken)
	}
	t := Token{Deployment: string(c.take(int(c.byte())))}
	for range min(c.byte(), MaxKeys+1) {
		var f Fingerprint
		copy(f[:], c.take(len(f)))
		t.Keys = append(t.Keys, f)
	}
	for range min(c.byte(), maxProxies+1) {
		t.Proxies = append(t.Proxies, string(c.take(int(c.byte()))))
	}
	if b := c.take(8); b != nil {
		t.Expires = time.Unix(int64(binary.BigEndian.Uint64(b)), 0).UTC()
	}
	copy(t.ID[:], c.take(len(t.ID)))
	var secret [32]byte
	copy(secret[:], c.take(len(secret)))
	if err := t.check(); err != nil || c.short || len(c.rest) > 0 {
		return Token{}, tokentext.Wrong(tokenPrefix, ErrToken, "a part is missing")
	}
	t.secret = func() [32]byte { return secret }
	return t, nil
}

// Format prints what the token is for.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "token("+t.text()+")") }

// LogValue logs what the token is for.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.text()) }

// MarshalText fails: a token is shown once, by who made it.
func (t Token) MarshalText() ([]byte, error) {
	return nil, errors.New("sealed: a token does not marshal")
}

// MarshalBinary fails like MarshalText; encoding/gob uses it.
func (t Token) MarshalBinary() ([]byte, error) { return t.MarshalText() }

func (t Token) text() string {
	if t.Deployment == "" {
		return "none"
	}
	return t.Deployment + " " + hex.EncodeToString(t.ID[:])
}

// EnrolKey is what a core keeps of a token: who has it can enrol, so it is stored
// sealed. The zero value is none. It neither prints nor marshals: see Reveal.
type EnrolKey struct {
	hidden

	key func() [32]byte
}

// EnrolKeyFrom makes one of what Reveal returned, and fails with ErrKey if that has
// another length, or is zero.
func EnrolKeyFrom(stored []byte) (EnrolKey, error) {
	if len(stored) != 32 || [32]byte(stored) == [32]byte{} {
		return EnrolKey{}, fmt.Errorf("%w: that of a token has 32 bytes that are not all zero", ErrKey)
	}
	key := [32]byte(stored)
	return EnrolKey{key: func() [32]byte { return key }}, nil
}

// IsZero says whether there is none.
func (k EnrolKey) IsZero() bool { return k.key == nil }

// Reveal returns the bytes to store, sealed: handle with care. Those of the zero EnrolKey
// are nil.
func (k EnrolKey) Reveal() []byte {
	if k.IsZero() {
		return nil
	}
	key := k.key()
	return key[:]
}
