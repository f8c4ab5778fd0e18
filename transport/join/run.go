package join

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/validate"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/internal/h2"
	"github.com/holdfastvpn/holdfast/transport/internal/wire"
	"github.com/holdfastvpn/holdfast/transport/join/internal/pb"
)

// Config is for Run.
type Config struct {
	// Token is what the operator typed; required.
	Token Token
	// Role is what this program is; required. A token for another role is refused.
	Role transport.Role
	// Key is the machine's; required (NewKey). Keep it before joining: after a crash
	// half-way only the same key can go on.
	Key crypto.Signer
	// Listener is where a core dials. It is required if the token has no Cores, and
	// closed in the end.
	Listener net.Listener
	// Dialer connects to one of the token's Cores, by default over TCP.
	Dialer func(ctx context.Context, addr string) (net.Conn, error)
	// Log gets what went wrong on the way; by default nothing is logged.
	Log *slog.Logger
	// Now is the time, by default time.Now.
	Now func() time.Time
}

// NewKey makes a key for a machine: ECDSA on P-256, which everything can.
func NewKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// Request makes a signing request.
func Request(key crypto.Signer, id transport.Identity) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id.URI()}}, key)
}

const (
	patience = 20 * time.Second       // for one connection, from its first byte
	again    = 500 * time.Millisecond // between two tries
)

// Run joins. It blocks until the core has issued a certificate, until it refused for
// good, or until ctx ends; then the error says what went wrong last. Strangers who
// connect in the meantime do not disturb it.
func Run(ctx context.Context, cfg Config) (transport.Credentials, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dialer == nil {
		cfg.Dialer = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	if cfg.Listener != nil {
		defer func() { _ = cfg.Listener.Close() }()
	}
	t := cfg.Token
	switch {
	case cfg.Key == nil:
		return transport.Credentials{}, errors.New("join: Config.Key is required")
	case t.Identity.Role != cfg.Role:
		return transport.Credentials{}, fmt.Errorf("%w: the token is for a %s, and this is a %s: make one with \"holdfast %s token\"",
			transport.ErrRole, t.Identity.Role, cfg.Role, cfg.Role)
	case cfg.Listener == nil && len(t.Cores) == 0:
		return transport.Credentials{}, errors.New("join: a core dials with this token: say where to listen")
	}
	if !cfg.Now().Before(t.Expires.Add(time.Hour)) { // the core's clock counts, not ours, but for this
		return transport.Credentials{}, fmt.Errorf("%w: at %s: make a new one", ErrExpired, t.Expires.Format(time.RFC3339))
	}
	j := &joiner{cfg: cfg}
	if len(t.Cores) > 0 {
		return j.dial(ctx)
	}
	return j.listen(ctx)
}

type joiner struct{ cfg Config }

func (j *joiner) failed(ctx context.Context, last error) (transport.Credentials, error) {
	if last == nil {
		return transport.Credentials{}, fmt.Errorf("join: no core came: is the address right that the token was made with, and does its firewall let a core in? %w", ctx.Err())
	}
	return transport.Credentials{}, fmt.Errorf("%w (%w)", last, ctx.Err())
}

func (j *joiner) dial(ctx context.Context) (transport.Credentials, error) {
	var last error
	for ctx.Err() == nil {
		for _, addr := range j.cfg.Token.Cores {
			raw, err := j.cfg.Dialer(ctx, addr)
			if err == nil {
				var c transport.Credentials
				conf := j.tls()
				conf.ServerName = transport.JoinName
				if c, err = j.once(ctx, tls.Client(raw, conf)); err == nil {
					return c, nil
				}
			}
			if final(err) || errors.Is(err, ErrRoot) {
				return transport.Credentials{}, err
			}
			if ctx.Err() == nil || last == nil {
				last = fmt.Errorf("join: at %s: %w", addr, err)
			}
			j.cfg.Log.WarnContext(ctx, "joining failed", "addr", addr, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
	return j.failed(ctx, last)
}

func (j *joiner) listen(ctx context.Context) (transport.Credentials, error) {
	type outcome struct {
		c   transport.Credentials
		err error
	}
	outcomes := make(chan outcome)
	var wg sync.WaitGroup
	defer wg.Wait()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(inner, func() { _ = j.cfg.Listener.Close() })
	tell := func(c transport.Credentials, err error) {
		select {
		case outcomes <- outcome{c, err}:
		case <-inner.Done():
		}
	}
	wg.Go(func() {
		// Several at a time, so that one who says nothing holds up nobody.
		slots := make(chan struct{}, 16)
		for {
			slots <- struct{}{}
			raw, err := j.cfg.Listener.Accept()
			if err != nil {
				tell(transport.Credentials{}, fmt.Errorf("%w: %w", errListen, err))
				return
			}
			wg.Go(func() {
				tell(j.once(inner, tls.Server(raw, j.invited())))
				<-slots
			})
		}
	})
	var last error
	for {
		select {
		case <-ctx.Done():
			return j.failed(ctx, last)
		case o := <-outcomes:
			if o.err == nil || final(o.err) || errors.Is(o.err, errListen) {
				return o.c, o.err
			}
			if errors.Is(o.err, errStranger) { // somebody who will want a link, later
				j.cfg.Log.DebugContext(ctx, "somebody came who lets nobody join")
				continue
			}
			last = o.err
			j.cfg.Log.WarnContext(ctx, "joining failed", "err", o.err)
		}
	}
}

var (
	errListen   = errors.New("join: listening")
	errStranger = errors.New("join: it is not about joining")
)

// invited is for a connection that somebody else began: cores and gateways that want a
// link come to the same address.
func (j *joiner) invited() *tls.Config {
	conf := j.tls()
	conf.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if h.ServerName != transport.JoinName {
			return nil, errStranger
		}
		return nil, nil
	}
	return conf
}

// tls is for either end of the connection. The joiner's own certificate means nothing;
// a server has to have one.
func (j *joiner) tls() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, Time: j.cfg.Now,
		ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
		InsecureSkipVerify: true, //nolint:gosec // the token has the root's hash, and VerifyConnection compares
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			key, err := NewKey()
			if err != nil {
				return nil, err
			}
			none := &x509.Certificate{SerialNumber: big.NewInt(1)}
			der, err := x509.CreateCertificate(rand.Reader, none, none, key.Public(), key)
			return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
		},
		VerifyConnection: func(s tls.ConnectionState) error { return j.pinned(s.PeerCertificates) },
	}
}

// pinned checks that the token's core is at the other end.
func (j *joiner) pinned(chain []*x509.Certificate) error {
	t := j.cfg.Token
	for _, c := range chain {
		if sum := sha256.Sum256(c.Raw); !hmac.Equal(sum[:], t.Root[:]) || !c.IsCA {
			continue
		}
		p := transport.Policy{Deployment: t.Identity.Deployment, Roots: []*x509.Certificate{c}, Roles: []transport.Role{transport.Core}}
		v, err := p.Verify(chain, x509.ExtKeyUsageAny, j.cfg.Now())
		if err == nil && v.Expired {
			err = transport.ErrExpired
		}
		if err != nil {
			return fmt.Errorf("%w: its root is right, but its certificate is not: %w", ErrRoot, err)
		}
		return nil
	}
	return fmt.Errorf("%w: its root has another fingerprint than the token says: somebody else is at this address, or the core was set up anew", ErrRoot)
}

// once tries on one connection, and closes it.
func (j *joiner) once(ctx context.Context, c *tls.Conn) (transport.Credentials, error) {
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		return transport.Credentials{}, fmt.Errorf("join: %w", err)
	}
	cc, err := h2.Call(ctx, c, h2.Pings{After: 2 * time.Second, Answer: 2 * time.Second})
	if err != nil {
		return transport.Credentials{}, fmt.Errorf("join: %w", err)
	}
	defer func() { _ = cc.Close() }()
	state := c.ConnectionState()
	ch, err := channelOf(&state)
	if err != nil {
		return transport.Credentials{}, err
	}
	client := pb.NewJoinServiceClient(&http.Client{Transport: cc}, transport.BaseURL,
		connect.WithReadMaxBytes(128<<10), connect.WithInterceptors(validate.NewInterceptor(validate.WithValidateResponses())))
	return j.ask(ctx, client, ch)
}

func (j *joiner) ask(ctx context.Context, client pb.JoinServiceClient, ch []byte) (transport.Credentials, error) {
	none := transport.Credentials{}
	t := j.cfg.Token
	secret, v := t.Secret(), VerifierOf(t.Secret())
	proven, err := client.Prove(ctx, &pb.ProveRequest{TokenId: t.ID[:], Proof: proof(v, joinerProves, ch, t.ID[:])})
	if err != nil {
		return none, wire.Decode(words, err)
	}
	if !hmac.Equal(proven.GetProof(), proof(v, coreProves, ch, t.ID[:])) {
		return none, fmt.Errorf("%w: it does not know the token's secret", ErrRoot)
	}
	request, err := Request(j.cfg.Key, t.Identity)
	if err != nil {
		return none, fmt.Errorf("join: signing the request: %w", err)
	}
	got, err := client.Join(ctx, &pb.JoinRequest{
		TokenId: t.ID[:], Secret: secret[:], Request: request,
		Proof: proof(v, joinerAsks, ch, t.ID[:], request),
	})
	if err != nil {
		return none, wire.Decode(words, err)
	}
	if !hmac.Equal(got.GetProof(), proof(v, coreAnswers, ch, answer(t.ID[:], request, got.GetCertificate(), got.GetRoots())...)) {
		return none, fmt.Errorf("%w: its answer is not proven", ErrRoot)
	}
	return accept(j.cfg.Key, t.Identity, got.GetCertificate(), got.GetRoots(), j.cfg.Now())
}

// accept makes credentials of an answer, if they are what was asked for.
func accept(key crypto.Signer, id transport.Identity, der []byte, rawRoots [][]byte, now time.Time) (transport.Credentials, error) {
	none := transport.Credentials{}
	leaf, err := x509.ParseCertificate(der)
	var roots []*x509.Certificate
	for _, r := range rawRoots {
		root, rootErr := x509.ParseCertificate(r)
		err = cmp.Or(err, rootErr)
		roots = append(roots, root)
	}
	if err != nil {
		return none, fmt.Errorf("join: the core's answer: %w", err)
	}
	p := transport.Policy{Deployment: id.Deployment, Roots: roots, Roles: []transport.Role{id.Role}, Want: id}
	if _, err := p.Verify([]*x509.Certificate{leaf}, x509.ExtKeyUsageAny, now); err != nil {
		return none, fmt.Errorf("join: the core's answer: %w", err)
	}
	c, err := transport.NewCredentials(key, []*x509.Certificate{leaf}, roots)
	if err != nil {
		return none, fmt.Errorf("join: the core's answer: %w", err)
	}
	return c, nil
}
