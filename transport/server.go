package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/validate"

	"github.com/holdfastvpn/holdfast/transport/internal/h2"
	"github.com/holdfastvpn/holdfast/transport/internal/pb"
	"github.com/holdfastvpn/holdfast/transport/internal/wire"
)

// Handlers are what a Server serves. Each may be nil, and then serves nothing. They get
// plain HTTP requests, with the peer in their context (PeerOf). Contexts end with their
// link; context.Cause says why, such as ErrReplaced, and there is a quarter of a second
// to tell the other end.
type Handlers struct {
	// Linked serves those whose certificate is good.
	Linked http.Handler
	// Renew serves those whose certificate is good or has expired; only the paths that
	// RenewPath begins. Without it who has expired gets no link (ErrRenewOnly), until it
	// comes with another certificate.
	Renew     http.Handler
	RenewPath string
	// Join serves those without a certificate, who may try for 30 s.
	Join http.Handler
}

// Server is the end of links that serves: a core. Make one with NewServer. It is safe
// for concurrent use.
type Server struct {
	ends

	handlers Handlers

	mu       sync.Mutex
	sessions map[*session]bool
}

// NewServer checks the configuration and starts nothing: Dial and Listen do.
func NewServer(cfg Config, h Handlers) (*Server, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	s := &Server{handlers: h, sessions: map[*session]bool{}}
	s.ends = ends{cfg: cfg, joins: h.Join != nil, run: s.session, places: make(chan struct{}, mostLinks)}
	return s, nil
}

// Dial keeps a link to the target until ctx ends, and then returns nil.
func (s *Server) Dial(ctx context.Context, t Target) error { return s.dial(ctx, t) }

// Listen takes links from ln until ctx ends, and then returns nil. It closes ln, and
// fails if somebody else does.
func (s *Server) Listen(ctx context.Context, ln net.Listener) error { return s.listen(ctx, ln) }

// DialJoin connects to a machine that waits to join at addr, once, and serves it
// Handlers.Join until it hangs up, 30 s at most.
func (s *Server) DialJoin(ctx context.Context, addr string) error {
	raw, err := s.connect(ctx, addr)
	if err != nil {
		return err
	}
	c := &conn{Conn: tls.Client(raw, JoinTLS(s.cfg.Holder, s.cfg.Now)), joins: true}
	shaking, cancel := context.WithTimeout(ctx, s.cfg.Handshake)
	defer cancel()
	if err := c.HandshakeContext(shaking); err != nil {
		_ = c.Close()
		return fmt.Errorf("transport: connecting to %s: %w", addr, explain(err))
	}
	_, err = s.session(ctx, c)
	return err
}

// Peers are the other ends of all links that are up, sorted by identity.
func (s *Server) Peers() []Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Peer
	for x := range s.sessions {
		list = append(list, x.peer)
	}
	slices.SortFunc(list, func(a, b Peer) int {
		return strings.Compare(a.Identity.String()+a.Instance, b.Identity.String()+b.Instance)
	})
	return list
}

// Drop ends the links of those whom which names, and tells them why; how many were
// ended is returned. They may come back at once, unless Config.Check refuses them.
func (s *Server) Drop(why error, which func(Peer) bool) (dropped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for x := range s.sessions {
		if which(x.peer) {
			x.end(why)
			dropped++
		}
	}
	return dropped
}

// session is one link.
type session struct {
	srv  *Server
	conn *conn
	ctx  context.Context //nolint:containedctx // of the link: requests come from outside
	end  context.CancelCauseFunc

	mu      sync.Mutex
	said    bool  // a Hello
	refused error // and why
	peer    Peer  // constant once the session is among the server's
	hello   http.Handler
	errors  *connect.ErrorWriter
}

// validation is one for all: its first use of each message is slow.
var validation = sync.OnceValue(func() connect.Option { //nolint:gochecknoglobals // a constant that takes a while to make
	return connect.WithInterceptors(validate.NewInterceptor(validate.WithValidateResponses()))
})

func (s *Server) session(whole context.Context, c *conn) (up bool, why error) {
	ctx, cancel := context.WithCancelCause(whole)
	defer cancel(nil)
	x := &session{srv: s, conn: c, ctx: ctx, end: cancel, errors: connect.NewErrorWriter()}
	_, x.hello = pb.NewLinkServiceHandler(x, connect.WithReadMaxBytes(maxHello), validation())

	deadline, late := s.cfg.Handshake, fmt.Errorf("%w: none within %s: the other end may have refused us", ErrHello, s.cfg.Handshake)
	if c.joins {
		deadline, late = 30*time.Second, errors.New("transport: joining took too long")
	}
	timer := time.AfterFunc(deadline, func() {
		if !x.welcomed() {
			cancel(late)
		}
	})
	defer timer.Stop()

	var wg sync.WaitGroup
	if !c.joins {
		wg.Go(func() { s.watch(ctx, c, cancel) })
	}
	err := h2.Serve(ctx, c.Conn, x, s.cfg.pings(), grace)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	stopped := ctx.Err() != nil
	cancel(nil)
	wg.Wait()
	if x.leave() {
		why = parting(whole, err)
		s.cfg.Trace.Down(x.peer, why)
		s.cfg.Log.InfoContext(ctx, "link down", "peer", x.peer.Identity.String(), "err", why)
		return true, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.refused != nil:
		return false, x.refused
	case err == nil && !c.joins && !stopped:
		return false, fmt.Errorf("%w: the other end hung up first: it may have refused us, and its log says why", ErrHello)
	}
	return false, err
}

func (x *session) welcomed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.said
}

// enter makes a session one of the server's, and ends older ones of the same peer.
func (x *session) enter(p Peer) error {
	x.mu.Lock()
	if x.said {
		x.mu.Unlock()
		return fmt.Errorf("%w: a second one", ErrHello)
	}
	x.said, x.peer = true, p
	x.mu.Unlock()

	s := x.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	for old := range s.sessions {
		if old.peer.Identity != p.Identity {
			continue
		}
		if old.peer.Instance == p.Instance {
			old.end(fmt.Errorf("%w of the same process", ErrReplaced))
		} else {
			old.end(fmt.Errorf("%w of another process that is %s, too: only one at a time may be (from %s)", ErrReplaced, p.Identity, p.Addr))
		}
	}
	s.sessions[x] = true
	s.cfg.Trace.Up(p) // here, so that it comes before Down
	return nil
}

func (x *session) leave() (was bool) {
	x.srv.mu.Lock()
	defer x.srv.mu.Unlock()
	was = x.srv.sessions[x]
	delete(x.srv.sessions, x)
	return was
}

// ServeHTTP lets nothing through but what the link's state allows.
func (x *session) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := x.srv.handlers
	x.mu.Lock()
	said, peer := x.said, x.peer
	x.mu.Unlock()
	switch {
	case x.conn.joins:
		x.pass(h.Join, w, r)
	case r.URL.Path == pb.LinkServiceHelloProcedure:
		x.hello.ServeHTTP(w, r)
	case !said:
		x.refuse(w, r, fmt.Errorf("%w: the first request on a link has to be one", ErrHello))
	case h.RenewPath != "" && strings.HasPrefix(r.URL.Path, h.RenewPath):
		x.pass(h.Renew, w, r.WithContext(WithPeer(r.Context(), peer)))
	case peer.RenewOnly:
		x.refuse(w, r, expired(ErrRenewOnly, peer))
	default:
		x.pass(h.Linked, w, r.WithContext(WithPeer(r.Context(), peer)))
	}
}

func (x *session) pass(h http.Handler, w http.ResponseWriter, r *http.Request) {
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h.ServeHTTP(w, r)
}

func (x *session) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if x.errors.IsSupported(r) {
		_ = x.errors.Write(w, r, wire.Encode(words, err))
		return
	}
	http.Error(w, err.Error(), http.StatusForbidden)
}

// why is why the link ends.
func (x *session) why() error { return context.Cause(x.ctx) }

// Hello is the first request, and lasts as long as the link.
func (x *session) Hello(ctx context.Context, req *pb.HelloRequest, out *connect.ServerStream[pb.HelloResponse]) error {
	cfg := x.srv.cfg
	ours := cfg.end()
	peer, err := meet(req.GetEnd(), x.conn.verified, x.conn.addr(), cfg.Now())
	if err == nil {
		peer.Version, err = choose(ours, req.GetEnd())
	}
	if err == nil && peer.RenewOnly && x.srv.handlers.Renew == nil {
		err = expired(ErrRenewOnly, peer)
	}
	if err == nil {
		err = x.enter(peer)
	}
	if err != nil {
		x.mu.Lock()
		x.refused = err
		x.mu.Unlock()
		return wire.Encode(words, err)
	}
	cfg.Log.InfoContext(ctx, "link up", "peer", peer.Identity.String(), "software", peer.Software, "skew", peer.Skew)
	err = out.Send(&pb.HelloResponse{Word: &pb.HelloResponse_Welcome{
		Welcome: &pb.Welcome{End: ours, Version: peer.Version, RenewOnly: peer.RenewOnly},
	}})
	t := time.NewTicker(checkEvery)
	defer t.Stop()
	for sent := []*x509.Certificate(nil); err == nil; {
		if roots := cfg.Holder.Get().Roots(); !slices.EqualFunc(sent, roots, (*x509.Certificate).Equal) {
			err = out.Send(&pb.HelloResponse{Word: &pb.HelloResponse_Roots{Roots: &pb.Roots{Roots: ders(roots)}}})
			sent = roots
		}
		select {
		case <-ctx.Done(): // of the request, which ends with the link's
			if why := x.why(); why != nil {
				return out.Send(farewell(why))
			}
			return ctx.Err()
		case <-t.C:
		}
	}
	return err
}

func ders(certs []*x509.Certificate) (out [][]byte) {
	for _, c := range certs {
		out = append(out, bytes.Clone(c.Raw))
	}
	return out
}
