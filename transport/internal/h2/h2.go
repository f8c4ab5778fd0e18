// Package h2 runs HTTP/2 over one TLS connection, either way round: Serve is for the
// end that answers, Call for the end that asks, whoever dialled.
package h2

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Pings are how a dead connection is found: after After without a frame a ping is
// sent, which has to be answered within Answer.
type Pings struct{ After, Answer time.Duration }

const (
	maxHeader  = 64 << 10
	maxStreams = 1000    // a gateway watches each of its locations
	maxFrame   = 1 << 18 // larger messages come in several
)

func (p Pings) config() *http.HTTP2Config {
	return &http.HTTP2Config{
		SendPingTimeout: p.After, PingTimeout: p.Answer, WriteByteTimeout: p.After + p.Answer,
		MaxConcurrentStreams: maxStreams, MaxReadFrameSize: maxFrame,
		StrictMaxConcurrentRequests: true,
	}
}

func protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP2(true)
	return p
}

// Serve answers requests on c until it breaks or ctx ends. Requests see the end of ctx
// at once, with its cause, and have grace to say so; then c is closed. The error says
// why c broke, as far as it is known; it is nil if the other end hung up, or ctx ended.
func Serve(ctx context.Context, c *tls.Conn, h http.Handler, p Pings, grace time.Duration) error {
	words := &lastWords{}
	once := newOnce(c)
	srv := &http.Server{ //nolint:gosec // the handshake is over, and requests may take as long as they like
		Handler: h, Protocols: protocols(), HTTP2: p.config(), MaxHeaderBytes: maxHeader,
		ErrorLog:    slog.NewLogLogger(words, slog.LevelInfo),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateClosed {
				_ = once.Close()
			}
		},
	}
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drained)
		brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		_ = srv.Shutdown(brief)
		_ = srv.Close()
		_ = c.Close()
		_ = once.Close()
	})
	_ = srv.Serve(once) // always an error; why it broke, the words say
	<-once.done
	if !stop() {
		<-drained
		return nil
	}
	_ = srv.Close()
	_ = c.Close()
	return words.err()
}

// Call makes requests on c. The caller closes what it returns, and c.
func Call(ctx context.Context, c *tls.Conn, p Pings) (*http.ClientConn, error) {
	t := &http.Transport{
		Protocols: protocols(), HTTP2: p.config(), MaxResponseHeaderBytes: maxHeader, DisableCompression: true,
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return c, nil },
	}
	return t.NewClientConn(ctx, "https", "link:443")
}

// once is a listener that has one connection to give.
type once struct {
	conn  net.Conn
	given chan net.Conn
	done  chan struct{}
	close func()
}

func newOnce(c net.Conn) *once {
	o := &once{conn: c, given: make(chan net.Conn, 1), done: make(chan struct{})}
	o.given <- c
	o.close = sync.OnceFunc(func() { close(o.done) })
	return o
}

func (o *once) Accept() (net.Conn, error) {
	select {
	case c := <-o.given:
		return c, nil
	case <-o.done:
		return nil, io.EOF
	}
}

func (o *once) Close() error   { o.close(); return nil }
func (o *once) Addr() net.Addr { return o.conn.LocalAddr() }

// lastWords keeps what the server logged last: the only place where it says why a
// connection broke.
type lastWords struct {
	mu   sync.Mutex
	last string
}

func (*lastWords) Enabled(context.Context, slog.Level) bool { return true }

func (l *lastWords) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = r.Message
	return nil
}

func (l *lastWords) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *lastWords) WithGroup(string) slog.Handler      { return l }

func (l *lastWords) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == "" {
		return nil
	}
	return errors.New(strings.TrimSpace(l.last))
}
