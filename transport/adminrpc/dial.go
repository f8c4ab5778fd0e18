package adminrpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/location"
)

// DialConfig holds what Dial needs.
type DialConfig struct {
	// Core is unix:///path/of/the/socket, or https://host:port; http:// is for
	// addresses of this machine alone. Required.
	Core string
	// Token is sent with each request, if there is one.
	Token Secret
	// Roots are who may have signed the core's certificate; nil: those of the system.
	Roots *x509.CertPool
}

// Dial makes a Client. It checks c and connects to nothing yet.
func Dial(c DialConfig) (*Client, error) {
	wrong := func(format string, args ...any) (*Client, error) {
		return nil, fmt.Errorf("adminrpc: dial: %w", &location.FieldError{Field: "Core", Reason: fmt.Sprintf(format, args...)})
	}
	u, err := url.Parse(c.Core)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return wrong("%q is not an address: write it like unix:///run/holdfast/core.sock or https://core.example.org:8443", redacted(u, c.Core))
	}
	t := &http.Transport{
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: c.Roots},
		ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: time.Minute,
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	t.DialContext = dialer.DialContext
	base := strings.TrimSuffix(c.Core, "/")
	switch u.Scheme {
	case "unix":
		path := u.Path
		if u.Host != "" || !filepath.IsAbs(path) {
			return wrong("%q: a socket has a whole path: write it like unix:///run/holdfast/core.sock", c.Core)
		}
		base = "http://core"
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", path) }
	case "https":
	case "http":
		if a, err := netip.ParseAddr(u.Hostname()); err != nil || !a.IsLoopback() {
			return wrong("%q: a token must not cross a network in the open: use https", c.Core)
		}
	default:
		return wrong("%q: write it like unix:///run/holdfast/core.sock or https://core.example.org:8443", c.Core)
	}
	if u.Scheme != "unix" && (u.Host == "" || u.Hostname() == "") {
		return wrong("%q has no host: write it like https://core.example.org:8443", c.Core)
	}
	return NewClient(&http.Client{
		Transport: bearer{t, c.Token},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the other end sends us elsewhere, which no core does: check the address")
		},
	}, base), nil
}

// redacted keeps a password that somebody wrote into an address out of errors.
func redacted(u *url.URL, text string) string {
	if u == nil || u.User != nil || strings.Contains(text, "@") {
		return "(an address that cannot be read, or with a user)"
	}
	return text
}

// bearer sends a token with each request.
type bearer struct {
	http.RoundTripper

	token Secret
}

// RoundTrip is http.RoundTripper.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if !b.token.IsZero() {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token.Reveal())
	}
	return b.RoundTripper.RoundTrip(r)
}
