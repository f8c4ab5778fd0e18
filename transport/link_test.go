package transport_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/transporttest"
)

// echo says who asks.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	p, _ := transport.PeerOf(r.Context())
	_, _ = io.WriteString(w, p.Identity.String())
})

func get(l *transport.Link) (string, error) {
	q, err := http.NewRequestWithContext(context.Background(), http.MethodGet, transport.BaseURL+"/", http.NoBody)
	if err != nil {
		return "", err
	}
	r, err := l.HTTP().Do(q)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	return string(b), err
}

func TestTheEndThatWasDialledAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := transporttest.New(t, "acme", nil)
		server, link := d.Connect(t, transport.Handlers{Linked: echo}, nil)
		require.Equal(t, d.Self, link.Peer().Identity)
		require.Equal(t, "core of a test", link.Peer().Software)
		require.True(t, link.Ready())
		got, err := get(link)
		require.NoError(t, err)
		require.Equal(t, "holdfast://acme/gateway/gw1", got)
		require.Len(t, server.Peers(), 1)
		require.Equal(t, "gateway of a test", server.Peers()[0].Software)

		time.Sleep(time.Hour)
		require.NoError(t, link.Err(), "an idle link stays")
		_, err = get(link)
		require.NoError(t, err)
	})
}

// A link that was up has ended, and was not refused; both ends say why in words.
func TestWhyALinkEnded(t *testing.T) {
	for name, c := range map[string]struct {
		end             func(p *pair)
		atCore, atOther string
	}{
		"the core stops":    {func(p *pair) { p.stopServer() }, "this end stops", "the other end stops"},
		"the gateway stops": {func(p *pair) { p.stopClient() }, "the other end hung up", "this end stops"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var other, refused []error
				p, _ := connect(t, transport.Handlers{Linked: echo}, func(_, gateway *transport.Config) {
					gateway.Trace.Down = func(_ transport.Peer, err error) { other = append(other, err) }
					gateway.Trace.Refused = func(_ string, err error) { refused = append(refused, err) }
				})
				c.end(p)
				require.ErrorContains(t, <-p.downs, c.atCore)
				synctest.Wait()
				require.Len(t, other, 1)
				require.ErrorContains(t, other[0], c.atOther)
				require.Empty(t, refused)
			})
		})
	}
}

// pair is a server and a client over a network with faults.
type pair struct {
	d      *transporttest.Deployment
	server *transport.Server
	client *transport.Client
	faults *transporttest.Faults
	failed chan error
	downs  chan error

	stopServer, stopClient func()
}

func connect(t *testing.T, h transport.Handlers, edit func(core, gateway *transport.Config)) (*pair, *transport.Link) {
	p := &pair{faults: &transporttest.Faults{}, failed: make(chan error, 1000), downs: make(chan error, 1000)}
	p.d = transporttest.New(t, "acme", nil)
	network := &transporttest.Network{}
	ln, err := network.Listen("gateway")
	require.NoError(t, err)
	core := transport.Config{
		Holder: p.d.Holder(), Roles: []transport.Role{transport.Gateway}, Check: p.d.Check,
		Dialer: p.faults.Dialer(network.Dial), Software: "core 1",
		Trace: transport.Trace{
			Failed: func(_ string, err error, _ time.Duration) { p.failed <- err },
			Down:   func(_ transport.Peer, err error) { p.downs <- err },
		},
	}
	gateway := transport.Config{Holder: p.d.Member(t, transport.Gateway, "gw1"), Roles: []transport.Role{transport.Core}, Software: "gateway 1"}
	if edit != nil {
		edit(&core, &gateway)
	}
	p.server, err = transport.NewServer(core, h)
	require.NoError(t, err)
	p.client, err = transport.NewClient(gateway)
	require.NoError(t, err)
	serving, stopServer := context.WithCancel(context.Background())
	listening, stopClient := context.WithCancel(context.Background())
	p.stopServer, p.stopClient = stopServer, stopClient
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.server.Dial(serving, transport.Target{Addr: "gateway"}) })
	wg.Go(func() { _ = p.client.Listen(listening, ln) })
	wg.Go(func() { _ = p.d.Run(serving) })
	t.Cleanup(func() { p.faults.Heal(); stopServer(); stopClient(); wg.Wait() })
	return p, transporttest.First(t, p.client)
}

// next waits for a link other than the one before.
func (p *pair) next(t *testing.T, before *transport.Link, within time.Duration) *transport.Link {
	t.Helper()
	late := time.After(within)
	for {
		links, changed := p.client.Links()
		for _, l := range links {
			if l != before && l.Err() == nil {
				return l
			}
		}
		select {
		case <-changed:
		case <-late:
			require.FailNow(t, "no other link", "%v", within)
		}
	}
}

func TestADeadLinkIsFoundWithinFourSeconds(t *testing.T) {
	for name, fault := range map[string]func(*transporttest.Faults){
		"black hole": (*transporttest.Faults).BlackHole, "stalled": (*transporttest.Faults).Stall,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, link := connect(t, transport.Handlers{Linked: echo}, nil)
				time.Sleep(time.Minute)
				fault(p.faults)
				began := time.Now()
				<-link.Done()
				require.LessOrEqual(t, time.Since(began), 4100*time.Millisecond)
				require.Error(t, link.Err())
				_, err := get(link)
				require.Error(t, err)
				require.Error(t, <-p.downs)
				require.LessOrEqual(t, time.Since(began), 4500*time.Millisecond)

				p.faults.Heal()
				again := p.next(t, link, 6*time.Second)
				_, err = get(again)
				require.NoError(t, err)
			})
		})
	}
}

func TestTheFirstTryAgainIsAtOnceAndThenTriesSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, link := connect(t, transport.Handlers{Linked: echo}, nil)
		time.Sleep(time.Minute)
		began := time.Now()
		link.Close(errors.New("enough"))
		link = p.next(t, link, time.Second)
		require.Less(t, time.Since(began), 10*time.Millisecond, "a link that lived long is made again at once")

		p.faults.Cut()
		time.Sleep(10 * time.Minute)
		tries := len(p.failed)
		require.Greater(t, tries, 10*60/4, "no pause is longer than five seconds, and most are shorter")
		require.Less(t, tries, 10*60, "and they are not hectic")
		p.faults.Heal()
		p.next(t, link, 5*time.Second+time.Millisecond)
	})
}

func TestALinkThatDoesNotLiveIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ups := 0
		p, link := connect(t, transport.Handlers{}, func(_, gateway *transport.Config) {
			gateway.Trace.Up = func(transport.Peer) { ups++ }
		})
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			link.Close(errors.New("enough"))
			link = p.next(t, link, 6*time.Second)
		}
		require.Less(t, ups, 100)
	})
}

func TestWhoIsReplacedIsToldWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		causes := make(chan error, 10)
		waits := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			causes <- context.Cause(r.Context())
		})
		p, link := connect(t, transport.Handlers{Linked: waits}, func(_, g *transport.Config) { g.Instance = "one" })
		go func() { _, _ = get(link) }()
		synctest.Wait()

		// Another process with the same files.
		network := &transporttest.Network{}
		ln, err := network.Listen("twin")
		require.NoError(t, err)
		twin, err := transport.NewClient(transport.Config{Holder: p.d.Member(t, transport.Gateway, "gw1"), Roles: []transport.Role{transport.Core}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() { _ = twin.Listen(ctx, ln) })
		raw, err := network.Dial(ctx, "twin")
		require.NoError(t, err)
		wg.Go(func() { _ = p.server.Accepted(ctx, raw) })
		transporttest.First(t, twin)

		<-link.Done()
		require.ErrorIs(t, link.Err(), transport.ErrReplaced)
		require.ErrorContains(t, link.Err(), "another process that is holdfast://acme/gateway/gw1, too")
		require.ErrorIs(t, <-causes, transport.ErrReplaced)
		cancel()
		wg.Wait()
	})
}

// Within a second, and the gateway is told.
func TestRevokingEndsALinkWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, link := connect(t, transport.Handlers{Linked: echo}, nil)
		time.Sleep(time.Minute)
		began := time.Now()
		require.NoError(t, p.d.Revoke(t.Context(), p.d.Identity(transport.Gateway, "gw1"), "stolen"))
		<-link.Done()
		require.Less(t, time.Since(began), time.Second)
		require.ErrorIs(t, link.Err(), transport.ErrRevoked, "the gateway is told")
		require.ErrorContains(t, link.Err(), "stolen")
		require.ErrorIs(t, <-p.downs, transport.ErrRevoked)

		time.Sleep(time.Minute)
		links, _ := p.client.Links()
		require.Empty(t, links, "and it does not come back")
		require.ErrorIs(t, <-p.failed, transport.ErrRevoked)
	})
}

func TestRotationNeedsNoRestartAndEndsNoLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var holder *transport.Holder
		p, link := connect(t, transport.Handlers{Linked: echo}, func(_, g *transport.Config) { holder = g.Holder })
		old := holder.Get().Leaf()
		require.NoError(t, holder.Set(p.d.Member(t, transport.Gateway, "gw1").Get()))
		time.Sleep(time.Hour)
		require.NoError(t, link.Err(), "a link goes on when a certificate was replaced")
		require.Equal(t, old, p.server.Peers()[0].Certificate)

		link.Close(errors.New("enough"))
		p.next(t, link, time.Minute)
		require.Equal(t, holder.Get().Leaf(), p.server.Peers()[0].Certificate, "and the next one has the new one")
	})
}

func TestVersionsThatDoNotMeetAreRefusedWithASentence(t *testing.T) {
	for name, c := range map[string]struct {
		core, gateway [2]uint32
		is            error
		text          string
		want          uint32
	}{
		"a gateway that is too old": {[2]uint32{2, 3}, [2]uint32{1, 1}, transport.ErrTooOld, "gateway/gw1 (gateway 1) speaks version 1 at most, and holdfast://acme/core/core1 (core 1) needs 2: upgrade the former", 0},
		"a core that is too old":    {[2]uint32{1, 1}, [2]uint32{2, 3}, transport.ErrTooNew, "upgrade the latter first", 0},
		"a newer core":              {[2]uint32{1, 3}, [2]uint32{1, 2}, nil, "", 2},
		"a newer gateway":           {[2]uint32{1, 1}, [2]uint32{1, 2}, nil, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				refused := make(chan error, 1000)
				edit := func(core, gateway *transport.Config) {
					core.Oldest, core.Newest = c.core[0], c.core[1]
					gateway.Oldest, gateway.Newest = c.gateway[0], c.gateway[1]
					core.Trace.Failed = func(_ string, err error, _ time.Duration) { refused <- err }
					gateway.Trace.Refused = func(_ string, err error) { refused <- err }
				}
				if c.is == nil {
					p, link := connect(t, transport.Handlers{}, edit)
					require.Equal(t, c.want, link.Peer().Version)
					require.Equal(t, c.want, p.server.Peers()[0].Version)
					return
				}
				d := transporttest.New(t, "acme", nil)
				network := &transporttest.Network{}
				ln, err := network.Listen("gateway")
				require.NoError(t, err)
				core := transport.Config{Holder: d.Holder(), Roles: []transport.Role{transport.Gateway}, Dialer: network.Dial, Software: "core 1"}
				gateway := transport.Config{Holder: d.Member(t, transport.Gateway, "gw1"), Roles: []transport.Role{transport.Core}, Software: "gateway 1"}
				edit(&core, &gateway)
				server, err := transport.NewServer(core, transport.Handlers{})
				require.NoError(t, err)
				client, err := transport.NewClient(gateway)
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() { _ = server.Dial(ctx, transport.Target{Addr: "gateway"}) })
				wg.Go(func() { _ = client.Listen(ctx, ln) })
				for range 2 { // both ends say so
					err := <-refused
					require.ErrorIs(t, err, c.is)
					require.ErrorContains(t, err, c.text)
				}
				cancel()
				wg.Wait()
			})
		})
	}
}

// Several cores may be at the other ends, and several processes of one core; but one
// process is there once.
func TestOneGatewayAndManyCores(t *testing.T) {
	d := transporttest.New(t, "acme", nil)
	client, err := transport.NewClient(transport.Config{Holder: d.Member(t, transport.Gateway, "gw1"), Roles: []transport.Role{transport.Core}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() { _ = client.Listen(ctx, ln) })
	core := func(holder *transport.Holder, instance string) {
		server, err := transport.NewServer(transport.Config{
			Holder: holder, Roles: []transport.Role{transport.Gateway}, Instance: instance,
		}, transport.Handlers{Linked: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, instance) })})
		require.NoError(t, err)
		wg.Go(func() { _ = server.Dial(ctx, transport.Target{Addr: ln.Addr().String()}) })
	}
	second := d.Member(t, transport.Core, "core2")
	core(d.Holder(), "a")
	core(second, "b")
	core(second, "c")
	names := func() (out []string) {
		links, _ := client.Links()
		for _, l := range links {
			text, err := get(l)
			if err == nil {
				out = append(out, l.Peer().Identity.ID+" "+text)
			}
		}
		return out
	}
	require.Eventually(t, func() bool { return slices.Equal(names(), []string{"core1 a", "core2 b", "core2 c"}) }, 10*time.Second, 5*time.Millisecond)

	before, _ := client.Links()
	core(second, "c")
	<-before[2].Done()
	require.ErrorIs(t, before[2].Err(), transport.ErrReplaced)
	cancel()
	wg.Wait()
}

func TestDialInServesTheSame(t *testing.T) {
	d := transporttest.New(t, "acme", nil)
	server, err := transport.NewServer(transport.Config{Holder: d.Holder(), Roles: []transport.Role{transport.Gateway}, Check: d.Check},
		transport.Handlers{Linked: echo})
	require.NoError(t, err)
	client, err := transport.NewClient(transport.Config{Holder: d.Member(t, transport.Gateway, "gw1"), Roles: []transport.Role{transport.Core}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Listen(ctx, ln) })
	wg.Go(func() { _ = client.Dial(ctx, transport.Target{Addr: ln.Addr().String(), Want: d.Self}) })
	link := transporttest.First(t, client)
	got, err := get(link)
	require.NoError(t, err)
	require.Equal(t, "holdfast://acme/gateway/gw1", got)
	require.Equal(t, 1, server.Drop(transport.ErrRevoked, func(p transport.Peer) bool { return p.Identity.ID == "gw1" }))
	<-link.Done()
	require.ErrorIs(t, link.Err(), transport.ErrRevoked)
	cancel()
	wg.Wait()
}
