package authority_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/authority"
	"github.com/holdfastvpn/holdfast/transport/join"
	"github.com/holdfastvpn/holdfast/transport/transporttest"
)

func request(t *testing.T, key crypto.Signer, uris ...string) []byte {
	t.Helper()
	tmpl := &x509.CertificateRequest{}
	for _, s := range uris {
		u, err := url.Parse(s)
		require.NoError(t, err)
		tmpl.URIs = append(tmpl.URIs, u)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, tmpl, key)
	require.NoError(t, err)
	return der
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := join.NewKey()
	require.NoError(t, err)
	return k
}

func TestIssuedForOneIdentityAndOneProvenKey(t *testing.T) {
	d := transporttest.New(t, "acme", nil)
	id := d.Identity(transport.Gateway, "gw1")
	good := newKey(t)
	is, err := d.Issue(t.Context(), id, request(t, good, id.String()))
	require.NoError(t, err)
	c := is.Certificate
	got, err := transport.IdentityOf(c)
	require.NoError(t, err)
	require.Equal(t, id, got)
	require.False(t, c.IsCA)
	require.Equal(t, x509.KeyUsageDigitalSignature, c.KeyUsage)
	require.NoError(t, c.CheckSignatureFrom(d.Roots()[0]))
	require.NoError(t, d.Check(c))

	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, err = d.Issue(t.Context(), id, request(t, ed, id.String()))
	require.NoError(t, err)
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	odd, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	forged := request(t, good, id.String())
	forged[len(forged)-1] ^= 1
	for name, c := range map[string]struct {
		der  []byte
		is   error
		text string
	}{
		"garbage":          {[]byte("x"), join.ErrRequest, "unreadable"},
		"a forged one":     {forged, join.ErrRequest, ""},
		"RSA":              {request(t, weak, id.String()), join.ErrRequest, "neither ECDSA"},
		"a short curve":    {request(t, odd, id.String()), join.ErrRequest, "neither ECDSA"},
		"no name":          {request(t, good), join.ErrRequest, "0 URIs"},
		"two names":        {request(t, good, id.String(), id.String()), join.ErrRequest, "2 URIs"},
		"somebody else":    {request(t, good, "holdfast://acme/gateway/gw2"), join.ErrRequest, "may be holdfast://acme/gateway/gw1"},
		"a core":           {request(t, good, "holdfast://acme/core/gw1"), transport.ErrRole, "holdfast://acme/core/gw1 is asked for"},
		"another's":        {request(t, good, "holdfast://other/gateway/gw1"), transport.ErrDeployment, "holdfast://other/gateway/gw1 is asked for"},
		"another spelling": {request(t, good, "holdfast://acme/gateway/gw%31"), join.ErrRequest, "gw%31"},
	} {
		_, err := d.Issue(t.Context(), id, c.der)
		require.ErrorIs(t, err, c.is, name)
		require.ErrorContains(t, err, c.text, name)
	}
	_, err = d.Issue(t.Context(), transport.Identity{Deployment: "other", Role: transport.Gateway, ID: "gw1"}, nil)
	require.ErrorIs(t, err, transport.ErrDeployment)
}

func TestRevokingCountsGenerationsAndNotClocks(t *testing.T) {
	d := transporttest.New(t, "acme", nil)
	ahead := other(t, d, func(c *authority.Config) { c.Now = func() time.Time { return time.Now().Add(time.Hour) } })
	early := d.Member(t, transport.Gateway, "gw1").Get().Leaf()
	id := d.Identity(transport.Gateway, "gw1")
	is, err := ahead.Issue(t.Context(), id, request(t, newKey(t), id.String()))
	require.NoError(t, err)

	require.NoError(t, d.Revoke(t.Context(), id, "stolen"))
	for _, c := range []*x509.Certificate{early, is.Certificate} {
		require.ErrorIs(t, d.Check(c), transport.ErrRevoked, "whatever the clock said of who issued it")
	}
	require.NoError(t, ahead.Check(early), "another core hears of it when it looks")
	_, err = ahead.Renew(t.Context(), early, request(t, newKey(t), id.String()))
	require.ErrorIs(t, err, transport.ErrRevoked, "and looks before it renews")

	again := d.Member(t, transport.Gateway, "gw1").Get().Leaf()
	require.NoError(t, d.Check(again), "who joins again is let in")
	require.NoError(t, d.RevokeCertificate(t.Context(), again, ""))
	require.NoError(t, d.RevokeCertificate(t.Context(), again, ""))
	require.ErrorIs(t, d.Check(again), transport.ErrRevoked)
	require.NoError(t, d.Check(d.Member(t, transport.Gateway, "gw1").Get().Leaf()), "one certificate, not the identity")
	require.NoError(t, d.Check(d.Member(t, transport.Gateway, "gw2").Get().Leaf()))

	list := d.Revocations()
	require.Len(t, list, 1)
	require.Equal(t, id, list[0].Identity)
	require.ErrorIs(t, d.Revoke(t.Context(), transport.Identity{}, ""), transport.ErrIdentity)
}

// other is another core of the deployment.
func other(t *testing.T, d *transporttest.Deployment, edit func(*authority.Config)) *authority.Authority {
	t.Helper()
	cfg := authority.Config{Self: d.Identity(transport.Core, "core2"), Records: d.Records, Signers: d.Signers()}
	edit(&cfg)
	a, err := authority.New(cfg)
	require.NoError(t, err)
	require.NoError(t, a.Open(t.Context()))
	return a
}

func TestOpening(t *testing.T) {
	d := transporttest.New(t, "acme", nil)
	second := other(t, d, func(*authority.Config) {})
	require.Equal(t, d.Roots(), second.Roots(), "the second core uses what the first began")
	require.Equal(t, "holdfast://acme/core/core2", second.Holder().Get().Identity().String())

	open := func(edit func(*authority.Config)) error {
		cfg := authority.Config{Self: d.Self, Records: d.Records, Signers: d.Signers()}
		edit(&cfg)
		a, err := authority.New(cfg)
		if err != nil {
			return err
		}
		return a.Open(t.Context())
	}
	require.ErrorIs(t, open(func(c *authority.Config) { c.Self.Deployment = "other" }), transport.ErrDeployment)
	require.ErrorIs(t, open(func(c *authority.Config) { c.Self.Role = transport.Gateway }), transport.ErrRole)
	require.ErrorContains(t, open(func(c *authority.Config) { c.Signers = nil }), "required")
	require.ErrorContains(t, open(func(c *authority.Config) { c.Signers = []crypto.Signer{newKey(t)} }), "the key of none of the roots")
	require.ErrorContains(t, open(func(c *authority.Config) {
		c.Records = &transporttest.Records{}
		require.NoError(t, c.Records.Update(t.Context(), "transport/trust", func([]byte) ([]byte, error) { return []byte(`{"format":2}`), nil }))
	}), "use the newer release")
	d.Records.Fail(errors.New("disk on fire"))
	require.ErrorContains(t, open(func(*authority.Config) {}), "disk on fire")

	a, err := authority.New(authority.Config{Self: d.Self, Records: d.Records, Signers: d.Signers()})
	require.NoError(t, err)
	require.Error(t, a.Check(second.Holder().Get().Leaf()), "before it was read, nobody is good")
}

func TestManyCoresBeginOneDeployment(t *testing.T) {
	records := &transporttest.Records{}
	key, err := authority.NewKey()
	require.NoError(t, err)
	var wg sync.WaitGroup
	roots := make(chan *x509.Certificate, 8)
	for i := range cap(roots) {
		wg.Go(func() {
			a, err := authority.New(authority.Config{
				Self:    transport.Identity{Deployment: "acme", Role: transport.Core, ID: fmt.Sprintf("c%d", i)},
				Records: records, Signers: []crypto.Signer{key.Signer()},
			})
			if err == nil {
				err = a.Open(t.Context())
			}
			if err != nil {
				t.Error(err)
				return
			}
			roots <- a.Roots()[0]
		})
	}
	wg.Wait()
	close(roots)
	first := <-roots
	for r := range roots {
		require.Equal(t, first, r)
	}
}

// What was read holds while the store is away, and links are judged by it.
func TestAStoreThatIsAwayChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := transporttest.New(t, "acme", nil)
		done := make(chan error)
		ctx, stop := context.WithCancel(t.Context())
		go func() { done <- d.Run(ctx) }()
		leaf := d.Member(t, transport.Gateway, "gw1").Get().Leaf()
		d.Records.Fail(errors.New("gone"))
		time.Sleep(time.Hour)
		require.NoError(t, d.Check(leaf))
		d.Records.Fail(nil)
		require.NoError(t, other(t, d, func(*authority.Config) {}).Revoke(t.Context(), d.Identity(transport.Gateway, "gw1"), ""))
		time.Sleep(time.Second)
		require.ErrorIs(t, d.Check(leaf), transport.ErrRevoked, "heard from another core within a second")
		stop()
		require.NoError(t, <-done)
	})
}

func TestACoreRenewsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := transporttest.New(t, "acme", func(c *authority.Config) { c.Lifetime = 6 * time.Hour; c.Poll = time.Minute })
		first := d.Holder().Get().Leaf()
		done := make(chan error)
		ctx, stop := context.WithCancel(t.Context())
		go func() { done <- d.Run(ctx) }()
		time.Sleep(3 * time.Hour)
		require.Equal(t, first, d.Holder().Get().Leaf())
		time.Sleep(time.Hour)
		require.NotEqual(t, first, d.Holder().Get().Leaf())
		stop()
		require.NoError(t, <-done)
	})
}

// Also with a short life, a certificate is good for a while before it is due.
func TestShortLivesAreNotDueAtOnce(t *testing.T) {
	for _, life := range []time.Duration{15 * time.Second, time.Hour, 2 * time.Hour, 30 * 24 * time.Hour} {
		d := transporttest.New(t, "acme", func(c *authority.Config) { c.Lifetime = life })
		leaf := d.Member(t, transport.Gateway, "gw1").Get().Leaf()
		left := time.Until(join.Due(leaf))
		require.Greater(t, left, life*4/10, "%v", life)
		require.Less(t, left, life*7/10, "%v", life)
		require.True(t, leaf.NotBefore.Before(time.Now().Add(-life/3)) || leaf.NotBefore.Before(time.Now().Add(-50*time.Minute)), "clocks may be behind")
	}
}

func TestWhatTokensMayBe(t *testing.T) {
	d := transporttest.New(t, "acme", nil)
	gw := d.Identity(transport.Gateway, "gw1")
	for text, cfg := range map[string]authority.TokenConfig{
		"no identity":           {At: "a:1"},
		"another deployment":    {Identity: transport.Identity{Deployment: "other", Role: transport.Gateway, ID: "gw1"}, At: "a:1"},
		"do not join":           {Identity: d.Self, At: "a:1"},
		"one end has to dial":   {Identity: gw},
		"one of At and Cores":   {Identity: gw, At: "a:1", Cores: []string{"b:1"}},
		"a host and a port":     {Identity: gw, At: "192.0.2.7"},
		"\":7946\": it has":     {Identity: gw, At: ":7946"},
		"at most 720h":          {Identity: gw, At: "a:1", Lifetime: 31 * 24 * time.Hour},
		"at most 64 locations":  {Identity: gw, At: "a:1", Locations: make([]string, 65)},
		"too long, or no text":  {Identity: gw, At: "a:1", Locations: []string{"\xff"}},
		"are too long, or no t": {Identity: gw, At: "a:1", Locations: []string{strings.Repeat("a", 4000)}},
	} {
		_, err := d.NewToken(t.Context(), cfg)
		require.ErrorContains(t, err, text)
		require.ErrorContains(t, err, "authority: making a token: ")
	}
	tok, err := d.NewToken(t.Context(), authority.TokenConfig{Identity: gw, At: "192.0.2.7:7946", Locations: []string{"office"}})
	require.NoError(t, err)
	list, err := d.Tokens(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, tok.ID, list[0].ID)
	require.Equal(t, []string{"office"}, list[0].Locations)
	addrs, err := d.Addresses(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"192.0.2.7:7946"}, addrs)
}

// proves P15: what is stored does not have a token's secret or a root's key, and a key
// does not print.
func TestWhatIsStoredIsNoSecret(t *testing.T) {
	d := transporttest.New(t, "acme", nil)
	tok, err := d.NewToken(t.Context(), authority.TokenConfig{Identity: d.Identity(transport.Gateway, "gw1"), At: "a:1"})
	require.NoError(t, err)
	secret := tok.Secret()
	text, err := json.Marshal(secret[:])
	require.NoError(t, err)
	for _, row := range []string{"transport/trust", "transport/tokens"} {
		b, err := d.Records.Get(t.Context(), row)
		require.NoError(t, err)
		require.NotContains(t, string(b), strings.Trim(string(text), `"`))
		require.NotContains(t, string(b), "PRIVATE")
	}
	k, err := authority.NewKey()
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		require.NotContains(t, fmt.Sprintf(verb, struct{ K authority.Key }{k}), "big.Int")
		require.Contains(t, fmt.Sprintf(verb, k), "(secret)")
	}
	_, err = json.Marshal(k)
	require.Error(t, err)
	raw, err := k.Reveal()
	require.NoError(t, err)
	back, err := authority.ParseKey(raw)
	require.NoError(t, err)
	require.Equal(t, k.Signer().Public(), back.Signer().Public())
	_, err = authority.ParseKey(raw[1:])
	require.Error(t, err)
}
