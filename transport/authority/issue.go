package authority

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/join"
)

const (
	rootLifetime = 10 * 365 * 24 * time.Hour
	backdated    = time.Hour // for clocks that are behind
)

// issuer is a root with its key.
type issuer struct {
	cert   *x509.Certificate
	signer crypto.Signer
}

// issuer is the newest root that this core can sign with, or the oldest.
func (a *Authority) issuer(oldest bool) (issuer, error) {
	roots := a.Roots()
	if oldest {
		slices.Reverse(roots)
	}
	now := a.cfg.Now()
	for _, r := range roots {
		if !now.Before(r.NotAfter) {
			continue
		}
		for _, s := range a.cfg.Signers {
			if same(r.PublicKey, s.Public()) {
				return issuer{r, s}, nil
			}
		}
	}
	return issuer{}, errors.New("authority: this core has the key of none of the roots: hand it over, or add a root")
}

func same(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

func newRoot(deployment string, signer crypto.Signer, now time.Time) ([]byte, error) {
	if err := usable(signer.Public()); err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial(0), Subject: pkix.Name{CommonName: "holdfast " + deployment},
		NotBefore: now.Add(-backdated), NotAfter: now.Add(rootLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, signer.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("authority: making a root: %w", err)
	}
	return der, nil
}

// serial begins with a generation; the rest is random.
func serial(generation uint32) *big.Int {
	var b [17]byte
	b[0] = 1 // so that it has one length, and is positive
	binary.BigEndian.PutUint32(b[1:5], generation)
	_, _ = rand.Read(b[5:]) // never fails: crypto/rand ends the program instead
	return new(big.Int).SetBytes(b[:])
}

// generationOf reads what serial wrote.
func generationOf(c *x509.Certificate) (uint32, bool) {
	if c.SerialNumber == nil || c.SerialNumber.BitLen() != 129 {
		return 0, false
	}
	return binary.BigEndian.Uint32(c.SerialNumber.Bytes()[1:5]), true
}

func (i issuer) issue(id transport.Identity, key crypto.PublicKey, generation uint32, now time.Time, life time.Duration) (*x509.Certificate, error) {
	// A short life is not backdated by an hour: it would be due for renewal at once.
	back := min(backdated, life/2)
	until := now.Add(life)
	if until.After(i.cert.NotAfter) {
		until = i.cert.NotAfter
	}
	t := &x509.Certificate{
		SerialNumber: serial(generation), Subject: pkix.Name{CommonName: string(id.Role) + " " + id.ID},
		NotBefore: now.Add(-back), NotAfter: until,
		URIs: []*url.URL{id.URI()}, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		// Who dials is the client of the handshake, and that may be either end.
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, i.cert, key, i.signer)
	if err != nil {
		return nil, fmt.Errorf("authority: issuing for %s: %w", id, err)
	}
	return x509.ParseCertificate(der)
}

// usable says whether a key is of a kind that we certify.
func usable(key crypto.PublicKey) error {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return nil
		}
	}
	return fmt.Errorf("%w: its key is neither ECDSA on P-256 or P-384 nor Ed25519", join.ErrRequest)
}

// requested checks a signing request: by a good key that signed it, and for id alone.
func requested(der []byte, id transport.Identity) (crypto.PublicKey, error) {
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("%w: it is unreadable", join.ErrRequest)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: it is not signed by the key that it is for", join.ErrRequest)
	}
	if err := usable(r.PublicKey); err != nil {
		return nil, err
	}
	asked, err := transport.IdentityOf(&x509.Certificate{
		URIs: r.URIs, DNSNames: r.DNSNames, IPAddresses: r.IPAddresses, EmailAddresses: r.EmailAddresses,
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", join.ErrRequest, err)
	case asked.Deployment != id.Deployment:
		return nil, fmt.Errorf("%w: %s is asked for, and may be %s", transport.ErrDeployment, asked, id)
	case asked.Role != id.Role:
		return nil, fmt.Errorf("%w: %s is asked for, and may be %s", transport.ErrRole, asked, id)
	case asked != id:
		return nil, fmt.Errorf("%w: %s is asked for, and may be %s", join.ErrRequest, asked, id)
	}
	return r.PublicKey, nil
}

// Issue certifies the key of a signing request (PKCS #10, DER) for id, which the caller
// has to have made sure of. Join and Renew do.
func (a *Authority) Issue(_ context.Context, id transport.Identity, request []byte) (join.Issued, error) {
	return a.issue(id, request, a.generation(id))
}

func (a *Authority) issue(id transport.Identity, request []byte, generation uint32) (join.Issued, error) {
	if id.Deployment != a.cfg.Self.Deployment {
		return join.Issued{}, fmt.Errorf("%w: %s is not of %q", transport.ErrDeployment, id, a.cfg.Self.Deployment)
	}
	key, err := requested(request, id)
	if err != nil {
		return join.Issued{}, err
	}
	by, err := a.issuer(false)
	if err != nil {
		return join.Issued{}, err
	}
	c, err := by.issue(id, key, generation, a.cfg.Now(), a.cfg.Lifetime)
	if err != nil {
		return join.Issued{}, err
	}
	return join.Issued{Certificate: c, Roots: a.Roots()}, nil
}

// Renew issues another certificate to who has old, if it was not revoked.
func (a *Authority) Renew(ctx context.Context, old *x509.Certificate, request []byte) (join.Issued, error) {
	id, err := transport.IdentityOf(old)
	if err != nil {
		return join.Issued{}, err
	}
	if err := a.refresh(ctx); err != nil { // what another core revoked a moment ago counts
		a.cfg.Log.WarnContext(ctx, "not renewed: the authority's records cannot be read", "err", err)
		return join.Issued{}, fmt.Errorf("%w: its store does not answer", join.ErrBusy)
	}
	if err := a.Check(old); err != nil {
		return join.Issued{}, err
	}
	generation, _ := generationOf(old)
	return a.issue(id, request, generation)
}
