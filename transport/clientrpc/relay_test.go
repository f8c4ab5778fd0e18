package clientrpc_test

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/holdfastvpn/holdfast/transport/clientrpc"
	"github.com/holdfastvpn/holdfast/transport/clientrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/transport/sealed"
)

// proves P11: a relay that alters a bit of a request gets a refusal, and of an answer
// makes the device hear that there was none; nothing is carried out.
func TestARelayThatAlters(t *testing.T) {
	r := newRig(t)
	_, err := r.call(t, "echo", "first")
	require.NoError(t, err)
	n, m := len(r.relay.bodies[0]), len(r.relay.answered[0])
	for i := 3; i < n; i += 7 { // after what protobuf has before the envelope
		r.now = r.now.Add(time.Second)
		r.relay.onRequest = func(b []byte) []byte { b[i] ^= 1; return b }
		_, err := r.call(t, "echo", "x")
		require.ErrorIs(t, err, sealed.ErrRefused, "byte %d", i)
	}
	require.Len(t, r.store.calls, 1)
	r.relay.onRequest = nil
	for i := 3; i < m; i += 7 {
		r.now = r.now.Add(time.Second)
		r.relay.onAnswer = func(b []byte) []byte { b[i] ^= 1; return b }
		_, err := r.call(t, "echo", "x")
		require.ErrorIs(t, err, clientrpc.ErrAway, "byte %d", i)
	}
}

// proves P11: what was recorded is taken once by each core within its window, and never
// later; and nobody but the device reads the answer.
func TestARelayThatReplays(t *testing.T) {
	r := newRig(t)
	_, err := r.call(t, "echo", "once")
	require.NoError(t, err)
	other := newCore(t, r.store, func() time.Time { return r.now }, r.key)
	replay := func(to http.Handler) int { return send(to, r.relay.asked[0], r.relay.bodies[0]).Code }
	for range 5 {
		require.Equal(t, http.StatusForbidden, replay(r.handler))
	}
	require.Equal(t, http.StatusOK, replay(other.handler), "the other core never saw it")
	require.Equal(t, http.StatusForbidden, replay(other.handler))
	require.Equal(t, []string{"once", "once"}, r.store.calls)
	r.now = r.now.Add(3 * time.Minute)
	for _, h := range []http.Handler{r.handler, other.handler} {
		require.Equal(t, http.StatusOK, replay(h), "what time it is, which the relay cannot read")
	}
	require.Len(t, r.store.calls, 2)
	delete(r.store.devices, r.device.Public())
	require.Equal(t, http.StatusOK, replay(r.handler), "and which it gets for a device that has gone as well")
}

// proves P11: answers of two requests cannot be exchanged.
func TestARelayThatSwapsAnswers(t *testing.T) {
	r := newRig(t)
	_, err := r.call(t, "echo", "one")
	require.NoError(t, err)
	r.relay.onAnswer = func([]byte) []byte { return r.relay.answered[0] }
	_, err = r.call(t, "echo", "one")
	require.ErrorIs(t, err, clientrpc.ErrAway)
}

// proves P11: a relay that plays the core gets nothing, not even to know what was asked.
func TestARelayThatPlaysTheCore(t *testing.T) {
	r := newRig(t)
	false1 := newCore(t, newStore(), func() time.Time { return r.now }, sealed.NewCoreKey())
	false1.store.devices[r.device.Public()] = "laptop"
	r.relay.to = false1.handler
	_, err := r.call(t, "echo", "secret")
	require.ErrorIs(t, err, sealed.ErrCore)
	require.Empty(t, r.relay.bodies, "nothing was sent")
	tok, key := newToken(r), newKey()
	_, err = r.client.Enrol(t.Context(), tok, key, "x")
	require.ErrorIs(t, err, sealed.ErrCore)
	require.Empty(t, r.relay.bodies)
}

// proves P11: whatever is wrong, the outside sees one and the same refusal.
func TestOneRefusalForAll(t *testing.T) {
	r := newRig(t)
	_, err := r.call(t, "echo", "x")
	require.NoError(t, err)
	good := &pb.ExchangeRequest{}
	require.NoError(t, proto.Unmarshal(r.relay.bodies[0], good))
	altered := bytes.Clone(good.GetEnvelope())
	altered[len(altered)-1] ^= 1
	unknown, _, err := sealed.Seal(sealed.Request{
		Deployment: "acme", Core: r.key.Public(), Identity: sealed.NewIdentity(), At: r.now, Method: "echo",
	})
	require.NoError(t, err)
	stranger, _, err := sealed.Seal(sealed.Request{
		Deployment: "acme", Core: r.key.Public(), Identity: sealed.NewIdentity(), At: r.now, Method: "echo", Stranger: true,
	})
	require.NoError(t, err)
	var want string
	for name, envelope := range map[string][]byte{
		"replayed": good.GetEnvelope(), "altered": altered, "unknown": unknown, "a stranger": stranger,
		"nothing": nil, "short": {1}, "garbage": bytes.Repeat([]byte{1}, 1657), "too long": make([]byte, sealed.MaxRequest+1),
	} {
		body, err := proto.Marshal(&pb.ExchangeRequest{Envelope: envelope})
		require.NoError(t, err)
		w := send(r.handler, r.relay.asked[0], body)
		require.Equal(t, http.StatusForbidden, w.Code, name)
		got := w.Body.String() + w.Header().Get("Holdfast-Error")
		if want == "" {
			want = got
		}
		require.Equal(t, want, got, name)
	}
	w := send(r.handler, r.relay.asked[0], []byte{0xff})
	require.Equal(t, http.StatusBadRequest, w.Code, "it is no message at all")
	w = send(r.handler, r.relay.asked[0], make([]byte, 100_000))
	require.Equal(t, http.StatusTooManyRequests, w.Code, "it is not even read")
}

// lies is a core that says nonsense.
type lies struct {
	pb.UnimplementedClientServiceHandler

	keys [][]byte
	err  error
}

func (l lies) Key(context.Context, *pb.KeyRequest) (*pb.KeyResponse, error) {
	return &pb.KeyResponse{Keys: l.keys}, l.err
}

func TestARelayThatTalksNonsense(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]struct {
		lies lies
		want error
	}{
		"no keys":     {lies{}, clientrpc.ErrAway},
		"short keys":  {lies{keys: [][]byte{{1}}}, clientrpc.ErrAway},
		"no points":   {lies{keys: [][]byte{bytes.Repeat([]byte{0xff}, sealed.CorePublicSize)}}, sealed.ErrCore},
		"many keys":   {lies{keys: make([][]byte, 5)}, clientrpc.ErrAway},
		"its own":     {lies{keys: [][]byte{sealed.NewCoreKey().Public().Bytes()}}, sealed.ErrCore},
		"a refusal":   {lies{err: connect.NewError(connect.CodePermissionDenied, nil)}, clientrpc.ErrAway},
		"no exchange": {lies{keys: [][]byte{r.key.Public().Bytes()}}, clientrpc.ErrAway},
	} {
		_, h := pb.NewClientServiceHandler(c.lies)
		r.relay.to, r.client = h, r.newClient(t, r.device, r.key.Public().Fingerprint())
		_, err := r.call(t, "echo", "x")
		require.ErrorIs(t, err, c.want, name)
	}
}
