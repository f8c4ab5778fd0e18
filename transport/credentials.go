package transport

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
)

// Credentials are what a process proves its identity with, and by which roots it
// judges others. They are immutable, print as their identity, and do not marshal. The
// zero Credentials are nobody's: every handshake with them fails.
type Credentials struct{ in func() inner } // a function, because those never print what they hold

type inner struct {
	id    Identity
	cert  tls.Certificate
	roots []*x509.Certificate
}

// NewCredentials puts together a key, its certificate (chain: the leaf first, then what
// leads to a root, which may be none), and the trusted roots, the newest first. It fails
// if the key is not the certificate's, if the certificate has no identity, and without
// roots. Whether it is valid now, handshakes find out.
func NewCredentials(key crypto.Signer, chain, roots []*x509.Certificate) (Credentials, error) {
	if key == nil || len(chain) == 0 || len(roots) == 0 {
		return Credentials{}, errors.New("transport: credentials need a key, its certificate, and a root")
	}
	id, err := IdentityOf(chain[0])
	if err != nil {
		return Credentials{}, fmt.Errorf("transport: credentials: %w", err)
	}
	own, ok := key.Public().(interface{ Equal(x crypto.PublicKey) bool })
	if !ok || !own.Equal(chain[0].PublicKey) {
		return Credentials{}, fmt.Errorf("transport: credentials of %s: the certificate is for another key", id)
	}
	in := inner{id: id, roots: slices.Clone(roots)}
	in.cert = tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		in.cert.Certificate = append(in.cert.Certificate, c.Raw)
	}
	return Credentials{func() inner { return in }}, nil
}

func (c Credentials) get() inner {
	if c.in == nil {
		return inner{}
	}
	return c.in()
}

// Identity is whose they are.
func (c Credentials) Identity() Identity { return c.get().id }

// Leaf is the certificate, nil in zero Credentials.
func (c Credentials) Leaf() *x509.Certificate { return c.get().cert.Leaf }

// Roots are the trusted ones, the newest first.
func (c Credentials) Roots() []*x509.Certificate { return slices.Clone(c.get().roots) }

// Key is the private key: handle with care.
func (c Credentials) Key() crypto.Signer {
	key, _ := c.get().cert.PrivateKey.(crypto.Signer)
	return key
}

// WithRoots returns the same credentials with other roots.
func (c Credentials) WithRoots(roots []*x509.Certificate) (Credentials, error) {
	in := c.get()
	if in.cert.Leaf == nil || len(roots) == 0 {
		return Credentials{}, errors.New("transport: credentials need a certificate and a root")
	}
	in.roots = slices.Clone(roots)
	return Credentials{func() inner { return in }}, nil
}

// Format prints the identity for every verb.
func (c Credentials) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "credentials("+c.text()+")")
}

// LogValue logs the identity.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.text()) }

// MarshalText fails: a key is kept by who made it.
func (c Credentials) MarshalText() ([]byte, error) {
	return nil, errors.New("transport: credentials do not marshal")
}

func (c Credentials) text() string {
	if c.in == nil {
		return "none"
	}
	return c.Identity().String()
}

// Holder keeps the current credentials of a process. Handshakes look them up, so that
// what is set holds from the next one on; links that are up go on. It is safe for
// concurrent use. The zero Holder holds none.
type Holder struct {
	mu  sync.RWMutex
	now Credentials
}

// NewHolder returns one that holds c.
func NewHolder(c Credentials) *Holder { return &Holder{now: c} }

// Get returns the current credentials.
func (h *Holder) Get() Credentials {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.now
}

// Set replaces them. Another identity than the one before is refused: that would be
// another process.
func (h *Holder) Set(c Credentials) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, id := h.now.Identity(), c.Identity()
	if old != (Identity{}) && old != id {
		return fmt.Errorf("transport: %s cannot become %s", old, id)
	}
	h.now = c
	return nil
}
