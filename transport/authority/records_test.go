package authority_test

import (
	"crypto"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/authority"
	"github.com/holdfastvpn/holdfast/transport/join"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
)

// A core hands its own records over, as they are.
func TestTheRecordsOfACore(t *testing.T) {
	records := memstore.New().Records()
	key, err := authority.NewKey()
	require.NoError(t, err)
	cfg := authority.Config{
		Self: transport.Identity{Deployment: "acme", Role: transport.Core, ID: "core1"}, Records: records, Signers: []crypto.Signer{key.Signer()},
	}
	for range 2 { // begun, and opened again
		a, err := authority.New(cfg)
		require.NoError(t, err)
		require.NoError(t, a.Open(t.Context()))
		gw := transport.Identity{Deployment: "acme", Role: transport.Gateway, ID: "gw1"}
		tok, err := a.NewToken(t.Context(), authority.TokenConfig{Identity: gw, At: "a:1"})
		require.NoError(t, err)
		is, err := a.Join(t.Context(), tok.ID, request(t, newKey(t), gw.String()))
		require.NoError(t, err)
		_, err = a.Join(t.Context(), tok.ID, request(t, newKey(t), gw.String()))
		require.ErrorIs(t, err, join.ErrUsed)
		require.NoError(t, a.Revoke(t.Context(), gw, ""))
		require.ErrorIs(t, a.Check(is.Certificate), transport.ErrRevoked)
	}
}
