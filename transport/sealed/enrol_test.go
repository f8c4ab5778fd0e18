package sealed_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/transport/internal/transcript"
	"github.com/holdfastvpn/holdfast/transport/sealed"
)

func token(r *rig) sealed.Token {
	return sealed.NewToken(sealed.Token{
		Deployment: "acme", Keys: []sealed.Fingerprint{r.key.Public().Fingerprint()},
		Proxies: []string{"https://vpn.example.org"}, Expires: time.Unix(1_900_000_000, 0).UTC(),
	})
}

func wireguard(tb testing.TB) *ecdh.PrivateKey {
	tb.Helper()
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(tb, err)
	return k
}

// arrives is a stranger's request, as the core has it.
func (r *rig) arrives(tb testing.TB, identity sealed.Identity) *sealed.Opened {
	tb.Helper()
	q := r.request("enrol", "")
	q.Identity, q.Stranger = identity, true
	envelope, w := r.seal(tb, q)
	opened, err := r.open(tb, envelope)
	require.NoError(tb, err)
	require.Equal(tb, sealed.Caller{Identity: identity.Public(), Request: w.ID()}, opened.Caller)
	return opened
}

// proves P11: nobody enrols without the token's secret and both private keys, and what
// somebody else proved is of no use.
func TestEnrolment(t *testing.T) {
	r := newRig(t)
	tok, identity, wg := token(r), sealed.NewIdentity(), wireguard(t)
	e, err := tok.Enrol(r.key.Public(), identity.Public(), wg)
	require.NoError(t, err)
	require.NoError(t, r.arrives(t, identity).CheckEnrolment(e, tok.Key()))
	require.NoError(t, r.arrives(t, identity).CheckEnrolment(e, tok.Key()), "an answer may get lost")
	require.ErrorIs(t, r.arrives(t, sealed.NewIdentity()).CheckEnrolment(e, tok.Key()), sealed.ErrEnrolment, "another identity")
	require.ErrorIs(t, r.arrives(t, identity).CheckEnrolment(e, token(r).Key()), sealed.ErrEnrolment, "another token")
	require.ErrorIs(t, r.arrives(t, identity).CheckEnrolment(e, sealed.EnrolKey{}), sealed.ErrEnrolment, "no token")
	for name, edit := range map[string]func(*sealed.Enrolment){
		"token":     func(e *sealed.Enrolment) { e.Token[0] ^= 1 },
		"wireguard": func(e *sealed.Enrolment) { e.WireGuard = [32]byte(wireguard(t).PublicKey().Bytes()) },
		"low order": func(e *sealed.Enrolment) { e.WireGuard = [32]byte{1} },
		"knows":     func(e *sealed.Enrolment) { e.Knows[31] ^= 1 },
		"has":       func(e *sealed.Enrolment) { e.Has[0] ^= 128 },
		"swapped":   func(e *sealed.Enrolment) { e.Knows, e.Has = e.Has, e.Knows },
	} {
		bad := e
		edit(&bad)
		require.ErrorIs(t, r.arrives(t, identity).CheckEnrolment(bad, tok.Key()), sealed.ErrEnrolment, name)
	}
	other := wireguard(t)
	theirs, err := tok.Enrol(r.key.Public(), identity.Public(), other)
	require.NoError(t, err)
	mixed := theirs // the token's holder with a key that is not theirs
	mixed.Has = e.Has
	require.ErrorIs(t, r.arrives(t, identity).CheckEnrolment(mixed, tok.Key()), sealed.ErrEnrolment)

	low := e // a key that nobody has, with proofs that are all keyed by the token
	low.WireGuard = [32]byte{1}
	core, public := r.key.Public().Fingerprint(), identity.Public()
	for label, mac := range map[string]*[32]byte{"the device knows the token": &low.Knows, "the device has the WireGuard key": &low.Has} {
		copy(mac[:], transcript.MAC([32]byte(tok.Key().Reveal()), "holdfast enrol v1: "+label,
			[]byte("acme"), tok.ID[:], core[:], public[:], low.WireGuard[:]))
	}
	require.ErrorIs(t, r.arrives(t, identity).CheckEnrolment(low, tok.Key()), sealed.ErrEnrolment)

	newer := sealed.NewCoreKey()
	require.NoError(t, r.opener.SetKeys(newer, r.key))
	require.NoError(t, r.arrives(t, identity).CheckEnrolment(e, tok.Key()), "the key that it was sealed to is what counts")
}

// A device sends nothing to a core that is not its token's.
func TestARelayCannotPlayTheCore(t *testing.T) {
	r := newRig(t)
	for _, core := range []sealed.CorePublic{sealed.NewCoreKey().Public(), {}} {
		_, err := token(r).Enrol(core, r.device.Public(), wireguard(t))
		require.ErrorIs(t, err, sealed.ErrCore)
		require.False(t, token(r).Trusts(core))
	}
	nist, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, err = token(r).Enrol(r.key.Public(), r.device.Public(), nist)
	require.ErrorIs(t, err, sealed.ErrKey)
}

func TestTokenThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := sealed.NewToken(sealed.Token{
			Deployment: rapid.StringMatching(`[a-z0-9]{1,63}`).Draw(t, "deployment"),
			Proxies:    rapid.SliceOfN(rapid.StringMatching(`https://[a-z.]+`), 0, 16).Draw(t, "proxies"),
			Expires:    time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "expires"), 0).UTC(),
		})
		for range rapid.IntRange(1, sealed.MaxKeys).Draw(t, "keys") {
			in.Keys = append(in.Keys, sealed.Fingerprint(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key")))
		}
		text := in.Reveal()
		require.Regexp(t, `^holdfast://enrol/[A-Za-z0-9_-]+$`, text, "one word in any shell")
		out, err := sealed.ParseToken(" " + text + "\n")
		require.NoError(t, err)
		require.Equal(t, in.Key().Reveal(), out.Key().Reveal())
		require.Equal(t, text, out.Reveal())
		require.Equal(t, in.Keys, out.Keys)
		require.ElementsMatch(t, in.Proxies, out.Proxies)
		require.Equal(t, in.Expires, out.Expires)
	})
}

func TestADamagedTokenIsNone(t *testing.T) {
	text := token(newRig(t)).Reveal()
	for i := range text {
		for _, bad := range []string{text[:i], text[:i] + text[i+1:], text[:i] + "\n" + text[i:], text[:i] + flip(text[i]) + text[i+1:]} {
			if strings.TrimSpace(bad) == text {
				continue
			}
			_, err := sealed.ParseToken(bad)
			require.ErrorIs(t, err, sealed.ErrToken, bad)
			require.NotContains(t, err.Error(), text[40:60])
		}
	}
	for _, none := range []sealed.Token{{}, {Deployment: "acme"}, sealed.NewToken(sealed.Token{Deployment: "acme"}), sealed.NewToken(sealed.Token{Keys: make([]sealed.Fingerprint, 1)})} {
		require.Empty(t, none.Reveal())
	}
	require.True(t, sealed.Token{}.Key().IsZero())
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}
