package siblingrpc_test

import (
	"context"
	"io"
	"iter"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc"
	"github.com/holdfastvpn/holdfast/transport/transporttest"
)

// node is one gateway of a mesh.
type node struct {
	*gatewaytest.Sibling

	begun atomic.Int32 // conversations

	mesh  *siblingrpc.Mesh
	cores *transport.Client
	stop  context.CancelFunc

	mu  sync.Mutex
	ups map[string]int // links to each sibling
}

func (n *node) Talk(ctx context.Context, at gateway.LocationID, with gateway.ID, in iter.Seq[gateway.Note]) iter.Seq2[gateway.Note, error] {
	n.begun.Add(1)
	return n.Sibling.Talk(ctx, at, with, in)
}

func (n *node) count(p transport.Peer, by int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ups[p.Identity.ID] += by
}

func (n *node) links(id string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ups[id]
}

// party are the gateways of a deployment, on one network.
type party struct {
	d       *transporttest.Deployment
	network *transporttest.Network
	faults  *transporttest.Faults
	nodes   map[gateway.ID]*node
	pings   time.Duration // 0: as they are
	wg      sync.WaitGroup
}

func newParty(t *testing.T) *party {
	t.Helper()
	p := &party{
		d: transporttest.New(t, "acme", nil), network: &transporttest.Network{}, faults: &transporttest.Faults{}, nodes: map[gateway.ID]*node{},
	}
	t.Cleanup(func() {
		p.faults.Heal()
		for _, n := range p.nodes {
			n.stop()
		}
		p.wg.Wait()
	})
	return p
}

// add starts a gateway that cores and siblings dial at its ID. It says that siblings
// dial it at addr.
func (p *party) add(t *testing.T, id gateway.ID, addr string, knows ...gateway.ID) *node {
	t.Helper()
	n := &node{Sibling: gatewaytest.NewSibling(knows...), ups: map[string]int{}}
	holder := p.d.Member(t, transport.Gateway, string(id))
	var err error
	n.mesh, err = siblingrpc.NewMesh(siblingrpc.MeshConfig{
		Addr: addr, Talker: n,
		Links: transport.Config{
			Holder: holder, Dialer: p.faults.Dialer(p.network.Dial), PingAfter: p.pings, PingAnswer: p.pings,
			Trace: transport.Trace{
				Up: func(p transport.Peer) { n.count(p, 1) }, Down: func(p transport.Peer, _ error) { n.count(p, -1) },
			},
		},
	})
	require.NoError(t, err)
	n.cores, err = transport.NewClient(transport.Config{Holder: holder, Roles: []transport.Role{transport.Core}})
	require.NoError(t, err)
	ln, err := p.network.Listen(string(id))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	p.wg.Go(func() { _ = transport.Listen(ctx, ln, n.cores, n.mesh.Acceptor()) })
	p.wg.Go(func() { _ = n.mesh.Run(ctx) })
	p.nodes[id] = n
	return n
}

func assigned(at gateway.LocationID, siblings ...gateway.Sibling) gateway.Assignment {
	return gateway.Assignment{Location: at, Siblings: siblings}
}

func sib(id gateway.ID, addr string) gateway.Sibling { return gateway.Sibling{ID: id, Addr: addr} }

// three are gw1 and gw2, which can be dialled, and gw3, which can not. All of them serve
// the office.
func three(t *testing.T) (_ *party, a, b, c *node) {
	t.Helper()
	p := newParty(t)
	a, b, c = p.add(t, "gw1", "gw1", "gw2", "gw3"), p.add(t, "gw2", "gw2", "gw1", "gw3"), p.add(t, "gw3", "", "gw1", "gw2")
	a.mesh.Assign([]gateway.Assignment{assigned("office", sib("gw2", "gw2"), sib("gw3", ""))})
	b.mesh.Assign([]gateway.Assignment{assigned("office", sib("gw1", "gw1"), sib("gw3", ""))})
	c.mesh.Assign([]gateway.Assignment{assigned("office", sib("gw1", "gw1"), sib("gw2", "gw2"))})
	time.Sleep(10 * time.Second)
	return p, a, b, c
}

// tells has each node see a peer, and requires that the others hear of it.
func tells(t *testing.T, at gateway.LocationID, nodes map[gateway.ID]*node) {
	t.Helper()
	n := int(time.Now().Unix() % 1000)
	for _, from := range nodes {
		n++
		from.See(gateway.Sighting{Key: gatewaytest.Peer(n).Key, Heard: time.Now(), Rx: uint64(time.Now().UnixNano())})
	}
	time.Sleep(time.Second)
	for id := range nodes {
		for other, to := range nodes {
			if other == id {
				continue
			}
			got, _ := to.Heard(at, id)
			require.NotEmpty(t, got.Seen, "%s did not hear %s", other, id)
			newest := uint64(0)
			for _, s := range got.Seen {
				require.Equal(t, id, s.By)
				newest = max(newest, s.Rx)
			}
			require.Equal(t, uint64(time.Now().Add(-time.Second).UnixNano()), newest, "%s did not hear %s", other, id)
		}
	}
}

// Each pair has one link, whoever can be dialled, and everybody hears everybody.
func TestAMeshHasOneLinkForEachPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, a, b, c := three(t)
		tells(t, "office", p.nodes)
		time.Sleep(time.Minute)
		for id, n := range p.nodes {
			for other := range p.nodes {
				if other != id {
					require.Equal(t, 1, n.links(string(other)), "links of %s to %s", id, other)
				}
			}
		}
		tells(t, "office", p.nodes)
		for _, n := range []*node{a, b, c} {
			require.Equal(t, 2, n.Alive(), "one conversation with each")
		}
	})
}

// Who is no sibling any more, such as a gateway that was removed, is off within a
// second, although nobody told the mesh of its certificate.
func TestWhoIsNoSiblingAnyMoreIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, a, b, c := three(t)
		a.mesh.Assign([]gateway.Assignment{assigned("office", sib("gw2", "gw2"))})
		b.mesh.Assign([]gateway.Assignment{assigned("office", sib("gw1", "gw1"))})
		time.Sleep(time.Second)
		require.Zero(t, a.links("gw3")+b.links("gw3"))
		require.Zero(t, c.Alive())
		time.Sleep(time.Minute) // it goes on trying
		require.Zero(t, c.links("gw1")+c.links("gw2")+c.Alive())
		tells(t, "office", map[gateway.ID]*node{"gw1": a, "gw2": b})

		a.mesh.Assign([]gateway.Assignment{assigned("office", sib("gw2", "gw2"), sib("gw3", ""))})
		time.Sleep(3 * time.Second)
		tells(t, "office", map[gateway.ID]*node{"gw1": a, "gw3": c})
		require.Len(t, p.nodes, 3)
	})
}

// Two locations are two conversations on one link; one of them can end.
func TestAConversationForEachLocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParty(t)
		a, b := p.add(t, "gw1", "gw1", "gw2"), p.add(t, "gw2", "gw2", "gw1")
		for n, other := range map[*node]gateway.ID{a: "gw2", b: "gw1"} {
			n.mesh.Assign([]gateway.Assignment{assigned("office", sib(other, string(other))), assigned("home", sib(other, ""))})
		}
		time.Sleep(5 * time.Second)
		tells(t, "office", p.nodes)
		tells(t, "home", p.nodes)
		require.Equal(t, 2, a.Alive())
		require.Equal(t, 1, a.links("gw2"))

		b.mesh.Assign([]gateway.Assignment{assigned("home", sib("gw1", "gw1"))})
		time.Sleep(time.Second)
		require.Equal(t, 1, a.Alive())
		tells(t, "home", p.nodes)
	})
}

// Links break and come back, and conversations with them.
func TestAMeshComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, _, _ := three(t)
		p.faults.Cut()
		time.Sleep(10 * time.Second)
		for _, n := range p.nodes {
			require.Zero(t, n.Alive())
		}
		p.faults.Heal()
		time.Sleep(3 * time.Second)
		tells(t, "office", p.nodes)
	})
}

// A link on which nothing comes any more is found by its pings, and conversations end
// with it at both ends. This takes its time: what HTTP/2 waits for on a link that is
// stuck, a bubble does not count as waiting.
func TestASilentLinkEndsConversations(t *testing.T) {
	for name, fault := range map[string]func(*transporttest.Faults){
		"black hole": (*transporttest.Faults).BlackHole, "stalled": (*transporttest.Faults).Stall,
	} {
		t.Run(name, func(t *testing.T) {
			p := newParty(t)
			p.pings = 200 * time.Millisecond
			a, b := p.add(t, "gw1", "gw1", "gw2"), p.add(t, "gw2", "gw2", "gw1")
			a.mesh.Assign([]gateway.Assignment{assigned("office", sib("gw2", "gw2"))})
			b.mesh.Assign([]gateway.Assignment{assigned("office", sib("gw1", "gw1"))})
			alive := func(n int) func() bool { return func() bool { return a.Alive() == n && b.Alive() == n } }
			require.Eventually(t, alive(1), 10*time.Second, 5*time.Millisecond)
			fault(p.faults)
			require.Eventually(t, alive(0), 10*time.Second, 5*time.Millisecond)
			p.faults.Heal()
			require.Eventually(t, alive(1), 10*time.Second, 5*time.Millisecond)
		})
	}
}

// Where each believes that it has to dial, they talk once, and go on doing so.
func TestTwoLinksAreNotTwoConversations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParty(t)
		a, b := p.add(t, "gw1", "gw1", "gw2"), p.add(t, "gw2", "", "gw1")
		a.mesh.Assign([]gateway.Assignment{assigned("office", sib("gw2", "gw2"))})
		b.mesh.Assign([]gateway.Assignment{assigned("office", sib("gw1", "gw1"))})
		time.Sleep(time.Minute)
		require.Equal(t, 2, a.links("gw2"))
		before := a.begun.Load() + b.begun.Load()
		for range 30 {
			time.Sleep(time.Second)
			tells(t, "office", p.nodes)
			require.Equal(t, 1, a.Alive())
			require.Equal(t, 1, b.Alive())
		}
		require.Equal(t, before, a.begun.Load()+b.begun.Load(), "they take over from each other")
	})
}

// What a gateway offers at its end of a link is a conversation: nothing else, not to
// siblings, and nothing at all to cores.
func TestNothingElseIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParty(t)
		a := p.add(t, "gw1", "gw1", "gw2")
		// gw2 is made by hand, so that it can ask what a mesh would not.
		ln, err := p.network.Listen("gw2")
		require.NoError(t, err)
		asks, err := transport.NewClient(transport.Config{Holder: p.d.Member(t, transport.Gateway, "gw2"), Roles: []transport.Role{transport.Gateway}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer func() { cancel(); synctest.Wait() }()
		p.wg.Go(func() { _ = asks.Listen(ctx, ln) })
		a.mesh.Assign([]gateway.Assignment{assigned("office", sib("gw2", "gw2"))})
		link := transporttest.First(t, asks)
		for _, path := range []string{
			"/", "/holdfast.gateway.v1.GatewayService/Watch", "/holdfast.gateway.v1.GatewayService/Report",
			"/holdfast.join.v1.JoinService/Renew", "/holdfast.admin.v1.CoreService/Overview",
		} {
			q, err := http.NewRequestWithContext(ctx, http.MethodPost, transport.BaseURL+path, http.NoBody)
			require.NoError(t, err)
			q.Header.Set("Content-Type", "application/connect+proto")
			r, err := link.HTTP().Do(q)
			require.NoError(t, err)
			_, _ = io.Copy(io.Discard, r.Body)
			require.NoError(t, r.Body.Close())
			require.Equal(t, http.StatusNotFound, r.StatusCode, path)
		}

		// A core that dials is a core, and asked nothing here.
		core, err := transport.NewServer(transport.Config{
			Holder: p.d.Holder(), Roles: []transport.Role{transport.Gateway}, Dialer: p.network.Dial,
		}, transport.Handlers{Linked: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("it was asked") })})
		require.NoError(t, err)
		p.wg.Go(func() { _ = core.Dial(ctx, transport.Target{Addr: "gw1"}) })
		transporttest.First(t, a.cores)
		time.Sleep(time.Minute)
		require.Zero(t, a.links("core1"))
		require.Len(t, core.Peers(), 1)
	})
}

func TestWhoDials(t *testing.T) {
	a, b := sib("a", "a:1"), sib("b", "b:1")
	require.True(t, siblingrpc.Dials(a, b))
	require.False(t, siblingrpc.Dials(b, a))
	hidden := sib("a", "")
	require.True(t, siblingrpc.Dials(hidden, b))
	require.False(t, siblingrpc.Dials(b, hidden))
	hidden.ID = "c"
	require.True(t, siblingrpc.Dials(hidden, b))
	require.False(t, siblingrpc.Dials(b, hidden))
	require.False(t, siblingrpc.Dials(hidden, sib("d", "")), "neither can be dialled")
}

func TestAMeshIsForGateways(t *testing.T) {
	d := transporttest.New(t, "acme", nil)
	_, err := siblingrpc.NewMesh(siblingrpc.MeshConfig{Talker: gatewaytest.NewSibling(), Links: transport.Config{Holder: d.Holder()}})
	require.ErrorContains(t, err, "acme/core/core1 is no gateway")
	_, err = siblingrpc.NewMesh(siblingrpc.MeshConfig{Links: transport.Config{Holder: d.Member(t, transport.Gateway, "gw")}})
	require.ErrorContains(t, err, "required")
	_, err = siblingrpc.NewMesh(siblingrpc.MeshConfig{Talker: gatewaytest.NewSibling()})
	require.ErrorContains(t, err, "required")
}
