package siblingrpc_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc"
	"github.com/holdfastvpn/holdfast/transport/transporttest"
)

// linked are two gateways with a link between them: the far one dialled it, and serves.
type linked struct {
	near, far gatewaytest.TalkEnd
	client    *transport.Client
	faults    *transporttest.Faults
	clock     *siblingrpc.Clock // of the near end, whose machine has been up for long

	mu      sync.Mutex
	cut     bool
	link    *transport.Link // the latest, and who talks on it
	talking *siblingrpc.Client
	broken  *transport.Link // was cut
}

// onLink serves far on a link to near, over TLS.
func onLink(tb testing.TB, near, far gatewaytest.TalkEnd) *linked {
	tb.Helper()
	return onHandler(tb, near, far, func(cfg siblingrpc.Config) http.Handler {
		mux := http.NewServeMux()
		mux.Handle(siblingrpc.NewHandler(far.Talker, cfg))
		return mux
	})
}

// onHandler is onLink with another handler.
func onHandler(tb testing.TB, near, far gatewaytest.TalkEnd, serve func(siblingrpc.Config) http.Handler) *linked {
	tb.Helper()
	d, network := transporttest.New(tb, "acme", nil), &transporttest.Network{}
	l := &linked{near: near, far: far, faults: &transporttest.Faults{}}
	began := time.Now()
	l.clock = siblingrpc.NewClock(func() time.Duration { return 400*24*time.Hour + time.Since(began) })
	siblings := []transport.Role{transport.Gateway}
	server, err := transport.NewServer(transport.Config{
		Holder: d.Member(tb, transport.Gateway, string(far.ID)), Roles: siblings, Dialer: l.faults.Dialer(network.Dial), Retry: 200 * time.Millisecond,
	}, transport.Handlers{Linked: serve(siblingrpc.Config{Now: far.Now})})
	require.NoError(tb, err)
	l.client, err = transport.NewClient(transport.Config{Holder: d.Member(tb, transport.Gateway, string(near.ID)), Roles: siblings})
	require.NoError(tb, err)
	ln, err := network.Listen("near")
	require.NoError(tb, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.client.Listen(ctx, ln) })
	wg.Go(func() { _ = server.Dial(ctx, transport.Target{Addr: "near"}) })
	tb.Cleanup(func() { l.faults.Heal(); cancel(); wg.Wait() })
	transporttest.First(tb, l.client)
	return l
}

// sibling is for the link that is up, or that was cut last.
func (l *linked) sibling(ctx context.Context) *siblingrpc.Client {
	for {
		links, changed := l.client.Links()
		l.mu.Lock()
		for _, link := range links {
			if link != l.broken && link != l.link {
				l.link = link
				l.talking = siblingrpc.NewClient(link.HTTP(), transport.BaseURL, gateway.ID(link.Peer().Identity.ID), siblingrpc.Config{Now: l.near.Now, Clock: l.clock})
			}
		}
		talking, ready := l.talking, l.talking != nil && (l.cut || l.link != l.broken)
		l.mu.Unlock()
		if ready {
			return talking
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return talking
		}
	}
}

func (l *linked) Talk(ctx context.Context, at gateway.LocationID) error {
	return l.sibling(ctx).Talk(ctx, at, l.near.Talker)
}

func (l *linked) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.broken = true, l.link
	l.faults.Cut()
}

func (l *linked) Heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = false
	l.faults.Heal()
}
