package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// ErrReplaced says that a newer link of the same peer took a link's place.
var ErrReplaced = errors.New("transport: replaced by a newer link")

// JoinName is the server name by which a connection says that it has no certificate
// yet and wants one.
const JoinName = "join.holdfast.invalid"

const linkName = "link.holdfast.invalid"

// conn is a connection after its handshake.
type conn struct {
	*tls.Conn

	verified Verified
	usage    x509.ExtKeyUsage // what its certificate was used as
	want     Identity
	joins    bool // has no certificate, and wants one
	relays   bool // what it says is for somebody else
}

func (c *conn) addr() string {
	if a := c.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}

// brisk does not let the goodbye of TLS hold up the end of a dead connection: that
// waits 5 s for a full buffer to empty, although nobody is there.
type brisk struct {
	net.Conn

	silence time.Duration // after which it is dead
	heard   atomic.Int64  // when something was read last
}

func (e *ends) brisk(c net.Conn) net.Conn {
	b := &brisk{Conn: c, silence: e.cfg.PingAfter + e.cfg.PingAnswer}
	b.heard.Store(time.Now().UnixNano())
	return b
}

func (b *brisk) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	if n > 0 {
		b.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

func (b *brisk) SetWriteDeadline(t time.Time) error {
	if now := time.Now(); now.UnixNano()-b.heard.Load() >= int64(b.silence) && t.After(now) {
		t = now
	}
	return b.Conn.SetWriteDeadline(t)
}

// ends is what Server and Client have in common: connections.
type ends struct {
	cfg   Config
	joins bool // joiners may connect
	// run is one link, from its handshake to its end, and says whether it was up.
	run func(context.Context, *conn) (up bool, why error)
	// places has an entry for each link that was accepted and has not ended. Each end has
	// its own: however many links gateways have, there is a place for a core.
	places chan struct{}
	relays relays
}

// take takes a place for a link that was accepted, and give gives it back.
func (e *ends) take() error {
	select {
	case e.places <- struct{}{}:
		return nil
	default:
		return fmt.Errorf("transport: no place for another link: %d are taken", cap(e.places))
	}
}

func (e *ends) give() { <-e.places }

// What a link ended by, where nobody said a word.
var (
	errHungUp = errors.New("transport: the other end hung up")
	errStop   = errors.New("transport: this end stops")
)

// parting is what ended a link that was up, for those who read of it.
func parting(ctx context.Context, why error) error {
	switch {
	case ctx.Err() != nil: // of the whole end
		return errStop
	case why == nil:
		return errHungUp
	default:
		return why
	}
}

// dial keeps one link to the target until ctx ends.
func (e *ends) dial(ctx context.Context, t Target) error {
	b := &backoff.ExponentialBackOff{
		InitialInterval:     min(250*time.Millisecond, e.cfg.Retry/2),
		RandomizationFactor: 1, // somewhere between nothing and twice the interval
		Multiplier:          2,
		MaxInterval:         e.cfg.Retry / 2,
	}
	b.Reset()
	for last := ""; ; {
		began := e.cfg.Now()
		err := e.attempt(ctx, t)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // that is why it failed
		}
		var pause time.Duration
		if e.cfg.Now().Sub(began) >= lived {
			b.Reset()
		} else {
			pause = max(b.NextBackOff(), aside(err, e.cfg.Retry))
		}
		if err == nil {
			err = errHungUp
		}
		e.cfg.Trace.Failed(t.Addr, err, pause)
		level := slog.LevelInfo
		if err.Error() == last { // it has been said
			level = slog.LevelDebug
		}
		last = err.Error()
		e.cfg.Log.Log(ctx, level, "link ended", "addr", t.Addr, "err", err, "retry_in", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// aside is how long to wait at least when we are not wanted: trying often changes
// nothing.
func aside(err error, most time.Duration) time.Duration {
	for _, not := range []error{ErrReplaced, ErrRevoked, ErrUnlisted, ErrTooOld, ErrTooNew} {
		if errors.Is(err, not) {
			return most
		}
	}
	return 0
}

func (e *ends) attempt(ctx context.Context, t Target) error {
	raw, err := e.connect(ctx, t.Addr)
	if err != nil && t.Relays != nil && ctx.Err() == nil {
		var around error
		if raw, around = e.around(ctx, t); raw == nil {
			return errors.Join(err, around)
		}
		looking, stop := context.WithCancel(ctx)
		var looks sync.WaitGroup
		defer looks.Wait()
		defer stop()
		looks.Go(func() { e.straighten(looking, t, raw) })
		err = nil
	}
	if err != nil {
		return err
	}
	c := &conn{usage: x509.ExtKeyUsageServerAuth, want: t.Want}
	conf := e.tls(c)
	conf.ServerName = linkName
	c.Conn = tls.Client(raw, conf)
	if err := e.shake(ctx, c); err != nil {
		return fmt.Errorf("transport: connecting to %s: %w", t.Addr, err)
	}
	_, err = e.run(ctx, c)
	return err
}

func (e *ends) connect(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Handshake)
	defer cancel()
	raw, err := e.cfg.Dialer(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("transport: connecting to %s: %w", addr, err)
	}
	return e.brisk(raw), nil
}

// shake does the handshake, or closes the connection.
func (e *ends) shake(ctx context.Context, c *conn) error {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Handshake)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return explain(err)
	}
	return nil
}

// explain adds what an alert cannot say.
func explain(err error) error {
	if strings.Contains(err.Error(), "remote error: tls: bad certificate") {
		return fmt.Errorf("%w: the other end refused our certificate, and its log says why"+
			" (revoked, another deployment, the wrong role, or somebody else was expected)", err)
	}
	return err
}

func (e *ends) tls(c *conn) *tls.Config {
	return tlsConfig(e.cfg.Holder, func(chain []*x509.Certificate) (err error) {
		c.verified, err = e.verify(c, chain)
		return err
	}, e.cfg.Now)
}

func (e *ends) verify(c *conn, chain []*x509.Certificate) (Verified, error) {
	return e.cfg.policy(c.want).Verify(chain, c.usage, e.cfg.Now())
}

// listen takes connections until ctx ends. It closes ln.
func (e *ends) listen(ctx context.Context, ln net.Listener) error {
	return door{e}.listen(ctx, ln)
}

// watch ends a link when its certificate is not good any more: revoked, or its root
// was dropped. That it expired in the meantime ends nothing.
func (e *ends) watch(ctx context.Context, c *conn, end func(error)) {
	chain := c.ConnectionState().PeerCertificates
	t := time.NewTicker(checkEvery)
	defer t.Stop()
	var judged []*x509.Certificate // the roots by which all of it was looked at
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		var err error
		if roots := e.cfg.Holder.Get().Roots(); !slices.Equal(roots, judged) {
			_, err = e.verify(c, chain)
			judged = roots
		} else if e.cfg.Check != nil {
			err = e.cfg.Check(chain[0])
		}
		if err != nil {
			end(err)
			return
		}
	}
}

// JoinTLS is for the end that has credentials on a connection to one that has none yet,
// as its server or client. It shows the root, too, since the other end knows nothing of
// it but its hash, and accepts anybody: the join itself tells who is there.
func JoinTLS(h *Holder, now func() time.Time) *tls.Config {
	conf := tlsConfig(h, func([]*x509.Certificate) error { return nil }, now)
	conf.ClientAuth = tls.NoClientCert
	conf.ServerName = JoinName
	own := func() (*tls.Certificate, error) {
		in := h.Get().get()
		if in.cert.Leaf == nil {
			return nil, errors.New("transport: no credentials: this process has not joined")
		}
		cert := in.cert
		cert.Certificate = append([][]byte{}, cert.Certificate...)
		for _, r := range in.roots {
			cert.Certificate = append(cert.Certificate, r.Raw)
		}
		return &cert, nil
	}
	conf.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own() }
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own() }
	return conf
}
