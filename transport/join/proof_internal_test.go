// Internal: what an attacker would send, no client of ours can be made to.

package join

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport/internal/wire"
	"github.com/holdfastvpn/holdfast/transport/join/internal/pb"
)

// onlyToken is an authority that has one token.
type onlyToken struct {
	id     [16]byte
	v      Verifier
	issued int
}

func (o *onlyToken) Verifier(_ context.Context, id [16]byte) (Verifier, error) {
	if id != o.id {
		return Verifier{}, ErrUnknown
	}
	return o.v, nil
}

func (o *onlyToken) Join(context.Context, [16]byte, []byte) (Issued, error) {
	o.issued++
	return Issued{Certificate: &x509.Certificate{Raw: []byte{1}}, Roots: []*x509.Certificate{{Raw: []byte{2}}}}, nil
}

func (o *onlyToken) Renew(context.Context, *x509.Certificate, []byte) (Issued, error) {
	return Issued{}, ErrRequest
}

// connection returns both ends of one, as its server and client know it.
func connection(t *testing.T) (server context.Context, client []byte) {
	t.Helper()
	a, b := net.Pipe()
	defer func() { _ = a.Close(); _ = b.Close() }()
	conf := (&joiner{}).tls()
	conf.ClientAuth, conf.VerifyConnection = tls.NoClientCert, nil
	s, c := tls.Server(a, conf), tls.Client(b, conf)
	done := make(chan error)
	go func() { done <- s.HandshakeContext(t.Context()) }()
	require.NoError(t, c.HandshakeContext(t.Context()))
	require.NoError(t, <-done)
	near, far := s.ConnectionState(), c.ConnectionState()
	ch, err := channelOf(&far)
	require.NoError(t, err)
	return context.WithValue(t.Context(), channelKey{}, &near), ch
}

func TestAProofIsGoodForOneThingOnOneConnection(t *testing.T) {
	tok := NewToken(Token{})
	secret, v := tok.Secret(), VerifierOf(tok.Secret())
	a := &onlyToken{id: tok.ID, v: v}
	s := joinServer{a}
	here, ch := connection(t)
	elsewhere, _ := connection(t)
	other := NewToken(Token{})
	id, request := tok.ID[:], []byte("request")

	prove := func(ctx context.Context, id, proof []byte) error {
		_, err := s.Prove(ctx, &pb.ProveRequest{TokenId: id, Proof: proof})
		return wire.Decode(words, err)
	}
	good := proof(v, joinerProves, ch, id)
	require.NoError(t, prove(here, id, good))
	require.ErrorIs(t, prove(elsewhere, id, good), ErrUnknown, "passed on to another connection")
	require.ErrorIs(t, prove(here, other.ID[:], good), ErrUnknown, "of another token")
	require.ErrorIs(t, prove(here, id, proof(VerifierOf(other.Secret()), joinerProves, ch, id)), ErrUnknown, "of another secret")
	for _, label := range []string{coreProves, joinerAsks, coreAnswers, ""} {
		require.ErrorIs(t, prove(here, id, proof(v, label, ch, id)), ErrUnknown, "made for something else: %s", label)
	}
	require.ErrorIs(t, prove(t.Context(), id, good), ErrRequest, "without TLS")

	join := func(ctx context.Context, id, proof, secret, request []byte) error {
		_, err := s.Join(ctx, &pb.JoinRequest{TokenId: id, Proof: proof, Secret: secret, Request: request})
		return wire.Decode(words, err)
	}
	asks, wrong := proof(v, joinerAsks, ch, id, request), other.Secret()
	require.ErrorIs(t, join(here, id, asks, wrong[:], request), ErrUnknown, "who has only what the core keeps cannot join")
	require.ErrorIs(t, join(here, id, asks, v[:], request), ErrUnknown, "the same")
	require.ErrorIs(t, join(here, id, good, secret[:], request), ErrUnknown, "the proof of before")
	require.ErrorIs(t, join(here, id, asks, secret[:], []byte("another")), ErrUnknown, "for another key")
	require.ErrorIs(t, join(elsewhere, id, asks, secret[:], request), ErrUnknown, "passed on")
	require.ErrorIs(t, join(here, other.ID[:], asks, secret[:], request), ErrUnknown)
	require.Zero(t, a.issued)
	require.NoError(t, join(here, id, asks, secret[:], request))
	require.Equal(t, 1, a.issued)

	// The parts of a proof cannot be moved into each other.
	require.NotEqual(t, proof(v, joinerAsks, ch, []byte("ab"), []byte("c")), proof(v, joinerAsks, ch, []byte("a"), []byte("bc")))
}

// The core has to show that it knows the token, before it is shown the secret.
func TestTheSecretIsShownToTheTokensCoreOnly(t *testing.T) {
	tok := NewToken(Token{})
	_, ch := connection(t)
	key, err := NewKey()
	require.NoError(t, err)
	core := &fakeCore{}
	j := &joiner{cfg: Config{Token: tok, Key: key}}
	for _, proof := range [][]byte{nil, make([]byte, 32), proof(VerifierOf(tok.Secret()), joinerProves, ch, tok.ID[:])} {
		core.proof = proof
		_, err := j.ask(t.Context(), core, ch)
		require.ErrorIs(t, err, ErrRoot)
		require.False(t, core.asked)
	}
	core.proof = proof(VerifierOf(tok.Secret()), coreProves, ch, tok.ID[:])
	_, err = j.ask(t.Context(), core, ch)
	require.True(t, core.asked)
	require.ErrorIs(t, err, ErrRoot, "an answer has to be proven, too")
}

type fakeCore struct {
	proof []byte
	asked bool
}

func (f *fakeCore) Prove(context.Context, *pb.ProveRequest) (*pb.ProveResponse, error) {
	return &pb.ProveResponse{Proof: f.proof}, nil
}

func (f *fakeCore) Join(context.Context, *pb.JoinRequest) (*pb.JoinResponse, error) {
	f.asked = true
	return &pb.JoinResponse{Certificate: []byte{1}, Roots: [][]byte{{2}}, Proof: make([]byte, 32)}, nil
}
