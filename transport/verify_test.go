package transport_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/authority"
	"github.com/holdfastvpn/holdfast/transport/transporttest"
)

// meet lets a server and a client of the configurations meet over TCP on loopback, the
// server dialling unless dialIn, and returns what each end said first: nil is a link.
func meet(t *testing.T, core, gateway transport.Config, h transport.Handlers, want transport.Identity, dialIn bool) (atCore, atGateway error) {
	t.Helper()
	running := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	said := func(cfg *transport.Config) chan error {
		c := make(chan error, 100)
		cfg.Trace = transport.Trace{
			Up:      func(transport.Peer) { c <- nil },
			Failed:  func(_ string, err error, _ time.Duration) { c <- err },
			Refused: func(_ string, err error) { c <- err },
		}
		return c
	}
	core.Roles = []transport.Role{transport.Gateway}
	gateway.Roles = []transport.Role{transport.Core}
	c, g := said(&core), said(&gateway)
	server, err := transport.NewServer(core, h)
	require.NoError(t, err)
	client, err := transport.NewClient(gateway)
	require.NoError(t, err)
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	target := transport.Target{Addr: ln.Addr().String(), Want: want}
	if dialIn {
		wg.Go(func() { _ = server.Listen(ctx, ln) })
		wg.Go(func() { _ = client.Dial(ctx, target) })
	} else {
		wg.Go(func() { _ = client.Listen(ctx, ln) })
		wg.Go(func() { _ = server.Dial(ctx, target) })
	}
	atCore, atGateway = <-c, <-g
	cancel()
	wg.Wait()
	goleak.VerifyNone(t, running)
	return atCore, atGateway
}

// Each end refuses what the other must not be, with words; the other hears at least that
// it was refused. Over real TLS, whoever dials.
func TestWhoIsRefused(t *testing.T) {
	acme, other := transporttest.New(t, "acme", nil), transporttest.New(t, "other", nil)
	twin := transporttest.New(t, "acme", nil) // the same name, another root
	good := acme.Member(t, transport.Gateway, "gw1")
	short, err := authority.New(authority.Config{
		Self: acme.Self, Records: acme.Records, Signers: []crypto.Signer{acme.Signer}, Lifetime: time.Nanosecond,
	})
	require.NoError(t, err)
	require.NoError(t, short.Open(t.Context()))
	revoked := acme.Member(t, transport.Gateway, "gw9")
	require.NoError(t, acme.Revoke(t.Context(), acme.Identity(transport.Gateway, "gw9"), "lost"))
	leaf := acme.Member(t, transport.Gateway, "gw8")
	require.NoError(t, acme.RevokeCertificate(t.Context(), leaf.Get().Leaf(), "renewed twice"))

	for name, c := range map[string]struct {
		core, gateway *transport.Holder
		want          transport.Identity
		atCore        error // nil: refused by the gateway, the core hears an alert
		atGateway     error
		text          string
		both          bool // would refuse
	}{
		"a gateway of another deployment": {gateway: other.Member(t, transport.Gateway, "gw1"), atCore: transport.ErrDeployment, text: `holdfast://other/gateway/gw1 is not of "acme"`, both: true},
		"a core of another deployment":    {core: other.Holder(), atGateway: transport.ErrDeployment, text: `holdfast://other/core/core1 is not of "acme"`, both: true},
		"a gateway of a namesake":         {gateway: twin.Member(t, transport.Gateway, "gw1"), atCore: transport.ErrUntrusted, text: "not issued by this deployment", both: true},
		"a core of a namesake":            {core: twin.Holder(), atGateway: transport.ErrUntrusted, text: "not issued by this deployment", both: true},
		"a proxy as a gateway":            {gateway: acme.Member(t, transport.Proxy, "p1"), atCore: transport.ErrRole, text: "holdfast://acme/proxy/p1, where only [gateway] may be"},
		"a gateway as a core":             {core: acme.Member(t, transport.Gateway, "gw2"), atGateway: transport.ErrRole, text: "where only [core] may be"},
		"another gateway's certificate":   {want: acme.Identity(transport.Gateway, "gw7"), atCore: transport.ErrOther, text: "holdfast://acme/gateway/gw1 is there, and not holdfast://acme/gateway/gw7"},
		"a revoked gateway":               {gateway: revoked, atCore: transport.ErrRevoked, text: "(lost): it may join again"},
		"a revoked certificate":           {gateway: leaf, atCore: transport.ErrRevoked, text: "renewed twice"},
		"an expired core":                 {core: short.Holder(), atGateway: transport.ErrExpired, text: "transport: expired"},
		"a process that has not joined":   {gateway: &transport.Holder{}},
	} {
		for _, dialIn := range []bool{false, true} {
			if c.want != (transport.Identity{}) && dialIn {
				continue // who dials names whom it wants
			}
			t.Run(fmt.Sprintf("%s, dial-in %v", name, dialIn), func(t *testing.T) {
				core := transport.Config{Holder: acme.Holder(), Check: acme.Check}
				gateway := transport.Config{Holder: good}
				if c.core != nil {
					core.Holder = c.core
				}
				if c.gateway != nil {
					gateway.Holder = c.gateway
				}
				atCore, atGateway := meet(t, core, gateway, transport.Handlers{}, c.want, dialIn)
				if name == "an expired core" {
					require.ErrorIs(t, atGateway, c.atGateway)
					return // the core let the gateway in, and is left
				}
				require.Error(t, atCore)
				require.Error(t, atGateway)
				if c.both { // who dialled looked first, and the other heard an alert
					require.ErrorContains(t, errors.Join(atCore, atGateway), "the other end refused our certificate")
					if dialIn == (c.atCore != nil) {
						return
					}
				}
				if c.atCore != nil {
					require.ErrorIs(t, atCore, c.atCore)
					require.ErrorContains(t, atCore, c.text)
				}
				if c.atGateway != nil {
					require.ErrorIs(t, atGateway, c.atGateway)
					require.ErrorContains(t, atGateway, c.text)
				}
			})
		}
	}
	for _, dialIn := range []bool{false, true} {
		atCore, atGateway := meet(t, transport.Config{Holder: acme.Holder()}, transport.Config{Holder: good},
			transport.Handlers{}, transport.Identity{}, dialIn)
		require.NoError(t, atCore)
		require.NoError(t, atGateway)
	}
}

func TestAClockThatIsFarBehindIsNamed(t *testing.T) {
	acme := transporttest.New(t, "acme", nil)
	_, atGateway := meet(t, transport.Config{Holder: acme.Holder()}, transport.Config{
		Holder: acme.Member(t, transport.Gateway, "gw1"), Now: func() time.Time { return time.Now().Add(-24 * time.Hour) },
	}, transport.Handlers{}, transport.Identity{}, false)
	require.ErrorIs(t, atGateway, transport.ErrExpired)
	require.ErrorContains(t, atGateway, "check the clocks of both machines")
}

// An authority's own certificate, or one made by a gateway, is nobody's.
func TestNobodyIssuesButTheRoots(t *testing.T) {
	acme := transporttest.New(t, "acme", nil)
	p := transport.Policy{Deployment: "acme", Roots: acme.Roots(), Roles: []transport.Role{transport.Gateway}}
	_, err := p.Verify(nil, 0, time.Now())
	require.ErrorIs(t, err, transport.ErrUntrusted)
	_, err = p.Verify(acme.Roots(), 0, time.Now())
	require.ErrorIs(t, err, transport.ErrIdentity)
	chain := acme.Roots()
	chain[0].URIs = acme.Holder().Get().Leaf().URIs
	_, err = p.Verify(chain, 0, time.Now())
	require.ErrorIs(t, err, transport.ErrUntrusted)
	require.ErrorContains(t, err, "nobody's")
}

// A stranger may connect and say nothing, or speak something else.
func TestStrangersDisturbNobody(t *testing.T) {
	d := transporttest.New(t, "acme", nil)
	refused := make(chan error, 100)
	client, err := transport.NewClient(transport.Config{
		Holder: d.Member(t, transport.Gateway, "gw1"), Roles: []transport.Role{transport.Core},
		Handshake: 300 * time.Millisecond, Trace: transport.Trace{Refused: func(_ string, err error) { refused <- err }},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() { _ = client.Listen(ctx, ln) })
	dial := func() net.Conn {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
		require.NoError(t, err)
		return c
	}
	silent, loud, bare := dial(), dial(), dial()
	_, err = loud.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	require.NoError(t, err)
	nobody := tls.Client(bare, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	_ = nobody.HandshakeContext(ctx) // with no certificate

	server, err := transport.NewServer(transport.Config{Holder: d.Holder(), Roles: []transport.Role{transport.Gateway}}, transport.Handlers{})
	require.NoError(t, err)
	wg.Go(func() { _ = server.Dial(ctx, transport.Target{Addr: ln.Addr().String()}) })
	link := transporttest.First(t, client)
	for range 3 {
		require.Error(t, <-refused)
	}
	require.NoError(t, link.Err())
	for _, c := range []net.Conn{silent, loud, bare} {
		require.NoError(t, c.Close())
	}
	cancel()
	wg.Wait()
}

func TestNothingIsServedBeforeTheHello(t *testing.T) {
	d := transporttest.New(t, "acme", nil)
	hit := false
	server, err := transport.NewServer(
		transport.Config{Holder: d.Holder(), Roles: []transport.Role{transport.Gateway}, Handshake: 500 * time.Millisecond},
		transport.Handlers{Linked: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hit = true })})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Listen(ctx, ln) })

	own := d.Member(t, transport.Gateway, "gw1").Get()
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true,
		Certificates:       []tls.Certificate{{Certificate: [][]byte{own.Leaf().Raw}, PrivateKey: own.Key()}},
	}}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+ln.Addr().String()+"/x", http.NoBody)
	require.NoError(t, err)
	resp, err := tr.RoundTrip(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	require.NoError(t, resp.Body.Close())
	require.False(t, hit)
	cancel()
	wg.Wait()
}

// proves P15: credentials do not print, log or marshal what they hold.
func TestCredentialsDoNotPrint(t *testing.T) {
	d := transporttest.New(t, "acme", nil)
	h := d.Member(t, transport.Gateway, "gw1")
	c := h.Get()
	key := fmt.Sprintf("%v", c.Key())
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "c", c)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		for _, v := range []any{c, &c, struct{ C transport.Credentials }{c}, h} {
			_, _ = fmt.Fprintf(&log, verb, v)
		}
	}
	require.Contains(t, log.String(), "holdfast://acme/gateway/gw1")
	require.NotContains(t, log.String(), "big.Int")
	require.NotContains(t, log.String(), strings.Fields(key)[len(strings.Fields(key))-1])
	_, err := json.Marshal(c)
	require.Error(t, err)
}

func TestAHolderStaysWhoItIs(t *testing.T) {
	d := transporttest.New(t, "acme", nil)
	h := d.Member(t, transport.Gateway, "gw1")
	require.NoError(t, h.Set(d.Member(t, transport.Gateway, "gw1").Get()))
	require.ErrorContains(t, h.Set(d.Member(t, transport.Gateway, "gw2").Get()), "cannot become")
	a, b := h.Get(), d.Member(t, transport.Gateway, "gw1").Get()
	_, err := transport.NewCredentials(a.Key(), chainOf(b), b.Roots())
	require.ErrorContains(t, err, "another key")
	_, err = transport.NewServer(transport.Config{Holder: h}, transport.Handlers{})
	require.Error(t, err)
}

func chainOf(c transport.Credentials) []*x509.Certificate { return []*x509.Certificate{c.Leaf()} }
