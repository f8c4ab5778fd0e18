package sealed_test

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/transport/sealed"
)

func TestThereAndBack(t *testing.T) {
	r := newRig(t)
	older := sealed.NewCoreKey()
	require.NoError(t, r.opener.SetKeys(r.key, older))
	rapid.Check(t, func(t *rapid.T) {
		r.now = r.now.Add(5 * time.Minute)
		q := r.request(rapid.StringN(1, -1, sealed.MaxMethod).Draw(t, "method"), "")
		size := rapid.OneOf(rapid.IntRange(0, 1000), rapid.IntRange(sealed.MaxBody-1000, sealed.MaxBody))
		q.Body = bytes.Repeat([]byte{rapid.Byte().Draw(t, "body")}, size.Draw(t, "length"))
		q.At = r.now.Add(time.Duration(rapid.Int64Range(int64(-time.Minute), int64(time.Minute)).Draw(t, "off")))
		q.Stranger = rapid.Bool().Draw(t, "stranger")
		if rapid.Bool().Draw(t, "older key") {
			q.Core = older.Public()
		}
		envelope, w, err := sealed.Seal(q)
		require.NoError(t, err)
		require.LessOrEqual(t, len(envelope), sealed.MaxRequest)
		got, err := r.opener.Open(t.Context(), r.now, envelope)
		require.NoError(t, err)
		require.Equal(t, q.Method, got.Method)
		require.Equal(t, string(q.Body), string(got.Body))
		require.Equal(t, w.ID(), got.Caller.Request)
		require.True(t, q.At.Equal(got.At))
		require.Equal(t, r.device.Public(), got.Caller.Identity)
		require.Equal(t, map[bool]string{false: "laptop", true: ""}[q.Stranger], got.Caller.Device)
		body := bytes.Repeat([]byte{1}, size.Draw(t, "answer"))
		answer, err := got.Seal(r.now, body)
		require.NoError(t, err)
		require.LessOrEqual(t, len(answer), sealed.MaxAnswer)
		a, err := w.Open(answer)
		require.NoError(t, err)
		require.Equal(t, string(body), string(a.Body))
		require.True(t, r.now.Equal(a.At))
		require.Equal(t, []sealed.Fingerprint{r.key.Public().Fingerprint(), older.Public().Fingerprint()}, a.Keys)
	})
}

func TestWhatCannotBeSealed(t *testing.T) {
	r := newRig(t)
	for name, edit := range map[string]func(*sealed.Request){
		"no deployment":   func(q *sealed.Request) { q.Deployment = "" },
		"a long one":      func(q *sealed.Request) { q.Deployment = strings.Repeat("x", 64) },
		"no key":          func(q *sealed.Request) { q.Core = sealed.CorePublic{} },
		"no identity":     func(q *sealed.Request) { q.Identity = sealed.Identity{} },
		"no time":         func(q *sealed.Request) { q.At = time.Time{} },
		"no method":       func(q *sealed.Request) { q.Method = "" },
		"a long method":   func(q *sealed.Request) { q.Method = strings.Repeat("x", sealed.MaxMethod+1) },
		"a body too many": func(q *sealed.Request) { q.Body = make([]byte, sealed.MaxBody+1) },
	} {
		q := r.request("m", "b")
		edit(&q)
		_, _, err := sealed.Seal(q)
		require.Error(t, err, name)
	}
	envelope, _ := r.seal(t, r.request("m", "b"))
	opened, err := r.open(t, envelope)
	require.NoError(t, err)
	_, err = opened.Seal(r.now, make([]byte, sealed.MaxBody+1))
	require.ErrorIs(t, err, sealed.ErrTooLarge)
}

// proves P11: of what a device says a relay can alter no bit.
func TestAlteredRequestsAreRefused(t *testing.T) {
	r := newRig(t)
	envelope, _ := r.seal(t, r.request("method", "body"))
	for i := range envelope {
		bad := bytes.Clone(envelope)
		bad[i] ^= 1 << (i % 8)
		_, err := r.open(t, bad)
		require.Same(t, sealed.ErrRefused, err, "byte %d", i)
	}
	for _, bad := range [][]byte{nil, {}, envelope[:len(envelope)-1], append(bytes.Clone(envelope), 0), append(bytes.Clone(envelope), make([]byte, 512)...)} {
		_, err := r.open(t, bad)
		require.Same(t, sealed.ErrRefused, err, "%d bytes", len(bad))
	}
	_, err := r.open(t, envelope)
	require.NoError(t, err, "and none of these tries used it up")
}

// proves P11: nor of what the core answers.
func TestAlteredAnswersAreRefused(t *testing.T) {
	r := newRig(t)
	w, answer := r.answered(t, "method", "body", "answer")
	for i := range answer {
		bad := bytes.Clone(answer)
		bad[i] ^= 1 << (i % 8)
		_, err := w.Open(bad)
		require.Same(t, sealed.ErrRefused, err, "byte %d", i)
	}
	for _, bad := range [][]byte{nil, answer[:len(answer)-1], append(bytes.Clone(answer), 0), append(bytes.Clone(answer), make([]byte, 512)...)} {
		_, err := w.Open(bad)
		require.Same(t, sealed.ErrRefused, err)
	}
	_, err := w.Open(answer)
	require.NoError(t, err)
}

// proves P11: an answer is the answer to one request, even of the same words.
func TestAnswersCannotBeSwapped(t *testing.T) {
	r := newRig(t)
	w1, a1 := r.answered(t, "method", "body", "one")
	w2, a2 := r.answered(t, "method", "body", "two")
	_, err := w1.Open(a2)
	require.Same(t, sealed.ErrRefused, err)
	_, err = w2.Open(a1)
	require.Same(t, sealed.ErrRefused, err)
	got, err := w1.Open(a1)
	require.NoError(t, err)
	require.Equal(t, "one", string(got.Body))
	for what, v := range w1.Variants() {
		_, err = v.Open(a1)
		require.Same(t, sealed.ErrRefused, err, "without %s", what)
	}
	got, err = w2.Open(a2)
	require.NoError(t, err)
	require.Equal(t, "two", string(got.Body))
}

// Another deployment's core opens nothing, even if it has the same key; and what was
// signed for another core or deployment is not good, even if its core seals it anew.
func TestOnlyTheCoreThatWasMeant(t *testing.T) {
	r := newRig(t)
	envelope, _ := r.seal(t, r.request("m", "b"))
	for name, o := range map[string]*sealed.Opener{
		"another deployment": r.core(t, "acme2", r.key),
		"another key":        r.core(t, "acme", sealed.NewCoreKey()),
	} {
		_, err := o.Open(t.Context(), r.now, envelope)
		require.Same(t, sealed.ErrRefused, err, name)
	}
	for name, edit := range map[string]func(*sealed.Forgery){
		"for another core":       func(f *sealed.Forgery) { f.Core = sealed.NewCoreKey().Public().Fingerprint() },
		"for another deployment": func(f *sealed.Forgery) { f.Deployment = "acme2" },
		"by somebody else":       func(f *sealed.Forgery) { f.Signer = sealed.NewIdentity() },
		"under another key's id": func(f *sealed.Forgery) { f.KeyID[7] ^= 1 },
	} {
		envelope, err := sealed.Forge(r.request("m", "b"), edit)
		require.NoError(t, err)
		_, err = r.open(t, envelope)
		require.Same(t, sealed.ErrRefused, err, name)
	}
	envelope, err := sealed.Forge(r.request("m", "b"), func(*sealed.Forgery) {})
	require.NoError(t, err)
	_, err = r.open(t, envelope)
	require.NoError(t, err, "as it should be")
}

// A signature is for one envelope: who has the core's key could not send it on either.
func TestASignatureIsForOneEnvelope(t *testing.T) {
	r := newRig(t)
	envelope, _ := r.seal(t, r.request("m", "b"))
	again, err := sealed.Forge(r.request("m", "b"), func(f *sealed.Forgery) { f.Inside = r.opener.Inside(envelope) })
	require.NoError(t, err)
	_, err = r.open(t, again)
	require.Same(t, sealed.ErrRefused, err)
	require.Equal(t, []sealed.Reason{sealed.Unsigned}, r.refused)
	_, err = r.open(t, envelope)
	require.NoError(t, err)
}

// What is dropped from the ring opens nothing any more; what is new is told.
func TestRotation(t *testing.T) {
	r := newRig(t)
	before, _ := r.seal(t, r.request("m", "b"))
	newer := sealed.NewCoreKey()
	require.NoError(t, r.opener.SetKeys(newer, r.key))
	require.Equal(t, newer.Public().Bytes(), r.opener.Keys()[0].Bytes())
	_, err := r.open(t, before)
	require.NoError(t, err)
	w, answer := r.answered(t, "m", "b", "a")
	a, err := w.Open(answer)
	require.NoError(t, err)
	require.Equal(t, []sealed.Fingerprint{newer.Public().Fingerprint(), r.key.Public().Fingerprint()}, a.Keys)
	require.NoError(t, r.opener.SetKeys(newer))
	late, _ := r.seal(t, r.request("m", "b"))
	_, err = r.open(t, late)
	require.Same(t, sealed.ErrRefused, err)
	for _, bad := range [][]sealed.CoreKey{nil, {sealed.CoreKey{}}, {newer, newer}, make([]sealed.CoreKey, sealed.MaxKeys+1)} {
		require.Error(t, r.opener.SetKeys(bad...))
	}
	q := r.request("m", "b")
	q.Core = newer.Public()
	envelope, _ := r.seal(t, q)
	_, err = r.open(t, envelope)
	require.NoError(t, err, "a ring that cannot be is not taken")
}

// proves P11: of how long something is, little shows.
func TestLengthsTellLittle(t *testing.T) {
	for n, want := range map[int]int{0: 512, 1: 512, 512: 512, 513: 1024, 1024: 1024, 1025: 2048, 65535: 65536, 65536: 65536} {
		require.Equal(t, want, sealed.Bucket(n), n)
	}
	r := newRig(t)
	lengths, answers := map[int]int{}, map[int]int{}
	for n := 0; n <= sealed.MaxBody; n += 509 {
		q := r.request("m", strings.Repeat("b", n))
		envelope, _ := r.seal(t, q)
		lengths[len(envelope)]++
		r.now = r.now.Add(time.Second)
		opened, err := r.open(t, envelope)
		require.NoError(t, err)
		answer, err := opened.Seal(r.now, q.Body)
		require.NoError(t, err)
		answers[len(answer)]++
	}
	require.Len(t, lengths, 8)
	require.Len(t, answers, 8)
	for n := range lengths {
		_, fraction := math.Modf(math.Log2(float64(n - sealed.RequestOverhead)))
		require.Zero(t, fraction)
	}
}
