package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
)

// SetMostLinks says how many links it accepts.
func (c *Client) SetMostLinks(n int) { c.places = make(chan struct{}, n) }

// Accepted serves a connection that Dial would have made.
func (s *Server) Accepted(ctx context.Context, raw net.Conn) error {
	c := &conn{usage: x509.ExtKeyUsageServerAuth}
	conf := s.tls(c)
	conf.ServerName = linkName
	c.Conn = tls.Client(raw, conf)
	if err := s.shake(ctx, c); err != nil {
		return err
	}
	_, err := s.run(ctx, c)
	return err
}
