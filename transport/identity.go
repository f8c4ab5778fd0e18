package transport

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Role is what a process is in its deployment.
type Role string

// The roles that there are.
const (
	Core     Role = "core"
	Gateway  Role = "gateway"
	Proxy    Role = "proxy"
	Operator Role = "operator"
)

// Known says whether the role is one of those above.
func (r Role) Known() bool {
	switch r {
	case Core, Gateway, Proxy, Operator:
		return true
	}
	return false
}

const scheme = "holdfast"

// MaxName is the length of the longest deployment or ID, in bytes.
const MaxName = 63

// Identity is who somebody is: holdfast://<deployment>/<role>/<id>. Deployment and ID
// are 1 to 63 of a-z, 0-9, '.', '_' and '-', the first and last a letter or a digit.
// It is comparable; the zero Identity is nobody.
type Identity struct {
	Deployment string
	Role       Role
	ID         string
}

// ErrIdentity says that a text or certificate names no identity, or more than one.
var ErrIdentity = errors.New("transport: no identity")

// ParseIdentity reads what String writes, and nothing else.
func ParseIdentity(s string) (Identity, error) {
	rest, ok := strings.CutPrefix(s, scheme+"://")
	deployment, rest, ok2 := strings.Cut(rest, "/")
	role, id, ok3 := strings.Cut(rest, "/")
	if !ok || !ok2 || !ok3 {
		return Identity{}, fmt.Errorf("%w: %.100q is not %s://<deployment>/<role>/<id>", ErrIdentity, s, scheme)
	}
	i := Identity{Deployment: deployment, Role: Role(role), ID: id}
	return i, i.Validate()
}

// Validate fails with ErrIdentity if a part is missing or has other characters than
// it may, or if the role is not known.
func (i Identity) Validate() error {
	switch {
	case !name(i.Deployment):
		return fmt.Errorf("%w: deployment %.100q: %s", ErrIdentity, i.Deployment, nameRule)
	case !i.Role.Known():
		return fmt.Errorf("%w: role %.100q: there are core, gateway, proxy and operator", ErrIdentity, i.Role)
	case !name(i.ID):
		return fmt.Errorf("%w: id %.100q: %s", ErrIdentity, i.ID, nameRule)
	}
	return nil
}

// String is the URI in a certificate.
func (i Identity) String() string {
	return scheme + "://" + i.Deployment + "/" + string(i.Role) + "/" + i.ID
}

// URI is String, parsed.
func (i Identity) URI() *url.URL {
	return &url.URL{Scheme: scheme, Host: i.Deployment, Path: "/" + string(i.Role) + "/" + i.ID}
}

// IdentityOf returns the identity in a certificate: its only URI, and no other name.
// The subject means nothing. It does not check who issued the certificate.
func IdentityOf(c *x509.Certificate) (Identity, error) {
	switch {
	case c == nil:
		return Identity{}, fmt.Errorf("%w: no certificate", ErrIdentity)
	case len(c.URIs) != 1:
		return Identity{}, fmt.Errorf("%w: the certificate has %d URIs and has to have one", ErrIdentity, len(c.URIs))
	case len(c.DNSNames)+len(c.IPAddresses)+len(c.EmailAddresses) != 0:
		return Identity{}, fmt.Errorf("%w: the certificate has names beside its URI", ErrIdentity)
	}
	return ParseIdentity(c.URIs[0].String())
}

const nameRule = "1 to 63 of a-z, 0-9, '.', '_' and '-', the first and last a letter or a digit"

func name(s string) bool {
	if len(s) == 0 || len(s) > MaxName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		inner := i > 0 && i < len(s)-1 && (c == '.' || c == '_' || c == '-')
		if !alnum && !inner {
			return false
		}
	}
	return true
}
