package clientrpc_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport/clientrpc"
	"github.com/holdfastvpn/holdfast/transport/sealed"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func newToken(r *rig) sealed.Token {
	t := sealed.NewToken(sealed.Token{
		Deployment: "acme", Keys: []sealed.Fingerprint{r.key.Public().Fingerprint()}, Expires: r.now.Add(time.Hour),
	})
	r.store.tokens[t.ID] = t.Key()
	return t
}

func newKey() wgkey.Private { return wgkey.NewPrivate() }

// proves P11: a device enrols through a relay, which sees neither token nor keys, and
// cannot enrol with what it saw.
func TestEnrol(t *testing.T) {
	r := newRig(t)
	tok, key, id := newToken(r), newKey(), sealed.NewIdentity()
	typed, err := sealed.ParseToken(tok.Reveal())
	require.NoError(t, err)
	c := r.newClient(t, id, typed.Keys...)
	for range 2 { // an answer may get lost
		device, err := c.Enrol(t.Context(), typed, key, "phone")
		require.NoError(t, err)
		require.Equal(t, "dev-phone", device)
	}
	require.Equal(t, clientrpc.NewDevice{Identity: id.Public(), Key: key.Public(), Name: "phone"}, r.store.used[tok.ID])
	got, err := clientrpc.Call[text, text](t.Context(), c, "echo", say("hello"))
	require.NoError(t, err)
	require.Equal(t, "dev-phone says hello", got.GetValue())
	public, identity := key.Public(), id.Public()
	for _, b := range r.relay.bodies {
		for _, secret := range [][]byte{tok.Key().Reveal(), tok.ID[:], public[:], identity[:]} {
			require.NotContains(t, string(b), string(secret))
		}
	}
}

// Why a token is no good, only who knows its secret is told.
func TestTokensThatAreNoGood(t *testing.T) {
	r := newRig(t)
	tok := newToken(r)
	enrol := func(t *testing.T, tok sealed.Token) error {
		t.Helper()
		_, err := r.newClient(t, sealed.NewIdentity(), r.key.Public().Fingerprint()).Enrol(t.Context(), tok, newKey(), "x")
		return err
	}
	unknown := sealed.NewToken(tok)
	wrong := sealed.NewToken(tok)
	wrong.ID = tok.ID
	for name, bad := range map[string]sealed.Token{"unknown": unknown, "wrong secret": wrong} {
		err := enrol(t, bad)
		require.ErrorIs(t, err, sealed.ErrEnrolment, name)
		require.EqualError(t, err, enrol(t, unknown).Error(), "and which of both, nobody learns")
	}
	r.store.expired[tok.ID] = true
	require.ErrorIs(t, enrol(t, wrong), sealed.ErrEnrolment)
	require.NotErrorIs(t, enrol(t, wrong), clientrpc.ErrExpired)
	require.ErrorIs(t, enrol(t, tok), clientrpc.ErrExpired)
	delete(r.store.expired, tok.ID)
	require.NoError(t, enrol(t, tok))
	require.ErrorIs(t, enrol(t, tok), clientrpc.ErrUsed)
	r.store.away = errors.New("hunter2")
	err := enrol(t, tok)
	require.ErrorIs(t, err, clientrpc.ErrInternal)
	require.NotContains(t, err.Error(), "hunter2")
	_, err = r.client.Enrol(t.Context(), tok, wgkey.Private{}, "x")
	require.Error(t, err)
}
