package join

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/validate"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/internal/wire"
	"github.com/holdfastvpn/holdfast/transport/join/internal/pb"
)

// Authority is what issues; package authority has one. Errors are those of this package
// and of transport; others reach the joiner as "a problem of its own". It is safe for
// concurrent use.
type Authority interface {
	// Verifier returns what is kept of a token's secret, or ErrUnknown.
	Verifier(ctx context.Context, tokenID [16]byte) (Verifier, error)
	// Join uses the token up for the key of the signing request (PKCS #10, DER). The
	// same key may do so again.
	Join(ctx context.Context, tokenID [16]byte, request []byte) (Issued, error)
	// Renew issues another certificate to who has this one, expired or not.
	Renew(ctx context.Context, old *x509.Certificate, request []byte) (Issued, error)
}

// Issued is what a joined machine keeps.
type Issued struct {
	Certificate *x509.Certificate
	// Roots are those that are trusted now, the newest first.
	Roots []*x509.Certificate
}

// Handlers are for a transport.Server: its Join, Renew and RenewPath. The rest is the
// caller's.
func Handlers(a Authority) transport.Handlers {
	options := []connect.HandlerOption{
		connect.WithReadMaxBytes(64 << 10),
		connect.WithInterceptors(validate.NewInterceptor()),
	}
	joining, renewing := http.NewServeMux(), http.NewServeMux()
	path, h := pb.NewJoinServiceHandler(joinServer{a}, options...)
	joining.Handle(path, channelled(h))
	path, h = pb.NewRenewServiceHandler(renewServer{a}, options...)
	renewing.Handle(path, h)
	return transport.Handlers{Join: joining, Renew: renewing, RenewPath: path}
}

type channelKey struct{}

// channelled tells handlers which connection they serve.
func channelled(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), channelKey{}, r.TLS)))
	})
}

func channel(ctx context.Context) ([]byte, error) {
	s, _ := ctx.Value(channelKey{}).(*tls.ConnectionState)
	return channelOf(s)
}

type joinServer struct{ a Authority }

// verifier returns a random one for a token that there is not, so that an unknown token
// and a wrong secret are refused alike.
func (s joinServer) verifier(ctx context.Context, tokenID []byte) (v Verifier, err error) {
	v, err = s.a.Verifier(ctx, [16]byte(tokenID))
	if errors.Is(err, ErrUnknown) {
		_, _ = rand.Read(v[:])
		return v, nil
	}
	return v, err
}

var errUnknown = fmt.Errorf("%w: make a new one: it was cancelled, expired long ago, is of another core, or is damaged", ErrUnknown)

// Prove answers a proof with a proof.
func (s joinServer) Prove(ctx context.Context, r *pb.ProveRequest) (*pb.ProveResponse, error) {
	v, err := s.verifier(ctx, r.GetTokenId())
	if err != nil {
		return nil, wire.Encode(words, err)
	}
	ch, err := channel(ctx)
	if err != nil {
		return nil, wire.Encode(words, err)
	}
	if !hmac.Equal(r.GetProof(), proof(v, joinerProves, ch, r.GetTokenId())) {
		return nil, wire.Encode(words, errUnknown)
	}
	return &pb.ProveResponse{Proof: proof(v, coreProves, ch, r.GetTokenId())}, nil
}

// Join issues.
func (s joinServer) Join(ctx context.Context, r *pb.JoinRequest) (*pb.JoinResponse, error) {
	v, err := s.verifier(ctx, r.GetTokenId())
	if err != nil {
		return nil, wire.Encode(words, err)
	}
	ch, err := channel(ctx)
	if err != nil {
		return nil, wire.Encode(words, err)
	}
	shown := VerifierOf([32]byte(r.GetSecret()))
	proven := hmac.Equal(r.GetProof(), proof(v, joinerAsks, ch, r.GetTokenId(), r.GetRequest()))
	if secret := hmac.Equal(shown[:], v[:]); !proven || !secret {
		return nil, wire.Encode(words, errUnknown)
	}
	is, err := s.a.Join(ctx, [16]byte(r.GetTokenId()), r.GetRequest())
	if err != nil {
		return nil, wire.Encode(words, err)
	}
	out := &pb.JoinResponse{Certificate: is.Certificate.Raw, Roots: ders(is.Roots)}
	out.Proof = proof(v, coreAnswers, ch, answer(r.GetTokenId(), r.GetRequest(), out.GetCertificate(), out.GetRoots())...)
	return out, nil
}

type renewServer struct{ a Authority }

// Renew issues to who is at the other end of the link.
func (s renewServer) Renew(ctx context.Context, r *pb.RenewRequest) (*pb.RenewResponse, error) {
	peer, ok := transport.PeerOf(ctx)
	if !ok || peer.Certificate == nil {
		return nil, wire.Encode(words, fmt.Errorf("%w: renewing needs a link", ErrRequest))
	}
	is, err := s.a.Renew(ctx, peer.Certificate, r.GetRequest())
	if err != nil {
		return nil, wire.Encode(words, err)
	}
	return &pb.RenewResponse{Certificate: is.Certificate.Raw, Roots: ders(is.Roots)}, nil
}

// Dialer connects to machines that wait to join.
type Dialer struct {
	// Server dials; required.
	Server *transport.Server
	// Waiting returns the addresses where machines wait now; required.
	Waiting func(context.Context) ([]string, error)
	// Every is how long to wait between two looks and between two tries, by default 1 s.
	Every time.Duration
	// Failed is told what did not work; it may be nil. A machine that is not there yet
	// is no surprise.
	Failed func(addr string, why error)
}

// Run dials until ctx ends, and then returns nil.
func (d Dialer) Run(ctx context.Context) error {
	every := d.Every
	if every <= 0 {
		every = time.Second
	}
	failed := d.Failed
	if failed == nil {
		failed = func(string, error) {}
	}
	busy := make(map[string]chan struct{})
	defer func() {
		for _, done := range busy {
			<-done
		}
	}()
	t := time.NewTicker(every)
	defer t.Stop()
	for ctx.Err() == nil {
		addrs, err := d.Waiting(ctx)
		if err != nil && ctx.Err() == nil {
			failed("", err)
		}
		for _, addr := range addrs {
			if running(busy[addr]) {
				continue
			}
			done := make(chan struct{})
			busy[addr] = done
			go func() {
				defer close(done)
				if err := d.Server.DialJoin(ctx, addr); err != nil && ctx.Err() == nil {
					failed(addr, err)
				}
			}()
		}
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	return nil
}

func running(done chan struct{}) bool {
	if done == nil {
		return false
	}
	select {
	case <-done:
		return false
	default:
		return true
	}
}
