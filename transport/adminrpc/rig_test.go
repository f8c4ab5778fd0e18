package adminrpc_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/adminrpc"
	"github.com/holdfastvpn/holdfast/transport/join"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// joining makes tokens, and remembers whom it revoked.
type joining struct {
	mu      sync.Mutex
	err     error
	asked   []adminrpc.TokenRequest
	revoked map[gateway.ID]string
	before  func(gateway.ID) // called before one is revoked; nil: nothing
}

func (j *joining) Token(_ context.Context, r adminrpc.TokenRequest) (join.Token, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asked = append(j.asked, r)
	t := join.NewToken(join.Token{
		Identity: transport.Identity{Deployment: "test", Role: transport.Gateway, ID: string(r.Gateway)},
		Cores:    r.Cores, Expires: time.Now().Add(time.Hour).Truncate(time.Second),
	})
	return t, j.err
}

func (j *joining) Revoke(_ context.Context, id gateway.ID, reason string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.before != nil {
		j.before(id)
	}
	j.revoked[id] = reason
	return j.err
}

// rig is a core on a unix socket, as operators meet it.
type rig struct {
	t       *testing.T
	core    *vpn.Core
	stores  vpn.Stores
	joining *joining
	tokens  *adminrpc.Tokens
	handler http.Handler
	socket  string
	root    *adminrpc.Client // over the socket
	log     *lines
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	return len(b), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func newRig(t *testing.T, edit ...func(*vpn.Stores)) *rig {
	t.Helper()
	r := &rig{t: t, stores: memstore.New(), joining: &joining{revoked: map[gateway.ID]string{}}, log: &lines{}}
	for _, e := range edit {
		e(&r.stores)
	}
	var err error
	r.core, err = vpn.New(vpn.Config{ID: "core1", Stores: r.stores, Keys: seal.Ephemeral(), Poll: 10 * time.Millisecond})
	require.NoError(t, err)
	r.tokens, err = adminrpc.NewTokens(adminrpc.TokensConfig{Records: r.stores.Records()})
	require.NoError(t, err)
	r.handler, err = adminrpc.NewHandler(adminrpc.Config{
		Core: r.core, Joining: r.joining, Tokens: r.tokens,
		Confirm: time.Second, Settle: 50 * time.Millisecond, Refresh: 20 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(r.log, nil)),
	})
	require.NoError(t, err)
	r.socket = filepath.Join(t.TempDir(), "core.sock")
	l, err := adminrpc.ListenUnix(t.Context(), r.socket)
	require.NoError(t, err)
	server := adminrpc.NewServer(r.handler)
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = r.core.Run(ctx) })
	tasks.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		cancel()
		tasks.Wait()
	})
	r.root, err = adminrpc.Dial(adminrpc.DialConfig{Core: "unix://" + r.socket})
	require.NoError(t, err)
	return r
}

func (r *rig) office() location.Location {
	r.t.Helper()
	l, err := r.root.CreateLocation(r.t.Context(), location.Location{
		Name: "office", Host: "vpn.example.org",
		Networks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd20::/64")},
	})
	require.NoError(r.t, err)
	return l
}

func (r *rig) laptop(at ...location.ID) peer.Device {
	r.t.Helper()
	n := peer.NewDevice{Name: "laptop", Owner: "alice", Key: wgkey.NewPrivate().Public()}
	for _, id := range at {
		n.Places = append(n.Places, peer.Place{Location: id})
	}
	d, err := r.root.AddDevice(r.t.Context(), n)
	require.NoError(r.t, err)
	return d
}

// gateway registers one, and has it watch and acknowledge, if it obeys.
func (r *rig) gateway(name string, obeys bool, at ...location.ID) gateway.ID {
	r.t.Helper()
	g, err := r.core.Gateways().Add(r.t.Context(), vpn.Gateway{Name: name, Locations: at})
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	r.t.Cleanup(func() { cancel(); tasks.Wait() })
	for _, id := range at {
		tasks.Go(func() {
			lid := gateway.LocationID(id)
			s := gateway.Status{Epoch: 1, Full: true, Ready: true}
			_ = r.core.Report(ctx, g.ID, lid, s)
			for u, err := range r.core.Watch(ctx, g.ID, lid, vpn.Revision{}) {
				if err != nil {
					return
				}
				if obeys || s.Applied.IsZero() {
					s.Applied = u.To
				}
				_ = r.core.Report(ctx, g.ID, lid, s)
			}
		})
		require.Eventually(r.t, func() bool { return r.core.Connected(g) }, 5*time.Second, time.Millisecond)
	}
	return g.ID
}
