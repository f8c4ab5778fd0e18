package sealed_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport/sealed"
)

// closed has secrets where fmt may not call their methods.
type closed struct {
	key    sealed.CoreKey
	id     *sealed.Identity
	enrol  []sealed.EnrolKey
	token  sealed.Token
	opened *sealed.Opened
	wait   sealed.Waiting
}

// proves P15: no key, token or exported secret shows under any verb, wherever it stands.
func TestSecretsDoNotPrint(t *testing.T) {
	r := newRig(t)
	tok := token(r)
	envelope, w := r.seal(t, r.request("m", "b"))
	opened, err := r.open(t, envelope)
	require.NoError(t, err)
	id := r.device
	var out strings.Builder
	all := []any{
		r.key, &r.key, id, &id, tok, &tok, tok.Key(), []sealed.CoreKey{r.key}, map[string]sealed.Identity{"x": id},
		struct{ K sealed.EnrolKey }{tok.Key()}, closed{r.key, &id, []sealed.EnrolKey{tok.Key()}, tok, opened, *w},
		&closed{key: r.key}, sealed.OpenerConfig{Keys: []sealed.CoreKey{r.key}}, r.request("m", "b"), opened, w, r.opener,
	}
	for _, v := range all {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%b", "%o", "%c", "%U", "%p"} {
			_, _ = fmt.Fprintf(&out, verb, v)
		}
	}
	for _, h := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		for _, v := range all {
			slog.New(h).Info("x", "v", v)
		}
	}
	require.Contains(t, out.String(), "(secret)")
	require.Contains(t, out.String(), "acme "+hex.EncodeToString(tok.ID[:]))
	for name, secret := range map[string][]byte{
		"core": r.key.Reveal(), "identity": r.device.Reveal(), "enrol key": tok.Key().Reveal(), "token": []byte(tok.Reveal()[20:]),
	} {
		b := secret[:6]
		for _, trace := range []string{
			string(secret), fmt.Sprintf("%x", b), fmt.Sprintf("%X", b), fmt.Sprintf("% x", b), strings.Trim(fmt.Sprintf("%d", b), "[]"),
			base64.StdEncoding.EncodeToString(b), strings.ReplaceAll(strings.Trim(fmt.Sprintf("%d", b), "[]"), " ", ", "),
		} {
			require.False(t, strings.Contains(out.String(), trace), "%s shows as %s", name, trace) //nolint:testifylint // the text is huge
		}
	}
	for _, v := range []any{r.key, &r.key, id, tok, tok.Key(), closed{}.key, sealed.Identity{}, struct{ K sealed.CoreKey }{r.key}, map[string]sealed.EnrolKey{"k": tok.Key()}} {
		_, err := json.Marshal(v)
		require.Error(t, err)
		require.Error(t, gob.NewEncoder(&bytes.Buffer{}).Encode(v))
	}
	_, err = json.Marshal(r.key)
	require.ErrorIs(t, err, sealed.ErrSecret)
}

// What is stored gives the same key again, and nothing else does.
func TestKeysThereAndBack(t *testing.T) {
	key := sealed.NewCoreKey()
	again, err := sealed.CoreKeyFrom(key.Reveal())
	require.NoError(t, err)
	require.Equal(t, key.Public().Bytes(), again.Public().Bytes())
	public, err := sealed.ParseCorePublic(key.Public().Bytes())
	require.NoError(t, err)
	require.Equal(t, key.Public().Fingerprint(), public.Fingerprint())
	require.Equal(t, key.Public().String(), public.String())
	id := sealed.NewIdentity()
	sameID, err := sealed.IdentityFrom(id.Reveal())
	require.NoError(t, err)
	require.Equal(t, id.Public(), sameID.Public())
	for _, bad := range [][]byte{nil, make([]byte, 32), make([]byte, 31), make([]byte, 33)} {
		_, err = sealed.CoreKeyFrom(bad)
		require.ErrorIs(t, err, sealed.ErrKey)
		_, err = sealed.IdentityFrom(bad)
		require.ErrorIs(t, err, sealed.ErrKey)
		_, err = sealed.EnrolKeyFrom(bad)
		require.ErrorIs(t, err, sealed.ErrKey)
		_, err = sealed.ParseCorePublic(bad)
		require.ErrorIs(t, err, sealed.ErrKey)
	}
	_, err = sealed.ParseCorePublic(bytes.Repeat([]byte{0xff}, sealed.CorePublicSize))
	require.ErrorIs(t, err, sealed.ErrKey)
	for _, zero := range [][]byte{sealed.CoreKey{}.Reveal(), sealed.Identity{}.Reveal(), sealed.EnrolKey{}.Reveal(), sealed.CorePublic{}.Bytes(), sealed.CoreKey{}.Public().Bytes()} {
		require.Empty(t, zero)
	}
	require.Zero(t, sealed.Identity{}.Public())
}

// Keys are stored and pinned: what is made of the same bytes must never be another one.
func TestKeysStayWhatTheyAre(t *testing.T) {
	seed := []byte("0123456789abcdef0123456789abcdef")
	key, err := sealed.CoreKeyFrom(seed)
	require.NoError(t, err)
	require.Equal(t, "SHA256:DHWvjiIaFCKzgBDezWaY3cYTWpft75+cf+vOh5WpkRM", key.Public().String())
	id, err := sealed.IdentityFrom(seed)
	require.NoError(t, err)
	require.Equal(t, "I7xUkSwebpLEqGglyGfif/3FVb/71CRPF6Jqv//ull0=", id.Public().String())
}
