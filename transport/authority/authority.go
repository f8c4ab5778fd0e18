package authority

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/join"
)

// Config is for New.
type Config struct {
	// Self is this core; required. Every process has an ID of its own.
	Self transport.Identity
	// Records are shared by all cores of the deployment; required.
	Records Records
	// Signers are keys of roots; at least one. Open makes a root of the first one if
	// there is none yet.
	Signers []crypto.Signer
	// Lifetime of certificates, by default 30 days.
	Lifetime time.Duration
	// Poll is how often Run looks at the records, by default 250 ms: revoking ends
	// links within a second. Nobody hears of it sooner on another core.
	Poll time.Duration
	// Log gets what went wrong; by default nothing is logged.
	Log *slog.Logger
	// Now is the time, by default time.Now.
	Now func() time.Time
}

// Authority issues and revokes. It is safe for concurrent use. It is a join.Authority.
type Authority struct {
	cfg    Config
	holder *transport.Holder

	mu    sync.RWMutex
	trust *trust // nil until Open; constant
	roots []*x509.Certificate
	raw   string // of the record
}

var _ join.Authority = (*Authority)(nil)

// New checks the configuration. Open comes next.
func New(cfg Config) (*Authority, error) {
	if err := cfg.Self.Validate(); err != nil {
		return nil, fmt.Errorf("authority: Config.Self: %w", err)
	}
	if cfg.Self.Role != transport.Core {
		return nil, fmt.Errorf("authority: Config.Self: %w: %s is no core", transport.ErrRole, cfg.Self)
	}
	if cfg.Records == nil || len(cfg.Signers) == 0 || slices.Contains(cfg.Signers, nil) {
		return nil, errors.New("authority: Config: Records and Signers are required")
	}
	if cfg.Lifetime <= 0 {
		cfg.Lifetime = 30 * 24 * time.Hour
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 250 * time.Millisecond
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Authority{cfg: cfg, holder: &transport.Holder{}}, nil
}

// Open reads the records, or begins a new deployment in empty ones, and gets this core
// its certificate.
func (a *Authority) Open(ctx context.Context) error {
	err := update(ctx, a.cfg.Records, trustKey, func(t *trust) error {
		if t.Deployment == "" && len(t.Roots) == 0 {
			root, err := newRoot(a.cfg.Self.Deployment, a.cfg.Signers[0], a.cfg.Now())
			if err != nil {
				return err
			}
			t.Deployment, t.Roots = a.cfg.Self.Deployment, [][]byte{root}
			return nil
		}
		if t.Deployment != a.cfg.Self.Deployment {
			return fmt.Errorf("%w: the records are of %q, and this core is %s", transport.ErrDeployment, t.Deployment, a.cfg.Self)
		}
		return errSame
	})
	if err == nil {
		err = update(ctx, a.cfg.Records, tokensKey, func(t *tokens) error {
			if t.Tokens != nil {
				return errSame
			}
			t.Tokens = map[string]*token{}
			return nil
		})
	}
	if err == nil {
		err = a.refresh(ctx)
	}
	if err != nil {
		return fmt.Errorf("authority: opening: %w", err)
	}
	return nil
}

// Run looks at the records until ctx ends, and then returns nil. While they cannot be
// read, what was read before holds.
func (a *Authority) Run(ctx context.Context) error {
	t := time.NewTicker(a.cfg.Poll)
	defer t.Stop()
	for failing := false; ; {
		err := a.refresh(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			a.cfg.Log.WarnContext(ctx, "the authority's records cannot be read", "err", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// refresh reads what is trusted and revoked, and renews this core's certificate when it
// is time, or when the root behind it changes.
func (a *Authority) refresh(ctx context.Context) error {
	raw, err := a.cfg.Records.Get(ctx, trustKey)
	if err != nil {
		return err
	}
	if err := a.take(raw); err != nil {
		return err
	}
	return a.self()
}

func (a *Authority) take(raw []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.trust != nil && a.raw == string(raw) {
		return nil
	}
	t, err := decode[trust](raw)
	if err != nil {
		return err
	}
	if t.Deployment != a.cfg.Self.Deployment {
		return fmt.Errorf("%w: the records are of %q", transport.ErrDeployment, t.Deployment)
	}
	roots, err := parse(t.Roots)
	if err != nil {
		return err
	}
	a.trust, a.roots, a.raw = t, roots, string(raw)
	return nil
}

func parse(raw [][]byte) (roots []*x509.Certificate, err error) {
	for _, der := range raw {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("authority: a root is unreadable: %w", err)
		}
		roots = append(roots, c)
	}
	if len(roots) == 0 {
		return nil, errors.New("authority: there is no root")
	}
	return roots, nil
}

// self gets this core a certificate if it needs one.
func (a *Authority) self() error {
	now, old, roots := a.cfg.Now(), a.holder.Get(), a.Roots()
	by, err := a.issuer(true)
	if err != nil {
		return err
	}
	if leaf := old.Leaf(); leaf != nil && now.Before(join.Due(leaf)) && leaf.CheckSignatureFrom(by.cert) == nil && a.Check(leaf) == nil {
		if slices.EqualFunc(old.Roots(), roots, (*x509.Certificate).Equal) {
			return nil
		}
		c, err := old.WithRoots(roots)
		if err != nil {
			return err
		}
		return a.holder.Set(c)
	}
	key, err := join.NewKey()
	if err != nil {
		return err
	}
	leaf, err := by.issue(a.cfg.Self, key.Public(), a.generation(a.cfg.Self), now, a.cfg.Lifetime)
	if err != nil {
		return err
	}
	c, err := transport.NewCredentials(key, []*x509.Certificate{leaf}, roots)
	if err != nil {
		return err
	}
	return a.holder.Set(c)
}

// Holder has this core's credentials, from Open on; Run keeps them current. Their key
// is new with each process.
func (a *Authority) Holder() *transport.Holder { return a.holder }

// Roots are those that are trusted, the newest first.
func (a *Authority) Roots() []*x509.Certificate {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Clone(a.roots)
}

// Fingerprint names a root.
func Fingerprint(root *x509.Certificate) [32]byte { return sha256.Sum256(root.Raw) }

// AddRoot begins a change of roots: signer, which has to be one of Config.Signers on
// each core that shall issue with it, becomes the newest. Adding it again changes
// nothing.
func (a *Authority) AddRoot(ctx context.Context, signer crypto.Signer) error {
	err := update(ctx, a.cfg.Records, trustKey, func(t *trust) error {
		roots, err := parse(t.Roots)
		if err != nil {
			return err
		}
		for _, r := range roots {
			if same(r.PublicKey, signer.Public()) {
				return errSame
			}
		}
		if len(roots) >= 8 {
			return errors.New("there are eight roots: drop one first")
		}
		root, err := newRoot(t.Deployment, signer, a.cfg.Now())
		if err != nil {
			return err
		}
		t.Roots = append([][]byte{root}, t.Roots...)
		return nil
	})
	if err == nil {
		err = a.refresh(ctx)
	}
	if err != nil {
		return fmt.Errorf("authority: adding a root: %w", err)
	}
	return nil
}

// DropRoot ends a change of roots: what the root issued is refused from now on. The
// last one cannot go. Dropping one that is not there changes nothing.
func (a *Authority) DropRoot(ctx context.Context, fingerprint [32]byte) error {
	err := update(ctx, a.cfg.Records, trustKey, func(t *trust) error {
		rest := slices.DeleteFunc(slices.Clone(t.Roots), func(der []byte) bool { return sha256.Sum256(der) == fingerprint })
		switch len(rest) {
		case len(t.Roots):
			return errSame
		case 0:
			return errors.New("it is the last one: add another first")
		}
		t.Roots = rest
		return nil
	})
	if err == nil {
		err = a.refresh(ctx)
	}
	if err != nil {
		return fmt.Errorf("authority: dropping root %x: %w", fingerprint[:8], err)
	}
	return nil
}
