package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// Acceptor is a *Server or a *Client that takes links at a listener which it shares.
type Acceptor interface {
	door() *ends
}

func (e *ends) door() *ends { return e }

// Listen takes links from ln until ctx ends, and then returns nil. Of the ends it is
// for, each link goes to the one that has its role among Config.Roles, and only there:
// what serves or asks cores never sees a gateway, and the other way round. It fails at
// once if there is no end, if two have a role in common or another Holder, and if more
// than one takes joiners; otherwise it fails if somebody else closes ln. It closes ln.
// The first end's Handshake, pings, Now and Log are those of connections of which it is
// not known yet whose they are.
func Listen(ctx context.Context, ln net.Listener, at ...Acceptor) error {
	d := make(door, len(at))
	for i, a := range at {
		d[i] = a.door()
	}
	if err := d.check(); err != nil {
		_ = ln.Close()
		return err
	}
	return d.listen(ctx, ln)
}

// door is who shares a listener: one end or several.
type door []*ends

func (d door) check() error {
	if len(d) == 0 {
		return errors.New("transport: Listen: there is nobody to take links")
	}
	taken, joins := map[Role]bool{}, false
	for _, e := range d {
		if e.cfg.Holder != d[0].cfg.Holder {
			return errors.New("transport: Listen: ends that share a listener have one Holder")
		}
		if joins && e.joins {
			return errors.New("transport: Listen: two ends take joiners, and one may")
		}
		joins = joins || e.joins
		for _, r := range e.cfg.Roles {
			if taken[r] {
				return fmt.Errorf("transport: Listen: two ends take links of role %s, and one may", r)
			}
			taken[r] = true
		}
	}
	return nil
}

// of finds the end for those with the role that a chain claims. Nothing was checked of
// it: it decides only by whose rules the chain is judged.
func (d door) of(chain []*x509.Certificate) *ends {
	if len(chain) == 0 {
		return nil
	}
	id, err := IdentityOf(chain[0])
	if err != nil {
		return nil
	}
	for _, e := range d {
		if slices.Contains(e.cfg.Roles, id.Role) {
			return e
		}
	}
	return nil
}

// joiner is the end that takes those without a certificate, if there is one.
func (d door) joiner() *ends {
	for _, e := range d {
		if e.joins {
			return e
		}
	}
	return nil
}

// nobody says why a chain is refused that is for none of the ends.
func (d door) nobody(c *conn, chain []*x509.Certificate) error {
	p := d[0].cfg.policy(Identity{})
	p.Roles = nil
	for _, e := range d {
		p.Roles = append(p.Roles, e.cfg.Roles...)
	}
	if _, err := p.Verify(chain, c.usage, d[0].cfg.Now()); err != nil {
		return err
	}
	return ErrRole
}

// listen takes connections until ctx ends. It closes ln.
func (d door) listen(ctx context.Context, ln net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	defer func() { _ = ln.Close() }()
	strange := make(chan struct{}, mostStrange)
	for {
		raw, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = raw.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("transport: listening on %s: %w", ln.Addr(), err)
		case err != nil: // out of files, most likely: others will end
			d[0].cfg.Log.WarnContext(ctx, "cannot accept", "addr", ln.Addr().String(), "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		wg.Go(func() { d.accepted(ctx, raw, strange) })
	}
}

func (d door) accepted(ctx context.Context, raw net.Conn, strange chan struct{}) {
	at := d[0]
	refuse := func(err error) {
		at.cfg.Trace.Refused(raw.RemoteAddr().String(), err)
		at.cfg.Log.InfoContext(ctx, "refused", "addr", raw.RemoteAddr().String(), "err", err)
	}
	select {
	case strange <- struct{}{}:
	default:
		_ = raw.Close()
		refuse(errors.New("transport: too many strangers at once"))
		return
	}
	known := sync.OnceFunc(func() { <-strange })
	defer known()
	c := &conn{usage: x509.ExtKeyUsageClientAuth}
	var found *ends // by the certificate; the handshake sets it
	c.Conn = tls.Server(d[0].brisk(raw), d.tls(c, &found))
	err := d.shake(ctx, c)
	if found != nil {
		at = found
	}
	if err != nil {
		refuse(err)
		return
	}
	if !c.joins { // who joins stays a stranger
		if err := at.take(); err != nil {
			_ = c.Close()
			refuse(fmt.Errorf("%w: %s", err, c.verified.Identity))
			return
		}
		defer at.give()
		known()
	}
	if c.relays {
		if err := at.relay(ctx, c); err != nil && ctx.Err() == nil {
			refuse(err)
		}
		return
	}
	if up, err := at.run(ctx, c); !up && err != nil && ctx.Err() == nil {
		refuse(err)
	}
}

// shake does the handshake, or closes the connection.
func (d door) shake(ctx context.Context, c *conn) error {
	if err := d[0].shake(ctx, c); err != nil {
		return err
	}
	c.relays = c.ConnectionState().ServerName == relayName
	c.joins = d.joiner() != nil && c.ConnectionState().ServerName == JoinName
	return nil
}

// tls is for a connection that was accepted. found is set to the end that takes it.
func (d door) tls(c *conn, found **ends) *tls.Config {
	now := d[0].cfg.Now
	conf := tlsConfig(d[0].cfg.Holder, func(chain []*x509.Certificate) (err error) {
		e := d.of(chain)
		if e == nil {
			return d.nobody(c, chain)
		}
		*found = e
		c.verified, err = e.verify(c, chain)
		return err
	}, now)
	joiner := d.joiner()
	if joiner == nil {
		return conf
	}
	conf.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if h.ServerName != JoinName {
			return nil, nil
		}
		*found = joiner
		return JoinTLS(joiner.cfg.Holder, joiner.cfg.Now), nil
	}
	return conf
}
