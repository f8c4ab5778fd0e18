package sealed_test

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport/sealed"
)

// proves P11: whatever is wrong, it is one and the same error, after the same work; and
// nobody is looked up but who has proven to have the key.
func TestRefusalsAreAlike(t *testing.T) {
	r := newRig(t)
	good, _ := r.seal(t, r.request("m", "b"))
	altered := func(i int) []byte {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		return bad
	}
	garbage := bytes.Clone(good)
	_, _ = rand.Read(garbage[1:])
	lowOrder := bytes.Clone(good)
	clear(lowOrder[1+8+1088 : 1+8+1120])
	forged, err := sealed.Forge(r.request("m", "b"), func(f *sealed.Forgery) { f.Signer = sealed.NewIdentity() })
	require.NoError(t, err)
	nonsense, err := sealed.Forge(r.request("m", "b"), func(f *sealed.Forgery) { f.Inside = bytes.Repeat([]byte{0xff}, 512) })
	require.NoError(t, err)
	inside := r.opener.Inside(good)
	inside[511] = 1
	padded, err := sealed.Forge(r.request("m", "b"), func(f *sealed.Forgery) { f.Inside = inside })
	require.NoError(t, err)
	with := func(edit func(*sealed.Request)) []byte {
		q := r.request("m", "b")
		edit(&q)
		envelope, _ := r.seal(t, q)
		return envelope
	}
	replayed, _ := r.seal(t, r.request("m", "b"))
	_, err = r.open(t, replayed)
	require.NoError(t, err)
	disabled := sealed.NewIdentity()
	r.known[disabled.Public()] = ""
	for name, c := range map[string]struct {
		envelope []byte
		why      sealed.Reason
		lookups  int
	}{
		"garbage":             {garbage, sealed.Unopened, 0},
		"a point of no order": {lowOrder, sealed.Unopened, 0},
		"another key's id":    {altered(3), sealed.Unopened, 0},
		"altered":             {altered(len(good) - 1), sealed.Unopened, 0},
		"for another key":     {with(func(q *sealed.Request) { q.Core = sealed.NewCoreKey().Public() }), sealed.Unopened, 0},
		"another deployment":  {with(func(q *sealed.Request) { q.Deployment = "other" }), sealed.Unopened, 0},
		"nonsense inside":     {nonsense, sealed.Unopened, 0},
		"odd padding":         {padded, sealed.Unopened, 0},
		"a forged signature":  {forged, sealed.Unsigned, 0},
		"an unknown device":   {with(func(q *sealed.Request) { q.Identity = sealed.NewIdentity() }), sealed.Unknown, 1},
		"a disabled device":   {with(func(q *sealed.Request) { q.Identity = disabled }), sealed.Unknown, 1},
		"a replayed request":  {replayed, sealed.Replayed, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r.lookups, r.refused = 0, nil
			work := r.opener.Count()
			opened, err := r.open(t, c.envelope)
			require.Nil(t, opened)
			require.Same(t, sealed.ErrRefused, err, "the very same, with nothing around it")
			require.Equal(t, sealed.Work{Decapsulations: 1, Verifications: 1}, *work)
			require.Equal(t, c.lookups, r.lookups)
			require.Equal(t, []sealed.Reason{c.why}, r.refused)
		})
	}
}

// What is too short, too long or of no bucket costs no cryptography.
func TestShapesComeFirst(t *testing.T) {
	r := newRig(t)
	good, _ := r.seal(t, r.request("m", "b"))
	newer := bytes.Clone(good)
	newer[0] = 2
	work := r.opener.Count()
	for _, bad := range [][]byte{
		nil, {1}, good[:sealed.RequestOverhead], good[:len(good)-1], append(bytes.Clone(good), 0), newer,
		make([]byte, sealed.RequestOverhead+256), append([]byte{1}, make([]byte, sealed.MaxRequest)...),
		append([]byte{1}, make([]byte, sealed.RequestOverhead+128<<10-1)...),
	} {
		_, err := r.open(t, bad)
		require.Same(t, sealed.ErrRefused, err)
	}
	require.Zero(t, *work)
	require.Zero(t, r.lookups)
}

// A store that fails is nobody's fault, and says nothing of anybody.
func TestAStoreThatIsAway(t *testing.T) {
	r := newRig(t)
	r.away = true
	q := r.request("m", "b")
	envelope, _ := r.seal(t, q)
	_, err := r.open(t, envelope)
	require.ErrorIs(t, err, sealed.ErrBusy)
	q.Identity = sealed.NewIdentity()
	unknown, _ := r.seal(t, q)
	_, err = r.open(t, unknown)
	require.ErrorIs(t, err, sealed.ErrBusy)
	r.away = false
	_, err = r.open(t, envelope)
	require.NoError(t, err, "it was not used up")
}

// Who has a wrong clock hears the core's time, known or not; nobody else can read it.
func TestAWrongClock(t *testing.T) {
	r := newRig(t)
	for _, off := range []time.Duration{-100 * 365 * 24 * time.Hour, -2*time.Minute - 1, 2*time.Minute + 1, 24 * time.Hour} {
		for _, identity := range []sealed.Identity{r.device, sealed.NewIdentity()} {
			q := r.request("m", "b")
			q.At, q.Identity = r.now.Add(off), identity
			r.lookups = 0
			envelope, w := r.seal(t, q)
			_, err := r.open(t, envelope)
			require.ErrorIs(t, err, sealed.ErrClock)
			clock := &sealed.ClockError{}
			require.ErrorAs(t, err, &clock)
			require.Zero(t, r.lookups)
			a, err := w.Open(clock.Answer)
			require.ErrorIs(t, err, sealed.ErrClock)
			require.True(t, r.now.Equal(a.At))
			require.Empty(t, a.Body)
		}
	}
	for _, off := range []time.Duration{-2 * time.Minute, 2 * time.Minute} {
		q := r.request("m", "b")
		q.At = r.now.Add(off)
		envelope, _ := r.seal(t, q)
		_, err := r.open(t, envelope)
		require.NoError(t, err, "both ends of the window are in it")
	}
}

// proves P11: a request is taken once by a core, and never by one that began after it.
func TestReplays(t *testing.T) {
	r := newRig(t)
	envelope, _ := r.seal(t, r.request("m", "b"))
	_, err := r.open(t, envelope)
	require.NoError(t, err)
	for range 3 {
		r.now = r.now.Add(50 * time.Second)
		_, err = r.open(t, envelope)
		require.Error(t, err)
	}
	require.ErrorIs(t, err, sealed.ErrClock, "it is too old by now")
	r.now = start.Add(-time.Second)
	envelope, _ = r.seal(t, r.request("m", "b"))
	r.now = start.Add(time.Second)
	_, err = r.core(t, "acme", r.key).Open(t.Context(), r.now, envelope)
	require.ErrorIs(t, err, sealed.ErrClock, "it was made before this core began")
}

func TestNewOpenerNamesWhatIsWrong(t *testing.T) {
	r := newRig(t)
	good := sealed.OpenerConfig{Deployment: "acme", Keys: []sealed.CoreKey{r.key}, Start: start, Lookup: nil}
	for want, edit := range map[string]func(*sealed.OpenerConfig){
		"Deployment": func(c *sealed.OpenerConfig) { c.Deployment = "" },
		"Lookup":     func(*sealed.OpenerConfig) {},
	} {
		cfg := good
		edit(&cfg)
		_, err := sealed.NewOpener(cfg)
		require.ErrorContains(t, err, want)
	}
	_, err := sealed.NewOpener(sealed.OpenerConfig{})
	require.Error(t, err)
}
