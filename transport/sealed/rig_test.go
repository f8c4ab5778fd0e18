package sealed_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport/sealed"
)

// rig is a core, and one device that it knows.
type rig struct {
	key     sealed.CoreKey
	device  sealed.Identity
	opener  *sealed.Opener
	now     time.Time
	known   map[sealed.IdentityPublic]string
	lookups int
	refused []sealed.Reason
	away    bool // the store
}

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func newRig(tb testing.TB) *rig {
	tb.Helper()
	r := &rig{key: sealed.NewCoreKey(), device: sealed.NewIdentity(), now: start.Add(time.Hour)}
	r.known = map[sealed.IdentityPublic]string{r.device.Public(): "laptop"}
	r.opener = r.core(tb, "acme", r.key)
	return r
}

// core is a further core, with the same devices.
func (r *rig) core(tb testing.TB, deployment string, keys ...sealed.CoreKey) *sealed.Opener {
	tb.Helper()
	o, err := sealed.NewOpener(sealed.OpenerConfig{
		Deployment: deployment, Keys: keys, Start: start,
		Lookup: func(_ context.Context, id sealed.IdentityPublic) (string, error) {
			r.lookups++
			if r.away {
				return "", errors.New("the database has gone")
			}
			return r.known[id], nil
		},
		Refused: func(why sealed.Reason) { r.refused = append(r.refused, why) },
	})
	require.NoError(tb, err)
	return o
}

func (r *rig) request(method, body string) sealed.Request {
	return sealed.Request{
		Deployment: "acme", Core: r.key.Public(), Identity: r.device, At: r.now, Method: method, Body: []byte(body),
	}
}

func (r *rig) seal(tb testing.TB, q sealed.Request) ([]byte, *sealed.Waiting) {
	tb.Helper()
	envelope, w, err := sealed.Seal(q)
	require.NoError(tb, err)
	return envelope, w
}

// open has the core open an envelope.
func (r *rig) open(tb testing.TB, envelope []byte) (*sealed.Opened, error) {
	tb.Helper()
	return r.opener.Open(tb.Context(), r.now, envelope)
}

// answered is a request that the core took, with its answer.
func (r *rig) answered(tb testing.TB, method, body, answer string) (*sealed.Waiting, []byte) {
	tb.Helper()
	envelope, w := r.seal(tb, r.request(method, body))
	opened, err := r.open(tb, envelope)
	require.NoError(tb, err)
	sealedAnswer, err := opened.Seal(r.now, []byte(answer))
	require.NoError(tb, err)
	return w, sealedAnswer
}
