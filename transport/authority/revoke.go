package authority

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/transport"
)

// maxSerials is how many certificates of one identity can be revoked one by one.
const maxSerials = 1000

// Revocation is what is over of an identity.
type Revocation struct {
	Identity transport.Identity
	// All says that every certificate from before At is over, not just some.
	All    bool
	At     time.Time
	Reason string
}

// Revoke ends every certificate that id has, and every token for it that waits. Its
// links end within a second, on all cores. The name may join again, with a new token.
func (a *Authority) Revoke(ctx context.Context, id transport.Identity, reason string) error {
	return a.revoke(ctx, id, reason, func(e *ending) error {
		e.Generation++
		e.Serials = nil // they are all of an older generation now
		return nil
	})
}

// RevokeCertificate ends one certificate.
func (a *Authority) RevokeCertificate(ctx context.Context, c *x509.Certificate, reason string) error {
	id, err := transport.IdentityOf(c)
	if err != nil {
		return fmt.Errorf("authority: revoking: %w", err)
	}
	return a.revoke(ctx, id, reason, func(e *ending) error {
		n := c.SerialNumber.Text(16)
		if slices.Contains(e.Serials, n) {
			return errSame
		}
		if len(e.Serials) >= maxSerials {
			return errors.New("too many of its certificates are revoked one by one: revoke the identity")
		}
		e.Serials = append(e.Serials, n)
		return nil
	})
}

func (a *Authority) revoke(ctx context.Context, id transport.Identity, reason string, edit func(*ending) error) error {
	err := id.Validate()
	if err == nil {
		err = update(ctx, a.cfg.Records, trustKey, func(t *trust) error {
			if t.Revoked == nil {
				t.Revoked = map[string]*ending{}
			}
			e := t.Revoked[id.String()]
			if e == nil {
				e = &ending{}
				t.Revoked[id.String()] = e
			}
			if err := edit(e); err != nil {
				return err
			}
			e.At, e.Reason = a.cfg.Now().UTC(), reason
			return nil
		})
	}
	if err == nil {
		err = a.refresh(ctx)
	}
	if err != nil {
		return fmt.Errorf("authority: revoking %s: %w", id, err)
	}
	return nil
}

// Check is for transport.Config.Check: it fails with ErrRevoked if the certificate was
// revoked, and for every certificate before Open. It looks at what was read last.
func (a *Authority) Check(c *x509.Certificate) error {
	id, err := transport.IdentityOf(c)
	if err != nil {
		return err
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.trust == nil {
		return errors.New("authority: nothing was read yet: who is revoked is not known")
	}
	e := a.trust.Revoked[id.String()]
	if e == nil {
		return nil
	}
	if g, ok := generationOf(c); ok && g >= e.Generation && !slices.Contains(e.Serials, c.SerialNumber.Text(16)) {
		return nil
	}
	why := e.Reason
	if why == "" {
		why = "no reason was given"
	}
	return fmt.Errorf("%w on %s (%s): it may join again, with a new token", transport.ErrRevoked, e.At.Format(time.RFC3339), why)
}

// Revocations are all that there are, sorted by identity.
func (a *Authority) Revocations() (list []Revocation) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.trust == nil {
		return nil
	}
	for text, e := range a.trust.Revoked {
		id, err := transport.ParseIdentity(text)
		if err != nil {
			continue // nobody has such a certificate
		}
		list = append(list, Revocation{Identity: id, All: len(e.Serials) == 0, At: e.At, Reason: e.Reason})
	}
	slices.SortFunc(list, func(a, b Revocation) int { return strings.Compare(a.Identity.String(), b.Identity.String()) })
	return list
}

// generation is the one that new certificates of id get.
func (a *Authority) generation(id transport.Identity) uint32 {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.trust == nil || a.trust.Revoked[id.String()] == nil {
		return 0
	}
	return a.trust.Revoked[id.String()].Generation
}
