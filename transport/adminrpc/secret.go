package adminrpc

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Secret is the text of a token. It does not print and does not marshal.
type Secret struct{ reveal func() string } // a function, because those never print what they hold

// prefix is how a token is recognised, by people and by programs that look for
// secrets where none should be.
const prefix = "holdfast_api_"

// tokenBytes are random.
const tokenBytes = 32

// ParseSecret reads the text of a token; white space around it does not matter.
// It fails with ErrToken, and quotes nothing.
func ParseSecret(text string) (Secret, error) {
	text = strings.TrimSpace(text)
	rest, ok := strings.CutPrefix(text, prefix)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if !ok || err != nil || len(raw) != tokenBytes || strings.ContainsAny(rest, "\r\n") {
		return Secret{}, fmt.Errorf("%w: it has to be %s and 43 letters, digits, '-' and '_'", ErrToken, prefix)
	}
	return Secret{func() string { return text }}, nil
}

func newSecret() Secret {
	var b [tokenBytes]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	text := prefix + base64.RawURLEncoding.EncodeToString(b[:])
	return Secret{func() string { return text }}
}

// Reveal is the text: handle with care.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsZero says whether there is none.
func (s Secret) IsZero() bool { return s.reveal == nil }

// Format prints "(secret)" for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(secret)")) }

// LogValue logs "(secret)".
func (Secret) LogValue() slog.Value { return slog.StringValue("(secret)") }

// MarshalText fails: a token is shown once, by who made it.
func (Secret) MarshalText() ([]byte, error) {
	return nil, errors.New("adminrpc: a token does not marshal")
}
