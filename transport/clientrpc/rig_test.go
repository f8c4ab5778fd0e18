package clientrpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfastvpn/holdfast/transport/clientrpc"
	"github.com/holdfastvpn/holdfast/transport/sealed"
)

// The contract of these tests: what a device says comes back, with its name.
var (
	errBusy    = errors.New("the kettle is on")
	errTeapot  = errors.New("a teapot")
	sentinels  = []clientrpc.Sentinel{{Word: "test.busy", Is: errBusy}, {Word: "test.teapot", Is: errTeapot}}
	start      = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	errPrivate = errors.New("hunter2")
)

type text = wrapperspb.StringValue

func say(s string) *text { return wrapperspb.String(s) }

// core is one core: what it keeps, other cores may keep as well.
type core struct {
	opener  *sealed.Opener
	handler http.Handler
	store   *store
}

// store has devices and tokens.
type store struct {
	mu      sync.Mutex
	devices map[sealed.IdentityPublic]string
	tokens  map[[16]byte]sealed.EnrolKey
	used    map[[16]byte]clientrpc.NewDevice
	expired map[[16]byte]bool
	away    error
	calls   []string
	log     strings.Builder
}

func (s *store) EnrolKey(_ context.Context, id [16]byte) (sealed.EnrolKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens[id], s.away
}

func (s *store) Enrol(_ context.Context, id [16]byte, d clientrpc.NewDevice) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if had, ok := s.used[id]; ok && had != d {
		return "", fmt.Errorf("%w, by others", clientrpc.ErrUsed)
	}
	if s.expired[id] {
		return "", clientrpc.ErrExpired
	}
	s.used[id], s.devices[d.Identity] = d, "dev-"+d.Name
	return "dev-" + d.Name, nil
}

func (s *store) lookup(_ context.Context, id sealed.IdentityPublic) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.devices[id], s.away
}

func newStore() *store {
	return &store{
		devices: map[sealed.IdentityPublic]string{}, tokens: map[[16]byte]sealed.EnrolKey{},
		used: map[[16]byte]clientrpc.NewDevice{}, expired: map[[16]byte]bool{},
	}
}

func newCore(tb testing.TB, s *store, now func() time.Time, keys ...sealed.CoreKey) *core {
	tb.Helper()
	c := &core{store: s}
	var err error
	c.opener, err = sealed.NewOpener(sealed.OpenerConfig{Deployment: "acme", Keys: keys, Start: start, Lookup: s.lookup})
	require.NoError(tb, err)
	var m clientrpc.Methods
	clientrpc.HandleEnrol(&m, s)
	clientrpc.Handle(&m, "echo", func(_ context.Context, who sealed.Caller, q *text) (*text, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls = append(s.calls, q.GetValue())
		return say(who.Device + " says " + q.GetValue()), nil
	})
	clientrpc.Handle(&m, "fail", func(_ context.Context, _ sealed.Caller, q *text) (*text, error) {
		switch q.GetValue() {
		case "busy":
			return nil, fmt.Errorf("wait a minute: %w", errBusy)
		case "both":
			return nil, errors.Join(errTeapot, errBusy)
		case "large":
			return say(strings.Repeat("x", sealed.MaxBody)), nil
		}
		return nil, errPrivate
	})
	clientrpc.Handle(&m, "wait", func(ctx context.Context, _ sealed.Caller, _ *text) (*text, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	var path string
	path, c.handler, err = clientrpc.NewHandler(clientrpc.HandlerConfig{
		Opener: c.opener, Methods: &m, Errors: sentinels, Now: now, Log: slog.New(slog.NewTextHandler(&s.log, nil)),
	})
	require.NoError(tb, err)
	require.Equal(tb, "/holdfast.client.v1.ClientService/", path)
	return c
}

// relay is a proxy that somebody stole: it keeps all that passes, may change it, and may
// send it elsewhere.
type relay struct {
	mu        sync.Mutex
	to        http.Handler
	asked     []*http.Request // to Exchange
	bodies    [][]byte
	answered  [][]byte
	onRequest func([]byte) []byte
	onAnswer  func([]byte) []byte
}

// Do is connect.HTTPClient: it is all the network that there is.
func (r *relay) Do(q *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	exchange := strings.HasSuffix(q.URL.Path, "/Exchange")
	if exchange {
		r.asked, r.bodies = append(r.asked, q), append(r.bodies, bytes.Clone(body))
		if r.onRequest != nil {
			body = r.onRequest(body)
		}
	}
	to := r.to
	r.mu.Unlock()
	w := send(to, q, body)
	r.mu.Lock()
	defer r.mu.Unlock()
	if exchange {
		r.answered = append(r.answered, bytes.Clone(w.Body.Bytes()))
		if r.onAnswer != nil {
			w.Body = bytes.NewBuffer(r.onAnswer(w.Body.Bytes()))
		}
	}
	return w.Result(), nil
}

func send(to http.Handler, q *http.Request, body []byte) *httptest.ResponseRecorder {
	again := q.Clone(q.Context())
	again.Body, again.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	again.RequestURI = ""
	w := httptest.NewRecorder()
	to.ServeHTTP(w, again)
	return w
}

// rig is a core, a relay and a device.
type rig struct {
	*core

	relay  *relay
	key    sealed.CoreKey
	device sealed.Identity
	client *clientrpc.Client
	now    time.Time // of the core
	off    time.Duration
	told   [][]sealed.Fingerprint
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	r := &rig{key: sealed.NewCoreKey(), device: sealed.NewIdentity(), now: start.Add(time.Hour)}
	r.core = newCore(tb, newStore(), func() time.Time { return r.now }, r.key)
	r.store.devices[r.device.Public()] = "laptop"
	r.relay = &relay{to: r.handler}
	r.client = r.newClient(tb, r.device, r.key.Public().Fingerprint())
	return r
}

func (r *rig) newClient(tb testing.TB, id sealed.Identity, trust ...sealed.Fingerprint) *clientrpc.Client {
	tb.Helper()
	c, err := clientrpc.NewClient(r.relay, "https://vpn.example.org", clientrpc.ClientConfig{
		Deployment: "acme", Identity: id, Trust: trust, Errors: sentinels,
		Now:     func() time.Time { return r.now.Add(r.off) },
		Trusted: func(keys []sealed.Fingerprint) { r.told = append(r.told, keys) },
	})
	require.NoError(tb, err)
	return c
}

func (r *rig) call(tb testing.TB, method, q string) (string, error) {
	tb.Helper()
	a, err := clientrpc.Call[text, text](tb.Context(), r.client, method, say(q))
	return a.GetValue(), err
}
