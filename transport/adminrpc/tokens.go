package adminrpc

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn"
)

// Role is what a token is good for.
type Role string

// The roles that there are. Neither sees a private key: nobody asks for one.
const (
	Admin    Role = "admin"     // everything
	ReadOnly Role = "read-only" // looking, but for what is secret
)

// Token is what is known of a token. It holds no secret.
type Token struct {
	ID   string    `json:"id"`
	Name string    `json:"name"` // who uses it, for events
	Role Role      `json:"role"`
	Made time.Time `json:"made"`
	By   string    `json:"by,omitzero"` // who made it
	// Expires is when it stops working; zero: when it is revoked.
	Expires time.Time `json:"expires,omitzero"`
}

// row is the stored form. Its key is the hash, so that looking a token up
// compares nothing that who sends it could find out byte by byte.
type row struct {
	Token

	Hash []byte `json:"hash"`
}

const (
	tokenKey  = "account/token/"
	maxTokens = 1000
)

// What happens to tokens.
const (
	tokenCreated = "token.created"
	tokenRevoked = "token.revoked"
)

// Tokens are those of the API. Of each only a hash is kept. It is safe for
// concurrent use, by several cores on one store, too.
type Tokens struct {
	records vpn.Records
	now     func() time.Time
}

// TokensConfig holds what NewTokens needs.
type TokensConfig struct {
	Records vpn.Records      // required: those of the core's Stores
	Now     func() time.Time // nil means time.Now
}

// NewTokens checks c.
func NewTokens(c TokensConfig) (*Tokens, error) {
	if c.Records == nil {
		return nil, errors.New("adminrpc: new tokens: Records is missing")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Tokens{c.Records, c.Now}, nil
}

// Create makes a token: of t only Name and Role count, and by is in ctx
// (vpn.WithActor). It works for lifetime, or until it is revoked if that is 0.
func (s *Tokens) Create(ctx context.Context, t Token, lifetime time.Duration) (Token, Secret, error) {
	fail := func(err error) (Token, Secret, error) {
		return Token{}, Secret{}, fmt.Errorf("adminrpc: create token %q: %w", t.Name, err)
	}
	if err := location.CheckName(t.Name); err != nil {
		return fail(&location.FieldError{Field: "Name", Reason: err.Error()})
	}
	if t.Role != Admin && t.Role != ReadOnly {
		return fail(&location.FieldError{Field: "Role", Reason: fmt.Sprintf("is %q: use %q or %q", string(t.Role), string(Admin), string(ReadOnly))})
	}
	if lifetime < 0 {
		return fail(&location.FieldError{Field: "Lifetime", Reason: "is negative"})
	}
	all, err := s.records.List(ctx, tokenKey, "", maxTokens)
	if err != nil {
		return fail(err)
	}
	if len(all) == maxTokens {
		return fail(&location.FieldError{Field: "Name", Reason: fmt.Sprintf("there are %d tokens: revoke some", maxTokens)})
	}
	secret := newSecret()
	hash := sha256.Sum256([]byte(secret.Reveal()))
	now := s.now().UTC().Truncate(time.Microsecond)
	made := Token{ID: newID(), Name: t.Name, Role: t.Role, Made: now, By: vpn.ActorOf(ctx).Name}
	if lifetime > 0 {
		made.Expires = now.Add(lifetime).Truncate(time.Second)
	}
	text, err := json.Marshal(row{made, hash[:]})
	if err == nil {
		err = s.records.Update(ctx, tokenKey+hex.EncodeToString(hash[:]), func([]byte) ([]byte, error) { return text, nil })
	}
	if err != nil {
		return fail(err)
	}
	return made, secret, nil
}

// Check returns what is known of a token, or ErrToken if it is not good: unknown,
// revoked, expired, or unreadable.
func (s *Tokens) Check(ctx context.Context, secret Secret) (Token, error) {
	hash := sha256.Sum256([]byte(secret.Reveal()))
	text, err := s.records.Get(ctx, tokenKey+hex.EncodeToString(hash[:]))
	switch {
	case errors.Is(err, vpn.ErrNotFound) || err == nil && secret.IsZero():
		return Token{}, fmt.Errorf("%w: it is unknown, or was revoked", ErrToken)
	case err != nil:
		return Token{}, fmt.Errorf("adminrpc: look up a token: %w", err)
	}
	r, err := parseRow(text)
	switch {
	case err != nil:
		return Token{}, fmt.Errorf("adminrpc: look up a token: %w", err)
	case subtle.ConstantTimeCompare(r.Hash, hash[:]) != 1:
		return Token{}, fmt.Errorf("%w: it is unknown, or was revoked", ErrToken)
	case !r.Expires.IsZero() && !s.now().Before(r.Expires):
		return Token{}, fmt.Errorf("%w: it expired at %s", ErrToken, r.Expires.Format(time.RFC3339))
	}
	return r.Token, nil
}

// List returns all, the oldest first. Those that have expired are in it.
func (s *Tokens) List(ctx context.Context) ([]Token, error) {
	rows, err := s.rows(ctx)
	if err != nil {
		return nil, fmt.Errorf("adminrpc: list tokens: %w", err)
	}
	all := make([]Token, len(rows))
	for i, r := range rows {
		all[i] = r.Token
	}
	slices.SortFunc(all, func(a, b Token) int { return cmp.Or(a.Made.Compare(b.Made), strings.Compare(a.ID, b.ID)) })
	return all, nil
}

// Revoke makes the token with that ID useless, and returns what was known of it:
// the zero Token if it is not there, which is no error.
func (s *Tokens) Revoke(ctx context.Context, id string) (Token, error) {
	rows, err := s.rows(ctx)
	if err != nil {
		return Token{}, fmt.Errorf("adminrpc: revoke token %q: %w", id, err)
	}
	for _, r := range rows {
		if r.ID != id {
			continue
		}
		err := s.records.Update(ctx, tokenKey+hex.EncodeToString(r.Hash), func([]byte) ([]byte, error) { return nil, nil })
		if err != nil {
			return Token{}, fmt.Errorf("adminrpc: revoke token %q: %w", id, err)
		}
		return r.Token, nil
	}
	return Token{}, nil
}

func (s *Tokens) rows(ctx context.Context) ([]row, error) {
	list, err := s.records.List(ctx, tokenKey, "", 0)
	if err != nil {
		return nil, err
	}
	all := make([]row, len(list))
	for i, r := range list {
		if all[i], err = parseRow(r.Value); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// parseRow reads a record strictly: what newer software added might be a limit.
func parseRow(text []byte) (r row, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err = d.Decode(&r); err != nil {
		err = fmt.Errorf("the record of a token is not readable: %w", err)
	}
	return r, err
}
