package main

import (
	"context"
	"encoding/pem"
	"io"
	"log" //nolint:depguard // what http.Server takes
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/adminrpc"
	"github.com/holdfastvpn/holdfast/transport/join"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/seal"
)

// These tests run the program as a process of its own, against a core in this one.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"holdfast": main})
}

// rig is a core for one test.
type rig struct {
	ctx    context.Context //nolint:containedctx // of the test
	core   *vpn.Core
	tasks  *sync.WaitGroup
	socket string
	url    string // of the same over TLS
	dir    string
}

// newRig runs a core in a folder: core.sock, and the certificates in core-ca.pem.
func newRig(tb testing.TB, dir string, cleanup func(func())) *rig {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &rig{ctx: ctx, tasks: &sync.WaitGroup{}, dir: dir}
	stores := memstore.New()
	var err error
	r.core, err = vpn.New(vpn.Config{ID: "core1", Stores: stores, Keys: seal.Ephemeral(), Poll: 5 * time.Millisecond})
	require.NoError(tb, err)
	tokens, err := adminrpc.NewTokens(adminrpc.TokensConfig{Records: stores.Records()})
	require.NoError(tb, err)
	h, err := adminrpc.NewHandler(adminrpc.Config{
		Core: r.core, Joining: r, Tokens: tokens,
		Confirm: 10 * time.Second, Settle: 10 * time.Millisecond, Refresh: 50 * time.Millisecond,
	})
	require.NoError(tb, err)
	short, err := os.MkdirTemp("", "holdfast") //nolint:usetesting // the path of a socket has at most 107 bytes
	require.NoError(tb, err)
	r.socket = filepath.Join(short, "core.sock")
	l, err := adminrpc.ListenUnix(ctx, r.socket)
	require.NoError(tb, err)
	server := adminrpc.NewServer(h)
	over := httptest.NewUnstartedServer(h)
	over.EnableHTTP2 = true
	over.Config.ErrorLog = log.New(io.Discard, "", 0)
	over.StartTLS()
	r.url = over.URL
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: over.Certificate().Raw})
	require.NoError(tb, os.WriteFile(filepath.Join(dir, "core-ca.pem"), ca, 0o600))
	r.tasks.Go(func() { _ = r.core.Run(ctx) })
	r.tasks.Go(func() { _ = server.Serve(l) })
	cleanup(func() {
		over.CloseClientConnections()
		over.Close()
		_ = server.Close()
		cancel()
		r.tasks.Wait()
		_ = os.RemoveAll(short)
	})
	return r
}

// Token makes a token, and has its machine join, if its name ends in 1.
func (r *rig) Token(ctx context.Context, q adminrpc.TokenRequest) (join.Token, error) {
	t := join.NewToken(join.Token{
		Identity: transport.Identity{Deployment: "example", Role: transport.Gateway, ID: string(q.Gateway)},
		Cores:    q.Cores, Expires: time.Now().Add(time.Hour).Truncate(time.Second),
	})
	g, err := r.core.Gateways().Get(ctx, q.Gateway)
	if err != nil || !strings.HasSuffix(g.Name, "1") {
		return t, err
	}
	for _, at := range g.Locations {
		id := gateway.LocationID(at)
		report := func(s gateway.Status) { _ = r.core.Report(r.ctx, g.ID, id, s) }
		s := gateway.Status{Epoch: 1, Full: true, Ready: true, Backend: "kernel", Version: "v1.0.0"}
		applied := make(chan vpn.Revision)
		r.tasks.Go(func() { // a gateway says every second that it is there
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-r.ctx.Done():
					return
				case s.Applied = <-applied:
				case <-tick.C:
				}
				report(s)
			}
		})
		r.tasks.Go(func() {
			for u, err := range r.core.Watch(r.ctx, g.ID, id, vpn.Revision{}) {
				if err != nil {
					return
				}
				select {
				case applied <- u.To:
				case <-r.ctx.Done():
				}
			}
		})
	}
	for !r.core.Connected(g) && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(time.Millisecond):
		}
	}
	return t, nil
}

// Revoke does nothing: nobody here has a certificate.
func (r *rig) Revoke(context.Context, gateway.ID, string) error { return nil }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			r := newRig(t, e.WorkDir, e.Defer)
			e.Setenv("HOLDFAST_CORE", "unix://"+r.socket)
			e.Setenv("SOCKET", r.socket)
			e.Setenv("URL", r.url)
			// Somewhere nobody answers any more.
			l, err := (&net.ListenConfig{}).Listen(r.ctx, "unix", filepath.Join(filepath.Dir(r.socket), "dead.sock"))
			if err != nil {
				return err
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false) //nolint:errcheck,forcetypeassert // it is one
			e.Setenv("DEAD", filepath.Join(filepath.Dir(r.socket), "dead.sock"))
			return l.Close()
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// mode FILE WANT compares the permissions of a file.
			"mode": func(ts *testscript.TestScript, neg bool, args []string) {
				info, err := os.Stat(ts.MkAbs(args[0]))
				ts.Check(err)
				if got := info.Mode().Perm().String(); (got == args[1]) == neg {
					ts.Fatalf("%s has %s", args[0], got)
				}
			},
			// nosecret keeps private keys and tokens out of what was written last.
			"nosecret": func(ts *testscript.TestScript, _ bool, _ []string) {
				for _, name := range []string{"stdout", "stderr"} {
					if s := secretIn(ts.ReadFile(name)); s != "" {
						ts.Fatalf("%s has a secret: %s", name, s)
					}
				}
			},
		},
	})
}

// secretIn finds what looks like a secret.
func secretIn(text string) string {
	return regexp.MustCompile(`(?m)^PrivateKey = .{9}|holdfast_api_[\w-]{43}|holdfast://join/[\w-]{9}|private_key`).FindString(text)
}
