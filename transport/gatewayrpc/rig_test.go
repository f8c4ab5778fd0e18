package gatewayrpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc"
)

// header stands for the certificate: who asks says it there.
const header = "Test-Gateway"

type whoKey struct{}

func identify(ctx context.Context) (gateway.ID, error) {
	id, ok := ctx.Value(whoKey{}).(gateway.ID)
	if !ok {
		return "", errors.New("no certificate")
	}
	return id, nil
}

// certified puts the gateway of the header in the context, as a certificate would.
func certified(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(r.Context(), whoKey{}, gateway.ID(r.Header.Get(header)))
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// as is an HTTP client with the certificate of a gateway.
type as struct {
	id gateway.ID
	c  interface {
		Do(r *http.Request) (*http.Response, error)
	}
}

func (a as) Do(r *http.Request) (*http.Response, error) {
	r.Header.Set(header, string(a.id))
	return a.c.Do(r)
}

// everybody is a control plane with a certificate for whoever asks.
type everybody struct {
	c    *http.Client
	base string
	cfg  gatewayrpc.ClientConfig
}

func (e everybody) is(id gateway.ID) gateway.ControlPlane {
	return gatewayrpc.NewClient(as{id, e.c}, e.base, e.cfg)
}

func (e everybody) Assigned(ctx context.Context, id gateway.ID) iter.Seq2[[]gateway.Assignment, error] {
	return e.is(id).Assigned(ctx, id)
}

func (e everybody) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision,
) iter.Seq2[gateway.Update, error] {
	return e.is(id).Watch(ctx, id, at, have)
}

func (e everybody) Report(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error {
	return e.is(id).Report(ctx, id, at, s)
}

func protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	p.SetHTTP2(true)
	return p
}

// wire is a server and how to reach it. Connections can be cut.
type wire struct {
	everybody

	mu    sync.Mutex
	conns map[net.Conn]bool
	dead  bool
}

type config struct {
	handler gatewayrpc.HandlerConfig
	client  gatewayrpc.ClientConfig
}

func (c config) serve(origin gateway.ControlPlane) http.Handler {
	if c.handler.Identify == nil {
		c.handler.Identify = identify
	}
	mux := http.NewServeMux()
	mux.Handle(gatewayrpc.NewHandler(origin, c.handler))
	return certified(mux)
}

// onPipes serves origin over connections in memory.
func onPipes(tb testing.TB, origin gateway.ControlPlane, cfg config) *wire {
	tb.Helper()
	w := onHandler(tb, cfg.serve(origin))
	w.cfg = cfg.client
	return w
}

// onHandler serves a handler over connections in memory.
func onHandler(tb testing.TB, h http.Handler) *wire {
	tb.Helper()
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	srv := &http.Server{
		Handler: h, Protocols: protocols(), ReadHeaderTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }()
	w := &wire{conns: map[net.Conn]bool{}}
	t := &http.Transport{Protocols: protocols(), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return w.keep(l.dial(ctx))
	}}
	w.everybody = everybody{&http.Client{Transport: t}, "http://core", gatewayrpc.ClientConfig{}}
	tb.Cleanup(func() {
		w.Cut()
		t.CloseIdleConnections()
		_ = srv.Close()
		<-served
	})
	return w
}

// onLoopback serves origin over TCP, with TLS or without.
func onLoopback(tb testing.TB, origin gateway.ControlPlane, encrypted bool) *wire {
	tb.Helper()
	srv := httptest.NewUnstartedServer(config{}.serve(origin))
	srv.Config.Protocols, srv.Config.ErrorLog = protocols(), slog.NewLogLogger(slog.DiscardHandler, 0)
	t := &http.Transport{Protocols: protocols()}
	if encrypted {
		srv.EnableHTTP2 = true
		srv.StartTLS()
		known, ok := srv.Client().Transport.(*http.Transport)
		require.True(tb, ok)
		t.TLSClientConfig = &tls.Config{RootCAs: known.TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS13}
		t.Protocols.SetUnencryptedHTTP2(false)
	} else {
		srv.Start()
	}
	w := &wire{conns: map[net.Conn]bool{}}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return w.keep(new(net.Dialer).DialContext(ctx, network, addr))
	}
	w.everybody = everybody{&http.Client{Transport: t}, srv.URL, gatewayrpc.ClientConfig{}}
	tb.Cleanup(func() {
		w.Cut()
		t.CloseIdleConnections()
		srv.CloseClientConnections()
		srv.Close()
	})
	return w
}

func (w *wire) keep(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		_ = c.Close()
		return nil, errors.New("cut")
	}
	w.conns[c] = true
	return c, nil
}

// Cut closes all connections, and lets none be made.
func (w *wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = true
	for c := range w.conns {
		_ = c.Close()
	}
	clear(w.conns)
}

// Heal ends what Cut did.
func (w *wire) Heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = false
}

// pipes is a listener for connections in memory.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }
