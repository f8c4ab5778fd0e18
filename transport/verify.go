package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Why a certificate is refused. Each comes with a sentence.
var (
	// ErrUntrusted says that no trusted root stands behind the certificate.
	ErrUntrusted = errors.New("transport: not issued by this deployment")
	// ErrDeployment says that it is one of another deployment.
	ErrDeployment = errors.New("transport: another deployment")
	// ErrRole says that its role has nothing to do here.
	ErrRole = errors.New("transport: the wrong role")
	// ErrOther says that somebody else was expected.
	ErrOther = errors.New("transport: somebody else's certificate")
	// ErrExpired says that its time is over, or has not come.
	ErrExpired = errors.New("transport: expired")
	// ErrRevoked says that it was revoked.
	ErrRevoked = errors.New("transport: revoked")
	// ErrUnlisted says that it is good, and that nobody told this process of whoever
	// has it, or not any more.
	ErrUnlisted = errors.New("transport: not among those that are expected here")
)

// Policy says whose certificates are good.
type Policy struct {
	// Deployment has to be theirs.
	Deployment string
	// Roots are trusted.
	Roots []*x509.Certificate
	// Roles may be there; none by default.
	Roles []Role
	// Want is who has to be there; zero: anybody with such a role.
	Want Identity
	// Check looks a certificate up that is good otherwise, and fails with ErrRevoked
	// if it was revoked, or with ErrUnlisted if it is of nobody who is expected. Nil:
	// nobody was revoked, and everybody is expected.
	Check func(*x509.Certificate) error
}

// Verified is what a certificate showed.
type Verified struct {
	Identity    Identity
	Certificate *x509.Certificate
	// Expired says that it is good for having it renewed only.
	Expired bool
}

// Verify judges a chain as it was presented, the leaf first. A leaf that has expired,
// but is good otherwise, is no error: look at Expired. usage is what it was used as:
// x509.ExtKeyUsageClientAuth for the end that dialled, else ExtKeyUsageServerAuth.
func (p Policy) Verify(chain []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) (Verified, error) {
	if len(chain) == 0 {
		return Verified{}, fmt.Errorf("%w: no certificate was shown", ErrUntrusted)
	}
	leaf := chain[0]
	id, err := IdentityOf(leaf)
	if err != nil {
		return Verified{}, err
	}
	// Who it claims to be comes first: the sentence is then about what went wrong,
	// and nothing is granted by it.
	if id.Deployment != p.Deployment {
		return Verified{}, fmt.Errorf("%w: %s is not of %q", ErrDeployment, id, p.Deployment)
	}
	if err := p.trusted(chain, usage, now); err != nil {
		return Verified{}, fmt.Errorf("%w: %s", err, id)
	}
	switch {
	case !slices.Contains(p.Roles, id.Role):
		return Verified{}, fmt.Errorf("%w: %s, where only %v may be", ErrRole, id, p.Roles)
	case p.Want != (Identity{}) && id != p.Want:
		return Verified{}, fmt.Errorf("%w: %s is there, and not %s", ErrOther, id, p.Want)
	case now.Before(leaf.NotBefore):
		return Verified{}, fmt.Errorf("%w: %s is valid from %s on, and it is %s: check the clocks of both machines",
			ErrExpired, id, leaf.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if p.Check != nil {
		if err := p.Check(leaf); err != nil {
			return Verified{}, fmt.Errorf("%s: %w", id, err)
		}
	}
	return Verified{Identity: id, Certificate: leaf, Expired: now.After(leaf.NotAfter)}, nil
}

// trusted checks the chain as of a time at which the leaf was valid.
func (p Policy) trusted(chain []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	leaf := chain[0]
	if leaf.IsCA {
		return fmt.Errorf("%w: an authority's own certificate is nobody's", ErrUntrusted)
	}
	at := now
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, r := range p.Roots {
		if now.Before(r.NotAfter) {
			roots.AddCert(r)
		}
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrUntrusted, err)
	}
	return nil
}

// protocol is what HTTP/2 is called in a handshake.
const protocol = "h2"

// tlsConfig is what both ends of links have in common. verify is told the chain.
func tlsConfig(h *Holder, verify func([]*x509.Certificate) error, now func() time.Time) *tls.Config {
	own := func() (*tls.Certificate, error) {
		in := h.Get().get()
		if in.cert.Leaf == nil {
			return nil, errors.New("transport: no credentials: this process has not joined")
		}
		return &in.cert, nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{protocol},
		Time:       now,
		ClientAuth: tls.RequireAnyClientCert,
		// Tickets would take who was revoked past the handshake.
		SessionTicketsDisabled: true,
		// Identities are URIs, which crypto/tls does not compare: VerifyConnection
		// checks everything, on both ends.
		InsecureSkipVerify:   true, //nolint:gosec // see above
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own() },
		VerifyConnection: func(s tls.ConnectionState) error {
			if s.NegotiatedProtocol != protocol {
				return fmt.Errorf("transport: the other end does not speak %s", protocol)
			}
			return verify(s.PeerCertificates)
		},
	}
}
