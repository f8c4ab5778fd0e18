package join

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/holdfastvpn/holdfast/transport/internal/transcript"
)

// Verifier is what a core keeps of a secret: enough to prove the token to a joiner, and
// not enough to join. It is the hash of 256 random bits, which needs no salt.
type Verifier [32]byte

// VerifierOf hashes a secret.
func VerifierOf(secret [32]byte) Verifier {
	h := sha256.New()
	h.Write([]byte("holdfast join verifier v1\x00"))
	h.Write(secret[:])
	return Verifier(h.Sum(nil))
}

// Format prints "(hash)": who has it can pretend to be a core.
func (Verifier) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(hash)")) }

// Each proof has a label of its own, so that none can stand for another.
const (
	joinerProves = "holdfast join v1: the joiner knows the token"
	coreProves   = "holdfast join v1: the core knows the token"
	joinerAsks   = "holdfast join v1: the joiner asks"
	coreAnswers  = "holdfast join v1: the core answers"
)

// proof is a MAC over the label, what only this connection has, and the parts.
func proof(v Verifier, label string, channel []byte, parts ...[]byte) []byte {
	return transcript.MAC(v, label, append([][]byte{channel}, parts...)...)
}

// channelOf is a value that only the two ends of this connection have (RFC 9266 names
// the manner; the label is our own).
func channelOf(s *tls.ConnectionState) ([]byte, error) {
	if s == nil || s.Version < tls.VersionTLS13 {
		return nil, fmt.Errorf("%w: not on a connection of TLS 1.3", ErrRequest)
	}
	out, err := s.ExportKeyingMaterial("EXPORTER-holdfast-join-v1", nil, 32)
	if err != nil {
		return nil, fmt.Errorf("join: binding to the connection: %w", err)
	}
	return out, nil
}

// answer are the parts that the core's last proof is over.
func answer(tokenID, request, certificate []byte, roots [][]byte) [][]byte {
	return append([][]byte{tokenID, request, certificate}, roots...)
}

func ders(certs []*x509.Certificate) (out [][]byte) {
	for _, c := range certs {
		out = append(out, c.Raw)
	}
	return out
}
