package sealed_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport/sealed"
)

// Whatever bytes come, they are refused; as they are, and sealed by somebody who has the
// core's public key.
func FuzzOpener(f *testing.F) {
	r := newRig(f)
	good, _ := r.seal(f, r.request("m", "b"))
	f.Add(good)
	f.Add(r.opener.Inside(good))
	f.Add([]byte{1})
	f.Add(make([]byte, sealed.RequestOverhead+512))
	_, err := r.open(f, good)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := r.open(t, b)
		require.ErrorIs(t, err, sealed.ErrRefused)
		bucket := 512
		for bucket < len(b) && bucket < 64<<10 {
			bucket *= 2
		}
		plain := make([]byte, bucket)
		copy(plain, b)
		envelope, err := sealed.Forge(r.request("m", "b"), func(f *sealed.Forgery) { f.Inside = plain })
		require.NoError(t, err)
		_, err = r.open(t, envelope)
		require.ErrorIs(t, err, sealed.ErrRefused)
	})
}

func FuzzWaiting(f *testing.F) {
	r := newRig(f)
	_, w := r.seal(f, r.request("m", "b"))
	_, other := r.answered(f, "m", "b", "a")
	f.Add(other)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := w.Open(b)
		require.Same(t, sealed.ErrRefused, err)
	})
}

// What a core says to its own devices is read with care as well.
func FuzzParseAnswer(f *testing.F) {
	f.Add(sealed.AppendAnswer(sealed.Answer{At: start, Body: []byte("x"), Keys: make([]sealed.Fingerprint, 2)}))
	f.Add(sealed.AppendAnswer(sealed.Answer{At: start, Keys: make([]sealed.Fingerprint, sealed.MaxKeys+1)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := sealed.ParseAnswer(b)
		if ok {
			require.LessOrEqual(t, len(a.Body), sealed.MaxBody)
			require.LessOrEqual(t, len(a.Keys), sealed.MaxKeys)
		}
	})
}

func FuzzParseToken(f *testing.F) {
	f.Add(token(newRig(f)).Reveal())
	f.Add("holdfast://enrol/")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := sealed.ParseToken(s)
		if err != nil {
			require.ErrorIs(t, err, sealed.ErrToken)
			return
		}
		again, err := sealed.ParseToken(tok.Reveal())
		require.NoError(t, err)
		require.Equal(t, tok.Reveal(), again.Reveal())
	})
}
