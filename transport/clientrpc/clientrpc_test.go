package clientrpc_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport/clientrpc"
	"github.com/holdfastvpn/holdfast/transport/sealed"
)

func TestADeviceAsks(t *testing.T) {
	r := newRig(t)
	for i := range 100 { // more than a core remembers of a device, all at one moment
		got, err := r.call(t, "echo", fmt.Sprint(i))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("laptop says ", i), got)
	}
	require.Len(t, r.relay.bodies, 100, "each at the first try")
	require.Empty(t, r.told, "there is nothing new about the keys")
}

// Many at once, by one Client, while the core's key changes.
func TestADeviceAsksManyThings(t *testing.T) {
	r := newRig(t)
	r.off = time.Hour
	var wg sync.WaitGroup
	var failed atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			for j := range 4 {
				want := fmt.Sprint(i, j)
				a, err := clientrpc.Call[text, text](t.Context(), r.client, "echo", say(want))
				if err != nil || a.GetValue() != "laptop says "+want {
					failed.Add(1)
				}
			}
		})
	}
	require.NoError(t, r.opener.SetKeys(sealed.NewCoreKey(), r.key))
	wg.Wait()
	require.Zero(t, failed.Load())
}

// Errors of the contract are what they were; of others only that there was one crosses.
func TestErrorsCross(t *testing.T) {
	r := newRig(t)
	_, err := r.call(t, "fail", "busy")
	require.ErrorIs(t, err, errBusy)
	require.NotErrorIs(t, err, errTeapot)
	require.ErrorContains(t, err, "wait a minute")
	_, err = r.call(t, "fail", "both")
	require.ErrorIs(t, err, errBusy)
	require.ErrorIs(t, err, errTeapot)
	_, err = r.call(t, "nothing of the kind", "")
	require.ErrorIs(t, err, clientrpc.ErrMethod)
	require.Empty(t, r.store.log.String())
	_, err = r.call(t, "fail", "hunter2")
	require.ErrorIs(t, err, clientrpc.ErrInternal)
	require.NotContains(t, err.Error(), "hunter2")
	require.Contains(t, r.store.log.String(), "hunter2", "who looks for it finds it")
	_, err = r.call(t, "fail", "large")
	require.ErrorIs(t, err, clientrpc.ErrInternal)
	_, err = r.call(t, "echo", strings.Repeat("x", sealed.MaxBody))
	require.ErrorIs(t, err, sealed.ErrTooLarge)
}

// proves P11: what the relay sees of an error is what it sees of an answer.
func TestErrorsLookLikeAnswers(t *testing.T) {
	r := newRig(t)
	for _, q := range [][2]string{{"echo", "x"}, {"fail", "busy"}, {"fail", "hunter2"}, {"no such method", ""}} {
		_, _ = r.call(t, q[0], q[1])
	}
	r.off = 24 * time.Hour
	_, err := r.call(t, "echo", "x")
	require.NoError(t, err)
	require.Len(t, r.relay.answered, 6, "one of them says what time it is")
	for i, a := range r.relay.answered {
		require.Len(t, a, len(r.relay.answered[0]))
		require.Len(t, r.relay.bodies[i], len(r.relay.bodies[0]))
		for _, word := range []string{"kettle", "test.busy", "hunter2", "internal", "echo", "laptop"} {
			require.NotContains(t, string(a)+string(r.relay.bodies[i]), word)
		}
	}
}

// A device's clock may show anything: it costs one more try, once.
func TestAWrongClockCostsOneTry(t *testing.T) {
	for _, off := range []time.Duration{-50 * 365 * 24 * time.Hour, -3 * time.Minute, 3 * time.Minute, 50 * 365 * 24 * time.Hour} {
		r := newRig(t)
		r.off = off
		for want := 2; want < 40; want++ {
			_, err := r.call(t, "echo", "x")
			require.NoError(t, err)
			require.Len(t, r.relay.bodies, want)
			r.now = r.now.Add(time.Minute)
		}
		require.Len(t, r.store.calls, 38)
		r.off = 0 // somebody sets it
		_, err := r.call(t, "echo", "x")
		require.NoError(t, err)
	}
}

// A core without the device, or with another key, says no more than that.
func TestStrangersAreRefused(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]*clientrpc.Client{
		"unknown": r.newClient(t, sealed.NewIdentity(), r.key.Public().Fingerprint()),
	} {
		for _, method := range []string{"echo", "no such method"} {
			_, err := clientrpc.Call[text, text](t.Context(), c, method, say("x"))
			require.ErrorIs(t, err, sealed.ErrRefused, name)
			require.NotErrorIs(t, err, clientrpc.ErrMethod)
		}
	}
	r.client = r.newClient(t, r.device, sealed.NewCoreKey().Public().Fingerprint())
	_, err := r.call(t, "echo", "x")
	require.ErrorIs(t, err, sealed.ErrCore)
	require.ErrorContains(t, err, "enrol again")
	require.Empty(t, r.store.calls)
}

// A stranger may enrol, and nothing else.
func TestAStrangersMethods(t *testing.T) {
	r := newRig(t)
	for _, method := range []string{"echo", "fail", "no such method"} {
		err := clientrpc.AskAsStranger(t.Context(), r.client, method, nil)
		require.ErrorIs(t, err, sealed.ErrRefused, method)
	}
	err := clientrpc.AskAsStranger(t.Context(), r.client, "enrol", nil)
	require.ErrorIs(t, err, clientrpc.ErrInvalid)
	require.ErrorContains(t, err, "token_id")
}

// Keys change while devices go on, as long as a device is there while both are.
func TestTheCoresKeyChanges(t *testing.T) {
	r := newRig(t)
	_, err := r.call(t, "echo", "x")
	require.NoError(t, err)
	newer := sealed.NewCoreKey()
	require.NoError(t, r.opener.SetKeys(newer, r.key))
	_, err = r.call(t, "echo", "x")
	require.NoError(t, err)
	require.Equal(t, [][]sealed.Fingerprint{{newer.Public().Fingerprint(), r.key.Public().Fingerprint()}}, r.told)
	require.NoError(t, r.opener.SetKeys(newer))
	_, err = r.call(t, "echo", "x")
	require.NoError(t, err)
	require.Equal(t, []sealed.Fingerprint{newer.Public().Fingerprint()}, r.told[1])
	third := sealed.NewCoreKey()
	require.NoError(t, r.opener.SetKeys(third))
	_, err = r.call(t, "echo", "x")
	require.ErrorIs(t, err, sealed.ErrCore, "nobody told it of this one")
	require.NoError(t, r.opener.SetKeys(third, newer))
	_, err = r.call(t, "echo", "x")
	require.NoError(t, err)
}

// A core that cannot look, and one that takes too long.
func TestACoreThatIsAway(t *testing.T) {
	r := newRig(t)
	r.store.away = errPrivate
	_, err := r.call(t, "echo", "x")
	require.ErrorIs(t, err, clientrpc.ErrAway)
	require.NotContains(t, err.Error(), "hunter2")
	require.Contains(t, r.store.log.String(), "hunter2")
	r.store.away = nil
	ctx, cancel := context.WithCancel(t.Context())
	stop := time.AfterFunc(10*time.Millisecond, cancel)
	defer stop.Stop()
	_, err = clientrpc.Call[text, text](ctx, r.client, "wait", say(""))
	require.ErrorIs(t, err, clientrpc.ErrAway)
	require.ErrorIs(t, err, context.Canceled)
	require.NotContains(t, r.store.log.String(), "failed", "it is no failure of the core")
}

func TestWhatCannotBeServed(t *testing.T) {
	r := newRig(t)
	echo := func(_ context.Context, _ sealed.Caller, q *text) (*text, error) { return q, nil }
	for name, edit := range map[string]func(*clientrpc.HandlerConfig){
		"no opener":  func(c *clientrpc.HandlerConfig) { c.Opener = nil },
		"no methods": func(c *clientrpc.HandlerConfig) { c.Methods = nil },
		"twice":      func(c *clientrpc.HandlerConfig) { clientrpc.Handle(c.Methods, "echo", echo) },
		"no name":    func(c *clientrpc.HandlerConfig) { clientrpc.Handle(c.Methods, "", echo) },
		"a long one": func(c *clientrpc.HandlerConfig) { clientrpc.Handle(c.Methods, strings.Repeat("x", 65), echo) },
		"a word of two": func(c *clientrpc.HandlerConfig) {
			c.Errors = []clientrpc.Sentinel{{Word: "a", Is: errBusy}, {Word: "a", Is: errTeapot}}
		},
		"a word of ours": func(c *clientrpc.HandlerConfig) { c.Errors = []clientrpc.Sentinel{{Word: "internal", Is: errBusy}} },
		"no error":       func(c *clientrpc.HandlerConfig) { c.Errors = []clientrpc.Sentinel{{Word: "a"}} },
	} {
		cfg := clientrpc.HandlerConfig{Opener: r.opener, Methods: &clientrpc.Methods{}}
		clientrpc.Handle(cfg.Methods, "echo", echo)
		_, _, err := clientrpc.NewHandler(cfg)
		require.NoError(t, err)
		edit(&cfg)
		_, _, err = clientrpc.NewHandler(cfg)
		require.Error(t, err, name)
	}
	good := clientrpc.ClientConfig{Deployment: "acme", Identity: r.device, Trust: make([]sealed.Fingerprint, 1)}
	for want, edit := range map[string]func(*clientrpc.ClientConfig){
		"Deployment": func(c *clientrpc.ClientConfig) { c.Deployment = "" },
		"Identity":   func(c *clientrpc.ClientConfig) { c.Identity = sealed.Identity{} },
		"Trust":      func(c *clientrpc.ClientConfig) { c.Trust = nil },
		"Errors":     func(c *clientrpc.ClientConfig) { c.Errors = []clientrpc.Sentinel{{}} },
	} {
		cfg := good
		edit(&cfg)
		_, err := clientrpc.NewClient(r.relay, "https://vpn.example.org", cfg)
		require.ErrorContains(t, err, want)
	}
}
