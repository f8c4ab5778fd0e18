package join

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/internal/tokentext"
	"github.com/holdfastvpn/holdfast/transport/join/internal/pb"
)

// Token lets one machine join once. It does not print and does not marshal: Reveal
// gives the text that is typed.
type Token struct {
	// Identity is who the machine will be.
	Identity transport.Identity
	// Locations are those that it is for, if its role has any.
	Locations []string
	// Expires is when it stops working.
	Expires time.Time
	// Root is the SHA-256 of the root behind the core's certificate, in DER.
	Root [32]byte
	// Cores are where to dial a core; with none, a core dials the machine.
	Cores []string
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

// Secret is the secret: handle with care. It is zero in a Token that was not made by
// NewToken or ParseToken.
func (t Token) Secret() [32]byte {
	if t.secret == nil {
		return [32]byte{}
	}
	return t.secret()
}

const (
	prefix    = "holdfast://join/"
	maxAmount = 64 // of locations and cores
)

// Reveal is the text of the token, one shell word of letters, digits, ':', '/', '-' and
// '_': handle with care.
func (t Token) Reveal() string {
	secret := t.Secret()
	m := &pb.Token{
		Deployment: t.Identity.Deployment, Role: string(t.Identity.Role), Id: t.Identity.ID,
		Locations: t.Locations, TokenId: t.ID[:], Secret: secret[:], Root: t.Root[:],
		Cores: t.Cores, Expires: t.Expires.Unix(),
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return "" // names that are no UTF-8, which no identity has
	}
	return tokentext.Encode(prefix, body)
}

// ParseToken reads what Reveal wrote; white space around it does not matter. It fails
// with ErrToken if anything is missing, and quotes nothing.
func ParseToken(s string) (Token, error) {
	bad := func(why string) (Token, error) { return Token{}, tokentext.Wrong(prefix, ErrToken, why) }
	body, err := tokentext.Decode(prefix, s, ErrToken)
	if err != nil {
		return Token{}, err
	}
	var m pb.Token
	if err := proto.Unmarshal(body, &m); err != nil {
		return bad("it is damaged")
	}
	t := Token{
		Identity:  transport.Identity{Deployment: m.GetDeployment(), Role: transport.Role(m.GetRole()), ID: m.GetId()},
		Locations: slices.Clip(m.GetLocations()), Cores: slices.Clip(m.GetCores()), Expires: time.Unix(m.GetExpires(), 0).UTC(),
	}
	if len(m.GetTokenId()) != len(t.ID) || len(m.GetSecret()) != 32 || len(m.GetRoot()) != len(t.Root) ||
		len(t.Locations) > maxAmount || len(t.Cores) > maxAmount {
		return bad("a part is missing")
	}
	if err := t.Identity.Validate(); err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	copy(t.ID[:], m.GetTokenId())
	copy(t.Root[:], m.GetRoot())
	secret := [32]byte(m.GetSecret())
	t.secret = func() [32]byte { return secret }
	return t, nil
}

// Format prints who the token is for.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "token("+t.text()+")") }

// LogValue logs who the token is for.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.text()) }

// MarshalText fails: a token is shown once, by who made it.
func (t Token) MarshalText() ([]byte, error) {
	return nil, errors.New("join: a token does not marshal")
}

func (t Token) text() string {
	if t.Identity == (transport.Identity{}) {
		return "none"
	}
	return t.Identity.String()
}
