package sealed

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"github.com/holdfastvpn/holdfast/transport/internal/transcript"
)

// Enrolment is what a device says to become one: in the body of a request that it signs
// with its identity, as a stranger. That signature proves the identity.
type Enrolment struct {
	// Token is the token's ID.
	Token [16]byte
	// WireGuard is the public key that the device will connect with.
	WireGuard [32]byte
	// Knows proves that the device knows the token's secret, and means these two keys.
	Knows [32]byte
	// Has proves that the device has the private key of WireGuard.
	Has [32]byte
}

// Each proof has a label of its own, so that none can stand for another.
const (
	knowsToken = "holdfast enrol v1: the device knows the token" //nolint:gosec // a label, no secret
	hasKey     = "holdfast enrol v1: the device has the WireGuard key"
)

// Enrol makes the proofs. It fails with ErrCore if core is none of the token's, and with
// ErrKey if wireguard is no X25519 key.
func (t Token) Enrol(core CorePublic, identity IdentityPublic, wireguard ecdh.KeyExchanger) (Enrolment, error) {
	if !t.Trusts(core) {
		return Enrolment{}, fmt.Errorf("sealed: enrolling with %s: %w", t, ErrCore)
	}
	if wireguard.Curve() != ecdh.X25519() {
		return Enrolment{}, fmt.Errorf("sealed: enrolling with %s: %w: WireGuard's are of X25519", t, ErrKey)
	}
	shared, err := wireguard.ECDH(core.dh)
	if err != nil {
		return Enrolment{}, fmt.Errorf("sealed: enrolling with %s: %w: %w", t, ErrKey, err)
	}
	e := Enrolment{Token: t.ID, WireGuard: [32]byte(wireguard.PublicKey().Bytes())}
	e.Knows, e.Has = e.proofs(t.Deployment, core.Fingerprint(), identity, t.Key(), shared)
	return e, nil
}

// proofs are MACs over all that an enrolment ties together: one keyed by the token, one
// by what only the two keys give. Without a key it is a random one.
func (e Enrolment) proofs(deployment string, core Fingerprint, identity IdentityPublic, token EnrolKey, shared []byte) (knows, has [32]byte) {
	parts := [][]byte{[]byte(deployment), e.Token[:], core[:], identity[:], e.WireGuard[:]}
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails: crypto/rand ends the program instead
	copy(key[:], token.Reveal())
	copy(knows[:], transcript.MAC(key, knowsToken, parts...))
	_, _ = rand.Read(key[:])
	if shared != nil {
		derived, _ := hkdf.Key(sha256.New, shared, nil, hasKey, len(key)) // fails for lengths only
		copy(key[:], derived)
	}
	copy(has[:], transcript.MAC(key, hasKey, parts...))
	return knows, has
}

// CheckEnrolment checks the proofs of an enrolment that came in this request. key is the
// token's, and the zero EnrolKey where there is no such token: that is refused after the
// same work, and with the same ErrEnrolment, as a wrong secret.
//
// Whether the token has expired, or is used up, is the caller's to say, and only to whom
// this believed: WireGuard and Caller.Identity are proven then.
func (o *Opened) CheckEnrolment(e Enrolment, key EnrolKey) error {
	var shared []byte
	if public, err := ecdh.X25519().NewPublicKey(e.WireGuard[:]); err == nil {
		shared, _ = o.core.parts().dh.ECDH(public) // nil for points of low order, which no key pair has
	}
	knows, has := e.proofs(o.opener.cfg.Deployment, o.core.Public().Fingerprint(), o.Caller.Identity, key, shared)
	one, two := hmac.Equal(knows[:], e.Knows[:]), hmac.Equal(has[:], e.Has[:])
	if !one || !two || shared == nil || key.IsZero() {
		return ErrEnrolment
	}
	return nil
}
