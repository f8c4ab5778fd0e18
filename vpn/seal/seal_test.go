package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/chacha20poly1305"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/vpn/seal"
)

func ring(t require.TestingT, keys ...seal.Key) *seal.Keyring {
	r, err := seal.New(keys...)
	require.NoError(t, err)
	return r
}

// key makes a key that is the same in each run.
func key(b byte) seal.Key {
	return seal.KeyFrom([seal.KeySize]byte(bytes.Repeat([]byte{b}, seal.KeySize)))
}

func TestThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := ring(t, seal.NewKey())
		secret := rapid.SliceOf(rapid.Byte()).Draw(t, "secret")
		bound := rapid.String().Draw(t, "bound")
		text := r.Seal(secret, bound)
		got, err := r.Open(text, bound)
		require.NoError(t, err)
		require.True(t, bytes.Equal(secret, got))
		require.Regexp(t, `^hf1\.[0-9a-f]{12}\.[A-Za-z0-9_-]+$`, string(text), "safe in any row, log or URL")
		require.NotEqual(t, text, r.Seal(secret, bound), "never the same text twice")
		require.False(t, r.Stale(text))
	})
}

// fixed is "secret" for "row/1", sealed with key('k') and a nonce of only 'n'.
const fixed = "hf1.f8c1c6fd6573.bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5uhp2rx6MskeW80ynq46Atzd_GV_xmbQ"

// A text made by an earlier release has to stay readable: this one was made
// outside this package, of the format as it is documented.
func TestFormatIsFixed(t *testing.T) {
	k := key('k')
	raw := k.Reveal()
	aead, err := chacha20poly1305.NewX(raw[:])
	require.NoError(t, err)
	nonce := bytes.Repeat([]byte{'n'}, chacha20poly1305.NonceSizeX)
	body := aead.Seal(nonce, nonce, []byte("secret"), []byte("hf1/row/1"))
	require.Equal(t, fixed, "hf1.f8c1c6fd6573."+base64.RawURLEncoding.EncodeToString(body))
	got, err := ring(t, k).Open(fixed, "row/1")
	require.NoError(t, err)
	require.Equal(t, "secret", string(got))
}

// proves P15: a secret cannot be moved to another row, nor changed.
func TestOpensNowhereElseAndNothingElse(t *testing.T) {
	r := ring(t, key(1), key(2))
	text := r.Seal([]byte("secret"), "location/a/key")
	for _, bound := range []string{"", "location/b/key", "location/a/key ", "location/a", "LOCATION/A/KEY"} {
		_, err := r.Open(text, bound)
		require.ErrorIs(t, err, seal.ErrUnreadable, bound)
	}
	for i := range text {
		for _, c := range []string{"", "A", "z", "-", "\x00"} {
			changed := text[:i] + seal.Text(c) + text[i+1:]
			if changed == text {
				continue
			}
			_, err := r.Open(changed, "location/a/key")
			require.ErrorIs(t, err, seal.ErrUnreadable, "byte %d", i)
			require.NotContains(t, err.Error(), "secret")
		}
		_, err := r.Open(text[:i], "location/a/key")
		require.ErrorIs(t, err, seal.ErrUnreadable, "cut at %d", i)
	}
	_, err := r.Open("", "location/a/key")
	require.ErrorIs(t, err, seal.ErrUnreadable, "no secret does not open")
	// The other key's name on this key's text.
	other := ring(t, key(2)).Seal([]byte("x"), "location/a/key")
	mixed := other[:len("hf1.")+12] + text[len("hf1.")+12:]
	_, err = r.Open(mixed, "location/a/key")
	require.ErrorIs(t, err, seal.ErrUnreadable)
}

func TestErrorsSayWhatToDo(t *testing.T) {
	text := ring(t, key(1)).Seal([]byte("secret"), "row/1")
	_, err := ring(t, key(2)).Open(text, "row/1")
	require.ErrorContains(t, err, "row/1")
	require.ErrorContains(t, err, "which is not in the ring: add that key")
	_, err = ring(t, key(1)).Open(text, "row/2")
	require.ErrorContains(t, err, "changed, or sealed for another place")
}

func TestRotation(t *testing.T) {
	old, young := key(1), key(2)
	text := ring(t, old).Seal([]byte("secret"), "row")

	both := ring(t, young, old)
	got, err := both.Open(text, "row")
	require.NoError(t, err, "the old key still opens")
	require.True(t, both.Stale(text))
	again := both.Seal(got, "row")
	require.False(t, both.Stale(again), "the first key seals")

	_, err = ring(t, young).Open(again, "row")
	require.NoError(t, err, "the old key can go")
	_, err = ring(t, young).Open(text, "row")
	require.ErrorIs(t, err, seal.ErrUnreadable)

	require.False(t, both.Stale(""), "no secret, nothing to do")
	require.True(t, both.Stale("rubbish"))
}

func TestNewRefuses(t *testing.T) {
	_, err := seal.New()
	require.ErrorContains(t, err, "at least one key")
	_, err = seal.New(key(1), seal.Key{})
	require.ErrorContains(t, err, "key 2 of the ring is all zero")
	_, err = seal.New(key(1), key(2), key(1))
	require.ErrorContains(t, err, "twice")
	require.Equal(t, seal.Key{}, seal.KeyFrom([seal.KeySize]byte{}))
	require.Equal(t, [seal.KeySize]byte{}, seal.Key{}.Reveal())
}

func TestEphemeralRingsDiffer(t *testing.T) {
	a, b := seal.Ephemeral(), seal.Ephemeral()
	text := a.Seal([]byte("secret"), "row")
	_, err := a.Open(text, "row")
	require.NoError(t, err)
	_, err = b.Open(text, "row")
	require.ErrorIs(t, err, seal.ErrUnreadable)
}

// proves P15: keys and rings show under no verb, wherever they stand.
func TestKeysDoNotPrint(t *testing.T) {
	k := key('P')
	r := ring(t, k)
	for name, v := range map[string]any{
		"key": k, "pointer": &k, "list": []seal.Key{k}, "field": struct{ Key seal.Key }{k}, "closed": struct{ k seal.Key }{k},
		"ring": r, "ring field": struct{ R *seal.Keyring }{r}, "ring closed": struct{ r *seal.Keyring }{r},
		"ring by value": *r, "ring by value, closed": struct{ r seal.Keyring }{*r},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "% X", "%d", "%b", "%c", "%U", "%t", "%p", "%!"} {
			requireHidden(t, fmt.Sprintf(verb, v), name+" with "+verb)
		}
		var out bytes.Buffer
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		requireHidden(t, out.String(), name)
	}
	_, err := json.Marshal(k)
	require.ErrorContains(t, err, "does not marshal")
	require.Error(t, gob.NewEncoder(&bytes.Buffer{}).Encode(k))
	require.Regexp(t, `^keyring\([0-9a-f]{12}\)$`, r.String())
}

func requireHidden(t *testing.T, text, how string) {
	t.Helper()
	for _, trace := range []string{"PPP", "UFBQ", "50505050", "80 80", "80, 80", "0x50 0x50", "0x50, 0x50", "1010000 1010000", "120 120", "'P'", "U+0050"} {
		require.NotContains(t, text, trace, how)
	}
}

func TestRingIsSafeForConcurrentUse(t *testing.T) {
	r := seal.Ephemeral()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				want := fmt.Sprint(i, j)
				got, err := r.Open(r.Seal([]byte(want), "row"), "row")
				if err != nil || string(got) != want {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzOpen(f *testing.F) {
	r, err := seal.New(key(1), key('k'))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(fixed, "row/1")
	f.Add(fixed, "row/2")
	f.Add("hf1..", "")
	f.Add(fixed[:17], "row/1")
	f.Add(fixed[:50]+"\r"+fixed[50:], "row/1")
	f.Add(fixed+"\n", "row/1")
	f.Fuzz(func(t *testing.T, text, bound string) {
		got, err := r.Open(seal.Text(text), bound)
		r.Stale(seal.Text(text))
		if err != nil {
			require.ErrorIs(t, err, seal.ErrUnreadable)
			require.Nil(t, got)
			return
		}
		require.Equal(t, fixed, text, "nobody can make a text without the key")
		require.Equal(t, "row/1", bound)
	})
}

// A ring that somebody holds rotates under them.
func TestReplace(t *testing.T) {
	old, fresh := seal.NewKey(), seal.NewKey()
	r, err := seal.New(old)
	require.NoError(t, err)
	text := r.Seal([]byte("secret"), "row/1")
	require.NoError(t, r.Replace(fresh, old))
	require.True(t, r.Stale(text))
	b, err := r.Open(text, "row/1")
	require.NoError(t, err)
	again := r.Seal(b, "row/1")
	require.False(t, r.Stale(again))
	require.Error(t, r.Replace())
	require.Error(t, r.Replace(fresh, fresh))
	_, err = r.Open(text, "row/1")
	require.NoError(t, err, "what was refused changes nothing")
	require.NoError(t, r.Replace(fresh))
	_, err = r.Open(text, "row/1")
	require.ErrorIs(t, err, seal.ErrUnreadable)
	_, err = r.Open(again, "row/1")
	require.NoError(t, err)
}
