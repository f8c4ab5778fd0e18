package transport_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/transporttest"
)

// detour is a core, which may not reach gw1, and gw2 between them.
type detour struct {
	d       *transporttest.Deployment
	network *transporttest.Network
	open    atomic.Bool // the core can reach gw1 itself
	astray  atomic.Bool // gw2 relays to gw3
	asked   chan string // for whom gw2 was asked
	refused chan error
	gw1     *transport.Client
	server  *transport.Server
	ctx     context.Context //nolint:containedctx // of the test
	wg      sync.WaitGroup
}

// onDetour runs test in a bubble.
func onDetour(t *testing.T, test func(t *testing.T, d *detour)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := &detour{
			d: transporttest.New(t, "acme", nil), network: &transporttest.Network{}, ctx: ctx,
			asked: make(chan string, 1000), refused: make(chan error, 1000),
		}
		d.gw1 = d.gateway(t, "gw1", nil)
		d.gateway(t, "gw2", func(ctx context.Context, id string) (net.Conn, error) {
			d.asked <- id
			if id != "gw1" {
				return nil, errors.New("it is no sibling")
			}
			if d.astray.Load() {
				id = "gw3"
			}
			return d.network.Dial(ctx, id)
		})
		var err error
		d.server, err = transport.NewServer(transport.Config{
			Holder: d.d.Holder(), Roles: []transport.Role{transport.Gateway}, Retry: time.Second,
			Dialer: func(ctx context.Context, addr string) (net.Conn, error) {
				if addr == "gw1" && !d.open.Load() {
					return nil, errors.New("no route")
				}
				return d.network.Dial(ctx, addr)
			},
		}, transport.Handlers{Linked: says("the core")})
		require.NoError(t, err)
		test(t, d)
		cancel()
		d.wg.Wait()
	})
}

// gateway is one that takes links at its own name.
func (d *detour) gateway(t *testing.T, id string, relay func(context.Context, string) (net.Conn, error)) *transport.Client {
	t.Helper()
	c, err := transport.NewClient(transport.Config{
		Holder: d.d.Member(t, transport.Gateway, id), Roles: []transport.Role{transport.Core}, Relay: relay,
		Trace: transport.Trace{Refused: func(_ string, err error) { d.refused <- err }},
	})
	require.NoError(t, err)
	ln, err := d.network.Listen(id)
	require.NoError(t, err)
	d.wg.Go(func() { _ = transport.Listen(d.ctx, ln, c) })
	return c
}

// dial has the core dial a gateway, by way of gw2 if need be.
func (d *detour) dial(id string) {
	d.wg.Go(func() {
		_ = d.server.Dial(d.ctx, transport.Target{
			Addr: "gw1", Want: d.d.Identity(transport.Gateway, id),
			Relays: func() []transport.Target {
				return []transport.Target{{Addr: "nobody"}, {Addr: "gw2", Want: d.d.Identity(transport.Gateway, "gw2")}}
			},
		})
	})
}

// A core that cannot reach a gateway links with it by way of another one, and straight
// as soon as it can.
func TestALinkByWayOfAnother(t *testing.T) {
	onDetour(t, func(t *testing.T, d *detour) {
		d.dial("gw1")
		link := transporttest.First(t, d.gw1)
		require.Equal(t, d.d.Self, link.Peer().Identity, "it is the core that is there, and nobody else")
		said, err := get(link)
		require.NoError(t, err)
		require.Equal(t, "the core", said)
		require.Equal(t, "gw1", <-d.asked)
		time.Sleep(time.Minute)
		require.NoError(t, link.Err())
		require.Empty(t, d.asked, "there is one link")

		d.open.Store(true)
		time.Sleep(15 * time.Second)
		require.Error(t, link.Err())
		straight := transporttest.First(t, d.gw1)
		said, err = get(straight)
		require.NoError(t, err)
		require.Equal(t, "the core", said)
		require.Empty(t, d.asked, "nobody is needed between")
	})
}

// Who relays to somebody else than it was asked for gains nothing by it.
func TestARelayCannotPassForAnother(t *testing.T) {
	onDetour(t, func(t *testing.T, d *detour) {
		thief := d.gateway(t, "gw3", nil)
		d.astray.Store(true)
		d.dial("gw1")
		time.Sleep(time.Minute)
		links, _ := thief.Links()
		require.Empty(t, links)
		require.Empty(t, d.server.Peers())
		require.NotEmpty(t, d.asked)
	})
}

// Only those are relayed who are let in, and only to whom the gateway knows.
func TestWhoIsNotRelayed(t *testing.T) {
	onDetour(t, func(t *testing.T, d *detour) {
		d.dial("gw9")
		time.Sleep(5 * time.Second)
		require.ErrorContains(t, <-d.refused, "it is no sibling")
		require.Empty(t, d.server.Peers())
	})
	onDetour(t, func(t *testing.T, d *detour) {
		s, err := transport.NewServer(transport.Config{
			Holder: d.d.Member(t, transport.Gateway, "gw3"), Roles: []transport.Role{transport.Gateway}, Retry: time.Second,
			Dialer: func(ctx context.Context, addr string) (net.Conn, error) {
				if addr == "gw1" {
					return nil, errors.New("no route")
				}
				return d.network.Dial(ctx, addr)
			},
		}, transport.Handlers{})
		require.NoError(t, err)
		d.server = s
		d.dial("gw1")
		time.Sleep(5 * time.Second)
		require.Error(t, <-d.refused)
		require.Empty(t, d.asked, "a gateway is no core")
	})
}
