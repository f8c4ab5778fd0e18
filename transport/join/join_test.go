package join_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/authority"
	"github.com/holdfastvpn/holdfast/transport/join"
	"github.com/holdfastvpn/holdfast/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// core serves joins: it dials where tokens say, and listens.
type core struct {
	*transporttest.Deployment

	addr string // where it listens
}

func newCore(t *testing.T, d *transporttest.Deployment) core {
	t.Helper()
	if d == nil {
		d = transporttest.New(t, "acme", nil)
	}
	server, err := transport.NewServer(transport.Config{Holder: d.Holder(), Roles: []transport.Role{transport.Gateway}, Check: d.Check}, join.Handlers(d))
	require.NoError(t, err)
	ln := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Listen(ctx, ln) })
	wg.Go(func() { _ = join.Dialer{Server: server, Waiting: d.Addresses, Every: 20 * time.Millisecond}.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return core{d, ln.Addr().String()}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return ln
}

func key(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := join.NewKey()
	require.NoError(t, err)
	return k
}

// try joins by dialling in, within a time.
func try(t *testing.T, token join.Token, k crypto.Signer) (transport.Credentials, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return join.Run(ctx, join.Config{Token: token, Role: transport.Gateway, Key: k})
}

func TestJoiningWithOneToken(t *testing.T) {
	c := newCore(t, nil)
	who := c.Identity(transport.Gateway, "gw1")
	check := func(t *testing.T, got transport.Credentials, k crypto.Signer) {
		t.Helper()
		require.Equal(t, who, got.Identity())
		require.Same(t, k, got.Key(), "the key never left")
		require.Equal(t, c.Roots(), got.Roots())
		require.InDelta(t, 30*24*time.Hour, time.Until(got.Leaf().NotAfter), float64(time.Minute))
	}
	t.Run("the core dials", func(t *testing.T) {
		ln := listen(t)
		token, err := c.NewToken(t.Context(), authority.TokenConfig{Identity: who, Locations: []string{"office"}, At: ln.Addr().String()})
		require.NoError(t, err)
		parsed, err := join.ParseToken(token.Reveal())
		require.NoError(t, err)
		require.Equal(t, []string{"office"}, parsed.Locations)
		k := key(t)
		got, err := join.Run(t.Context(), join.Config{Token: parsed, Role: transport.Gateway, Key: k, Listener: ln})
		require.NoError(t, err)
		check(t, got, k)
		left, err := c.Tokens(t.Context())
		require.NoError(t, err)
		require.Empty(t, left)
	})
	t.Run("the machine dials", func(t *testing.T) {
		token, err := c.NewToken(t.Context(), authority.TokenConfig{Identity: who, Cores: []string{c.addr}})
		require.NoError(t, err)
		parsed, err := join.ParseToken(token.Reveal())
		require.NoError(t, err)
		k := key(t)
		got, err := try(t, parsed, k)
		require.NoError(t, err)
		check(t, got, k)
	})
}

// Each refusal of a join, in the words that the joiner reads.
func TestJoiningIsRefused(t *testing.T) {
	now := time.Now().Truncate(time.Second) // as tokens do
	var mu sync.Mutex
	shift := func(by time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(by) }
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	c := newCore(t, transporttest.New(t, "acme", func(cfg *authority.Config) { cfg.Now = clock }))
	token := func(t *testing.T, id string) join.Token {
		t.Helper()
		tok, err := c.NewToken(t.Context(), authority.TokenConfig{Identity: c.Identity(transport.Gateway, id), Cores: []string{c.addr}})
		require.NoError(t, err)
		return tok
	}
	refused := func(t *testing.T, tok join.Token, is error, text string) {
		t.Helper()
		_, err := try(t, tok, key(t))
		require.ErrorIs(t, err, is)
		require.ErrorContains(t, err, text)
	}
	t.Run("used", func(t *testing.T) {
		tok := token(t, "used")
		k := key(t)
		first, err := try(t, tok, k)
		require.NoError(t, err)
		refused(t, tok, join.ErrUsed, "by another key: if that was not you, revoke holdfast://acme/gateway/used now")
		again, err := try(t, tok, k)
		require.NoError(t, err, "but the same key gets the same answer again")
		require.Equal(t, first.Leaf(), again.Leaf())
	})
	t.Run("expired", func(t *testing.T) {
		tok := token(t, "expired")
		shift(time.Hour - time.Second)
		_, err := try(t, token(t, "in-time"), key(t))
		require.NoError(t, err)
		shift(time.Second)
		refused(t, tok, join.ErrExpired, "make a new one")
		late := token(t, "late")
		late.Expires = time.Now().Add(-2 * time.Hour)
		refused(t, late, join.ErrExpired, "make a new one") // the machine sees it by itself
	})
	t.Run("unknown and wrong secret alike", func(t *testing.T) {
		unknown := join.NewToken(token(t, "unknown"))
		wrong := join.NewToken(token(t, "wrong"))
		wrong.ID = token(t, "wrong").ID
		_, err1 := try(t, unknown, key(t))
		_, err2 := try(t, wrong, key(t))
		require.ErrorIs(t, err1, join.ErrUnknown)
		require.ErrorIs(t, err2, join.ErrUnknown)
		require.Equal(t, err1.Error(), err2.Error())
	})
	t.Run("cancelled", func(t *testing.T) {
		tok := token(t, "cancelled")
		require.NoError(t, c.Cancel(t.Context(), tok.ID))
		refused(t, tok, join.ErrUnknown, "make a new one")
	})
	t.Run("revoked before it joined", func(t *testing.T) {
		tok := token(t, "early")
		require.NoError(t, c.Revoke(t.Context(), tok.Identity, ""))
		refused(t, tok, join.ErrUsed, "was revoked after the token was made")
		_, err := try(t, token(t, "early"), key(t))
		require.NoError(t, err, "a new token for the same name works")
	})
	t.Run("another core's root", func(t *testing.T) {
		other := newCore(t, nil)
		tok := token(t, "gw5")
		tok.Cores = []string{other.addr}
		refused(t, tok, join.ErrRoot, "its root has another fingerprint than the token says")
		tok = token(t, "gw5")
		tok.Root[0]++
		refused(t, tok, join.ErrRoot, "somebody else is at this address")
	})
	t.Run("a gateway that poses as the core", func(t *testing.T) {
		server, err := transport.NewServer(transport.Config{
			Holder: c.Member(t, transport.Gateway, "evil"), Roles: []transport.Role{transport.Gateway},
		}, join.Handlers(c))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ln := listen(t)
		done := make(chan error)
		go func() { done <- server.Listen(ctx, ln) }()
		tok := token(t, "gw6")
		tok.Cores = []string{ln.Addr().String()}
		refused(t, tok, transport.ErrRole, "not the core that made this token")
		cancel()
		require.NoError(t, <-done)
	})
	t.Run("role", func(t *testing.T) {
		tok := token(t, "proxy")
		tok.Identity.Role = transport.Proxy
		refused(t, tok, transport.ErrRole, "the token is for a proxy, and this is a gateway")
	})
	t.Run("a token that was changed", func(t *testing.T) {
		tok := token(t, "honest")
		tok.Identity.ID = "other"
		refused(t, tok, join.ErrRequest, "holdfast://acme/gateway/other is asked for, and may be holdfast://acme/gateway/honest")
		tok.Identity = transport.Identity{Deployment: "other", Role: transport.Gateway, ID: "honest"}
		refused(t, tok, join.ErrRoot, "another deployment")
	})
	t.Run("a store that does not answer, which is no reason to give up", func(t *testing.T) {
		c.Records.Fail(errors.New("disk on fire"))
		healed := time.AfterFunc(100*time.Millisecond, func() { c.Records.Fail(nil) })
		defer healed.Stop()
		tok := token2(t, c)
		_, err := try(t, tok, key(t))
		require.NoError(t, err)
	})
}

// token2 makes a token although the store fails now.
func token2(t *testing.T, c core) join.Token {
	t.Helper()
	c.Records.Fail(nil)
	tok, err := c.NewToken(t.Context(), authority.TokenConfig{Identity: c.Identity(transport.Gateway, "gw2"), Cores: []string{c.addr}})
	require.NoError(t, err)
	c.Records.Fail(errors.New("disk on fire"))
	return tok
}

func TestOneOfManyKeysGetsAToken(t *testing.T) {
	c := newCore(t, nil)
	token, err := c.NewToken(t.Context(), authority.TokenConfig{Identity: c.Identity(transport.Gateway, "gw1"), Cores: []string{c.addr}})
	require.NoError(t, err)
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for range cap(errs) {
		k := key(t)
		wg.Go(func() {
			_, err := join.Run(t.Context(), join.Config{Token: token, Role: transport.Gateway, Key: k})
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	won := 0
	for err := range errs {
		if err == nil {
			won++
			continue
		}
		require.ErrorIs(t, err, join.ErrUsed)
	}
	require.Equal(t, 1, won)
}

// Whoever connects to a machine that waits, and is not the core, changes nothing.
func TestStrangersDoNotDisturbAJoin(t *testing.T) {
	c, other := newCore(t, nil), newCore(t, nil)
	ln := listen(t)
	addr := ln.Addr().String()
	// Another deployment's core dials there, too, and somebody says nothing.
	_, err := other.NewToken(t.Context(), authority.TokenConfig{Identity: other.Identity(transport.Gateway, "gw1"), At: addr})
	require.NoError(t, err)
	silent, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	defer func() { require.NoError(t, silent.Close()) }()

	id := c.Identity(transport.Gateway, "gw1")
	token := join.NewToken(join.Token{Identity: id, Root: authority.Fingerprint(c.Roots()[0]), Expires: time.Now().Add(time.Hour)})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = join.Run(ctx, join.Config{Token: token, Role: transport.Gateway, Key: key(t), Listener: ln})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, join.ErrRoot, "what went wrong last is said in the end")

	token, err = c.NewToken(t.Context(), authority.TokenConfig{Identity: id, At: addr})
	require.NoError(t, err)
	ln, err = new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
	require.NoError(t, err)
	_, err = join.Run(t.Context(), join.Config{Token: token, Role: transport.Gateway, Key: key(t), Listener: ln})
	require.NoError(t, err)
}

// Cores and gateways that want a link come to the address before the machine has
// joined: that is nothing to worry anybody with, and not why joining fails.
func TestWhoComesTooEarlyIsNoFailure(t *testing.T) {
	c := newCore(t, nil)
	ln := listen(t)
	token := join.NewToken(join.Token{Identity: c.Identity(transport.Gateway, "gw1"), Root: authority.Fingerprint(c.Roots()[0]), Expires: time.Now().Add(time.Hour)})
	ctx, cancel := context.WithCancel(t.Context())
	var said bytes.Buffer
	done, k := make(chan error, 1), key(t)
	go func() {
		_, err := join.Run(ctx, join.Config{
			Token: token, Role: transport.Gateway, Key: k, Listener: ln, Log: slog.New(slog.NewTextHandler(&said, nil)),
		})
		done <- err
	}()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	require.NoError(t, err)
	early := tls.Client(raw, &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, ServerName: "somebody"})
	require.Error(t, early.HandshakeContext(ctx))
	require.NoError(t, raw.Close())
	cancel()
	require.ErrorContains(t, <-done, "no core came")
	require.NotContains(t, said.String(), "joining failed")
}

func TestNoCoreComes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	token := join.NewToken(join.Token{
		Identity: transport.Identity{Deployment: "acme", Role: transport.Gateway, ID: "gw1"}, Expires: time.Now().Add(time.Hour),
	})
	_, err := join.Run(ctx, join.Config{Token: token, Role: transport.Gateway, Key: key(t), Listener: listen(t)})
	require.ErrorContains(t, err, "no core came: is the address right")
	_, err = join.Run(ctx, join.Config{Token: token, Role: transport.Gateway, Key: key(t)})
	require.ErrorContains(t, err, "say where to listen")
	_, err = join.Run(ctx, join.Config{Token: token, Role: transport.Gateway})
	require.ErrorContains(t, err, "Config.Key is required")
}
