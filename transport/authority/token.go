package authority

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/join"
)

// TokenConfig is for NewToken.
type TokenConfig struct {
	// Identity is who the machine will be; required, of this deployment and no core.
	Identity transport.Identity
	// Locations are those that the machine is for.
	Locations []string
	// At is where the machine listens while it waits, host and port, and cores dial it.
	// Either At or Cores is required.
	At string
	// Cores are where the machine can dial a core.
	Cores []string
	// Lifetime is how long the token works, by default an hour, at most 30 days.
	Lifetime time.Duration
}

const (
	maxTokens = 1000
	// A token is remembered for a while after its time, so that who types it again is
	// told what happened to it.
	remembered = 7 * 24 * time.Hour
	maxLife    = 30 * 24 * time.Hour
)

// NewToken makes a token. Of its secret only a hash is kept: it cannot be shown again.
func (a *Authority) NewToken(ctx context.Context, cfg TokenConfig) (join.Token, error) {
	now := a.cfg.Now()
	if err := a.checkToken(&cfg); err != nil {
		return join.Token{}, fmt.Errorf("authority: making a token: %w", err)
	}
	by, err := a.issuer(true) // the root behind cores' certificates
	if err != nil {
		return join.Token{}, err
	}
	if err := a.refresh(ctx); err != nil {
		return join.Token{}, fmt.Errorf("authority: making a token: %w", err)
	}
	t := join.NewToken(join.Token{
		Identity: cfg.Identity, Locations: slices.Clone(cfg.Locations), Cores: slices.Clone(cfg.Cores),
		Root: Fingerprint(by.cert), Expires: now.Add(cfg.Lifetime).UTC().Truncate(time.Second),
	})
	if _, err := join.ParseToken(t.Reveal()); err != nil {
		return join.Token{}, errors.New("authority: making a token: the names of its locations and cores are too long, or no text")
	}
	v := join.VerifierOf(t.Secret())
	err = update(ctx, a.cfg.Records, tokensKey, func(all *tokens) error {
		maps.DeleteFunc(all.Tokens, func(_ string, t *token) bool { return now.After(t.Expires.Add(remembered)) })
		if len(all.Tokens) >= maxTokens {
			return fmt.Errorf("there are %d: cancel some, or wait until they are forgotten", maxTokens)
		}
		if all.Tokens == nil {
			all.Tokens = map[string]*token{}
		}
		all.Tokens[hex.EncodeToString(t.ID[:])] = &token{
			Identity: t.Identity, Locations: t.Locations, At: cfg.At, Verifier: v[:],
			Made: now.UTC(), Expires: t.Expires, Generation: a.generation(t.Identity),
		}
		return nil
	})
	if err != nil {
		return join.Token{}, fmt.Errorf("authority: making a token: %w", err)
	}
	return t, nil
}

func (a *Authority) checkToken(cfg *TokenConfig) error {
	if err := cfg.Identity.Validate(); err != nil {
		return fmt.Errorf("its identity: %w", err)
	}
	if cfg.Identity.Deployment != a.cfg.Self.Deployment {
		return fmt.Errorf("%w: %s is not of %q", transport.ErrDeployment, cfg.Identity, a.cfg.Self.Deployment)
	}
	if cfg.Identity.Role == transport.Core {
		return fmt.Errorf("%w: cores share their store, and do not join", transport.ErrRole)
	}
	if (cfg.At == "") == (len(cfg.Cores) == 0) {
		return errors.New("one of At and Cores is required: one end has to dial, and has to know where")
	}
	addrs := cfg.Cores
	if cfg.At != "" {
		addrs = []string{cfg.At}
	}
	for _, addr := range addrs {
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" || len(addr) > 255 {
			return fmt.Errorf("address %.100q: it has to be a host and a port, as in 192.0.2.7:7946", addr)
		}
	}
	if len(cfg.Locations) > 64 || len(cfg.Cores) > 16 {
		return errors.New("at most 64 locations and 16 cores fit into a token")
	}
	cfg.Lifetime = cmp.Or(cfg.Lifetime, time.Hour)
	if cfg.Lifetime < 0 || cfg.Lifetime > maxLife {
		return fmt.Errorf("lifetime %s: at most %s", cfg.Lifetime, maxLife)
	}
	return nil
}

// Waiting is a token that can still be used.
type Waiting struct {
	ID        [16]byte
	Identity  transport.Identity
	Locations []string
	At        string
	Made      time.Time
	Expires   time.Time
}

// Tokens are those that can still be used, the oldest first.
func (a *Authority) Tokens(ctx context.Context) ([]Waiting, error) {
	all, err := a.tokens(ctx)
	if err != nil {
		return nil, fmt.Errorf("authority: listing tokens: %w", err)
	}
	now, list := a.cfg.Now(), []Waiting(nil)
	for id, t := range all.Tokens {
		raw, err := hex.DecodeString(id)
		if err != nil || len(raw) != 16 || t.UsedBy != nil || !now.Before(t.Expires) || t.Generation != a.generation(t.Identity) {
			continue
		}
		list = append(list, Waiting{
			ID: [16]byte(raw), Identity: t.Identity, Locations: t.Locations, At: t.At, Made: t.Made, Expires: t.Expires,
		})
	}
	slices.SortFunc(list, func(a, b Waiting) int {
		return cmp.Or(a.Made.Compare(b.Made), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return list, nil
}

// Addresses is for join.Dialer: where machines may wait to join.
func (a *Authority) Addresses(ctx context.Context) ([]string, error) {
	list, err := a.Tokens(ctx)
	var addrs []string
	for _, w := range list {
		if w.At != "" {
			addrs = append(addrs, w.At)
		}
	}
	slices.Sort(addrs)
	return slices.Compact(addrs), err
}

// Cancel makes a token useless. Cancelling one that is not there is no error.
func (a *Authority) Cancel(ctx context.Context, tokenID [16]byte) error {
	err := update(ctx, a.cfg.Records, tokensKey, func(all *tokens) error {
		delete(all.Tokens, hex.EncodeToString(tokenID[:]))
		return nil
	})
	if err != nil {
		return fmt.Errorf("authority: cancelling a token: %w", err)
	}
	return nil
}

// VoidTokens makes all tokens useless, for records that come from a backup: some may
// have been used or cancelled since it was made.
func VoidTokens(ctx context.Context, records Records) error {
	err := update(ctx, records, tokensKey, func(all *tokens) error {
		clear(all.Tokens)
		return nil
	})
	if err != nil {
		return fmt.Errorf("authority: making tokens useless: %w", err)
	}
	return nil
}

func (a *Authority) tokens(ctx context.Context) (*tokens, error) {
	raw, err := a.cfg.Records.Get(ctx, tokensKey)
	if err != nil {
		return nil, err
	}
	return decode[tokens](raw)
}

// busy tells a joiner to try again, and the log why.
func (a *Authority) busy(ctx context.Context, err error) error {
	a.cfg.Log.WarnContext(ctx, "joining: the authority's records fail", "err", err)
	return fmt.Errorf("%w: its store does not answer", join.ErrBusy)
}

// Verifier returns what is kept of a token's secret.
func (a *Authority) Verifier(ctx context.Context, tokenID [16]byte) (join.Verifier, error) {
	all, err := a.tokens(ctx)
	if err != nil {
		return join.Verifier{}, a.busy(ctx, err)
	}
	t := all.Tokens[hex.EncodeToString(tokenID[:])]
	if t == nil || len(t.Verifier) != len(join.Verifier{}) {
		return join.Verifier{}, join.ErrUnknown
	}
	return t.verifier(), nil
}

// Join uses a token up and issues. First the token is given to the key, in one write:
// from then on no other can have it. Then the certificate is made and kept with the
// token, so that the same key gets the same one again.
func (a *Authority) Join(ctx context.Context, tokenID [16]byte, request []byte) (join.Issued, error) {
	id, now := hex.EncodeToString(tokenID[:]), a.cfg.Now()
	if err := a.refresh(ctx); err != nil {
		return join.Issued{}, a.busy(ctx, err)
	}
	var t token
	err := update(ctx, a.cfg.Records, tokensKey, func(all *tokens) error {
		if all.Tokens[id] == nil {
			return join.ErrUnknown
		}
		return a.claim(all.Tokens[id], &t, request, now)
	})
	switch {
	case said(err):
		return join.Issued{}, err
	case err != nil:
		return join.Issued{}, a.busy(ctx, err)
	}
	if t.Issued == nil {
		is, err := a.issue(t.Identity, request, t.Generation)
		if err != nil {
			return join.Issued{}, err
		}
		err = update(ctx, a.cfg.Records, tokensKey, func(all *tokens) error {
			if all.Tokens[id] == nil {
				return join.ErrUnknown // cancelled a moment ago
			}
			if all.Tokens[id].Issued == nil {
				all.Tokens[id].Issued = is.Certificate.Raw
			}
			t = *all.Tokens[id]
			return nil
		})
		switch {
		case said(err):
			return join.Issued{}, err
		case err != nil:
			return join.Issued{}, a.busy(ctx, err)
		}
	}
	c, err := x509.ParseCertificate(t.Issued)
	if err != nil {
		return join.Issued{}, err
	}
	if err := a.Check(c); err != nil {
		return join.Issued{}, err
	}
	return join.Issued{Certificate: c, Roots: a.Roots()}, nil
}

// claim gives a token to the key of a request, or says why not. out is what it is then.
func (a *Authority) claim(t, out *token, request []byte, now time.Time) error {
	key, err := requested(request, t.Identity)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return fmt.Errorf("%w: its key is unreadable", join.ErrRequest)
	}
	sum := sha256.Sum256(der)
	switch {
	case t.UsedBy != nil && !bytes.Equal(t.UsedBy, sum[:]):
		return fmt.Errorf("%w, at %s, by another key: if that was not you, revoke %s now; else make a new token",
			join.ErrUsed, t.UsedAt.Format(time.RFC3339), t.Identity)
	case t.UsedBy == nil && !now.Before(t.Expires):
		return fmt.Errorf("%w, at %s: make a new one", join.ErrExpired, t.Expires.Format(time.RFC3339))
	case t.Generation != a.generation(t.Identity):
		return fmt.Errorf("%w: %s was revoked after the token was made: make a new one", join.ErrUsed, t.Identity)
	}
	if t.UsedBy == nil {
		t.UsedBy, t.UsedAt = sum[:], now.UTC()
	}
	*out = *t
	return nil
}

// said: an error that the joiner may hear.
func said(err error) bool {
	for _, is := range []error{join.ErrUnknown, join.ErrExpired, join.ErrUsed, join.ErrRequest, transport.ErrRole, transport.ErrDeployment} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// String is for listings.
func (w Waiting) String() string {
	return fmt.Sprintf("%s for %s until %s", w.Identity, strings.Join(w.Locations, ", "), w.Expires.Format(time.RFC3339))
}
