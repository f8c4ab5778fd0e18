package transport_test

import (
	"crypto/x509"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/transport"
)

func TestIdentityThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?`)
		i := transport.Identity{
			Deployment: name.Draw(t, "deployment"), ID: name.Draw(t, "id"),
			Role: rapid.SampledFrom([]transport.Role{transport.Core, transport.Gateway, transport.Proxy, transport.Operator}).Draw(t, "role"),
		}
		require.NoError(t, i.Validate())
		got, err := transport.ParseIdentity(i.String())
		require.NoError(t, err)
		require.Equal(t, i, got)
		got, err = transport.IdentityOf(&x509.Certificate{URIs: []*url.URL{i.URI()}})
		require.NoError(t, err)
		require.Equal(t, i, got)
	})
}

func TestWhatIsNoIdentity(t *testing.T) {
	for _, s := range []string{
		"", "holdfast://", "holdfast://acme", "holdfast://acme/gateway", "holdfast://acme/gateway/", "holdfast:///gateway/gw1",
		"holdfast://acme/gateway/gw1/", "holdfast://acme/gateway/gw1/x", "holdfast://acme//gw1", "HOLDFAST://acme/gateway/gw1",
		"holdfast://Acme/gateway/gw1", "holdfast://acme/Gateway/gw1", "holdfast://acme/gateway/GW1", "holdfast://acme/root/gw1",
		"holdfast://acme:1/gateway/gw1", "holdfast://a@acme/gateway/gw1", "holdfast://acme/gateway/gw1?x", "holdfast://acme/gateway/gw1#x",
		"holdfast://acme/gateway/gw%31", "holdfast://acme/gateway/-gw", "holdfast://acme/gateway/gw.", "holdfast://acme/gateway/gw 1",
		" holdfast://acme/gateway/gw1", "holdfast://acme/gateway/gw1\n", "holdfast://acme/gateway/" + strings.Repeat("a", 64),
		"spiffe://acme/gateway/gw1", "holdfast://acme/gateway/gẅ",
	} {
		_, err := transport.ParseIdentity(s)
		require.ErrorIs(t, err, transport.ErrIdentity, "%q", s)
	}
}

func TestACertificateHasOneURIAndNoOtherName(t *testing.T) {
	u := transport.Identity{Deployment: "acme", Role: transport.Core, ID: "c1"}.URI()
	for name, c := range map[string]*x509.Certificate{
		"none": nil, "no URI": {}, "two URIs": {URIs: []*url.URL{u, u}},
		"a DNS name":      {URIs: []*url.URL{u}, DNSNames: []string{"core"}},
		"a mail address":  {URIs: []*url.URL{u}, EmailAddresses: []string{"a@b"}},
		"an IP address":   {URIs: []*url.URL{u}, IPAddresses: []net.IP{net.IPv6loopback}},
		"an escaped part": {URIs: []*url.URL{{Scheme: "holdfast", Host: "acme", Path: "/core/a/b", RawPath: "/core/a%2Fb"}}},
		"an opaque URI":   {URIs: []*url.URL{{Scheme: "holdfast", Opaque: "acme/core/c1"}}},
	} {
		_, err := transport.IdentityOf(c)
		require.ErrorIs(t, err, transport.ErrIdentity, name)
	}
}

func FuzzParseIdentity(f *testing.F) {
	f.Add("holdfast://acme/gateway/gw1")
	f.Add("holdfast://acme/core/a%2Fb")
	f.Add("holdfast://a.b-c_d/operator/0")
	f.Fuzz(func(t *testing.T, s string) {
		i, err := transport.ParseIdentity(s)
		if err != nil {
			require.ErrorIs(t, err, transport.ErrIdentity)
			require.Less(t, len(err.Error()), 1000)
			return
		}
		require.Equal(t, s, i.String(), "one way to write each")
		// What a URL parser makes of it means the same.
		u, err := url.Parse(s)
		require.NoError(t, err)
		require.Equal(t, s, u.String())
		require.Equal(t, s, i.URI().String())
	})
}
