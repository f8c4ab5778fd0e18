package transport_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/transporttest"
)

// overTCP links a gateway with a core that dials, over TCP on loopback.
func overTCP(b *testing.B) *transport.Link {
	b.Helper()
	d := transporttest.New(b, "acme", nil)
	server, err := transport.NewServer(transport.Config{Holder: d.Holder(), Roles: []transport.Role{transport.Gateway}, Check: d.Check},
		transport.Handlers{Linked: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	require.NoError(b, err)
	client, err := transport.NewClient(transport.Config{Holder: d.Member(b, transport.Gateway, "gw1"), Roles: []transport.Role{transport.Core}})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	require.NoError(b, err)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Dial(ctx, transport.Target{Addr: ln.Addr().String()}) })
	wg.Go(func() { _ = client.Listen(ctx, ln) })
	b.Cleanup(func() { cancel(); wg.Wait() })
	return transporttest.First(b, client)
}

// A request and its answer over a link.
func BenchmarkRequest(b *testing.B) {
	link := overTCP(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := get(link); err != nil {
			b.Fatal(err)
		}
	}
}

// The same from many goroutines, over one link.
func BenchmarkRequestsAtOnce(b *testing.B) {
	link := overTCP(b)
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := get(link); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// From nothing to a link that is up, and down again: TCP, TLS, Hello.
func BenchmarkLink(b *testing.B) {
	d := transporttest.New(b, "acme", nil)
	holder := d.Member(b, transport.Gateway, "gw1")
	for b.Loop() {
		up := make(chan struct{})
		ctx, cancel := context.WithCancel(b.Context())
		server, err := transport.NewServer(transport.Config{
			Holder: d.Holder(), Roles: []transport.Role{transport.Gateway}, Trace: transport.Trace{Up: func(transport.Peer) { close(up) }},
		}, transport.Handlers{})
		require.NoError(b, err)
		client, err := transport.NewClient(transport.Config{Holder: holder, Roles: []transport.Role{transport.Core}})
		require.NoError(b, err)
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		require.NoError(b, err)
		var wg sync.WaitGroup
		wg.Go(func() { _ = server.Dial(ctx, transport.Target{Addr: ln.Addr().String()}) })
		wg.Go(func() { _ = client.Listen(ctx, ln) })
		<-up
		cancel()
		wg.Wait()
	}
}
