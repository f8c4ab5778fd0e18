package siblingrpc

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport"
)

// MeshConfig is for NewMesh.
type MeshConfig struct {
	// Links is for links; Holder is required. Roles, Check and Roots are the mesh's own
	// business, and Retry is 1 s by default.
	Links transport.Config
	// Addr is where siblings are told that this gateway takes links; "": nowhere, and it
	// dials all that can be dialled.
	Addr string
	// Talker talks with siblings; required.
	Talker gateway.Talker
	// Talks is for conversations; its Identify is not used.
	Talks Config
}

// Mesh keeps one link to each sibling, and one conversation on it for each location that
// both serve. Of two gateways the one with the smaller ID dials, or the other one if that
// cannot be dialled: who dials serves, and who was dialled asks. On these links there are
// conversations and nothing else. Make one with NewMesh. It is safe for concurrent use.
type Mesh struct {
	c      MeshConfig
	self   transport.Identity
	server *transport.Server
	client *transport.Client

	mu       sync.Mutex
	siblings map[gateway.ID]sibling
	changed  chan struct{}
	clients  map[*transport.Link]*Client
}

// sibling is one that the control plane told of.
type sibling struct {
	addr string
	at   []gateway.LocationID
}

// NewMesh checks the configuration and starts nothing. It has no siblings until Assign
// says so.
func NewMesh(cfg MeshConfig) (*Mesh, error) {
	if cfg.Talker == nil || cfg.Links.Holder == nil {
		return nil, errors.New("siblingrpc: MeshConfig: Talker and Links.Holder are required")
	}
	m := &Mesh{c: cfg, siblings: map[gateway.ID]sibling{}, changed: make(chan struct{}), clients: map[*transport.Link]*Client{}}
	m.c.Talks.defaults()
	m.c.Talks.Identify = PeerOf
	if m.self = cfg.Links.Holder.Get().Identity(); m.self.Role != transport.Gateway {
		return nil, fmt.Errorf("siblingrpc: %s is no gateway, and has no siblings", m.self)
	}
	links := cfg.Links
	links.Roles, links.Check, links.Roots = []transport.Role{transport.Gateway}, m.check, nil
	links.Retry = cmp.Or(links.Retry, time.Second) // a sibling may hear of us later than we of it
	var err error
	if m.client, err = transport.NewClient(links); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(NewHandler(cfg.Talker, m.c.Talks))
	links.Trace.Up, links.Trace.Down = m.poked(links.Trace.Up), m.lost(links.Trace.Down)
	m.server, err = transport.NewServer(links, transport.Handlers{Linked: mux})
	return m, err
}

// poked has Run look again when a link that was dialled here comes up.
func (m *Mesh) poked(then func(transport.Peer)) func(transport.Peer) {
	return func(p transport.Peer) {
		go m.change(func() {}) // nothing may block here
		if then != nil {
			then(p)
		}
	}
}

func (m *Mesh) lost(then func(transport.Peer, error)) func(transport.Peer, error) {
	return func(p transport.Peer, why error) {
		go m.change(func() {})
		if then != nil {
			then(p, why)
		}
	}
}

func (m *Mesh) change(edit func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	edit()
	close(m.changed)
	m.changed = make(chan struct{})
}

// Acceptor takes the links of siblings, at a listener of its own or one that it shares:
// see transport.Listen.
func (m *Mesh) Acceptor() transport.Acceptor { return m.client }

// Assign says who the siblings are, of all locations that this gateway serves; it keeps
// nothing of list. Links to others end within a second, and nobody else is let in.
// Where two assignments tell a sibling's address, the first that is not "" counts.
func (m *Mesh) Assign(list []gateway.Assignment) {
	now := map[gateway.ID]sibling{}
	for _, a := range list {
		for _, s := range a.Siblings {
			if string(s.ID) == m.self.ID {
				continue
			}
			old := now[s.ID]
			now[s.ID] = sibling{cmp.Or(old.addr, s.Addr), append(old.at, a.Location)}
		}
	}
	m.change(func() { m.siblings = now })
}

// check lets in who is a sibling.
func (m *Mesh) check(c *x509.Certificate) error {
	id, err := transport.IdentityOf(c)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.siblings[gateway.ID(id.ID)]; !ok {
		return fmt.Errorf("%w: the control plane told %s of no sibling %s", transport.ErrUnlisted, m.self.ID, id.ID)
	}
	return nil
}

// Dials says whether a gateway dials a sibling: of two gateways one does, or none if
// neither can be dialled.
func Dials(self, other gateway.Sibling) bool {
	switch {
	case other.Addr == "":
		return false
	case self.Addr == "":
		return true
	}
	return self.ID < other.ID
}

// Run dials siblings and talks with them until ctx ends, and then returns nil. What it
// is dialled by, Acceptor takes.
func (m *Mesh) Run(ctx context.Context) error {
	dialling := tasks[dialled]{}
	talking := tasks[about]{}
	defer talking.stop()
	defer dialling.stop()
	for {
		m.mu.Lock()
		siblings, changed := m.siblings, m.changed
		m.mu.Unlock()
		links, more := m.client.Links()
		dialling.are(ctx, m.toDial(siblings), m.dial)
		talking.are(ctx, m.toTalk(siblings, links), m.talk)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-more:
		}
	}
}

// dialled is a sibling that is dialled at an address.
type dialled struct {
	id   gateway.ID
	addr string
}

func (m *Mesh) toDial(siblings map[gateway.ID]sibling) (out []dialled) {
	self := gateway.Sibling{ID: gateway.ID(m.self.ID), Addr: m.c.Addr}
	for id, s := range siblings {
		if Dials(self, gateway.Sibling{ID: id, Addr: s.addr}) {
			out = append(out, dialled{id, s.addr})
		}
	}
	return out
}

func (m *Mesh) dial(ctx context.Context, d dialled) {
	want := m.self
	want.ID = string(d.id)
	_ = m.server.Dial(ctx, transport.Target{Addr: d.addr, Want: want}) // is nil
}

// about is a conversation on a link.
type about struct {
	link *transport.Link
	at   gateway.LocationID
}

// toTalk is what there is to talk about, on which links. Where both dialled, since they
// were told different addresses, the one with the smaller ID is asked, and does not ask.
func (m *Mesh) toTalk(siblings map[gateway.ID]sibling, links []*transport.Link) (out []about) {
	asks := map[gateway.ID]bool{}
	for _, p := range m.server.Peers() {
		asks[gateway.ID(p.Identity.ID)] = m.self.ID < p.Identity.ID
	}
	for _, l := range links {
		p := l.Peer()
		id := gateway.ID(p.Identity.ID)
		if p.RenewOnly || asks[id] {
			continue
		}
		for _, at := range siblings[id].at {
			out = append(out, about{l, at})
		}
	}
	return out
}

// asking are the clients of links that are up: what one has learnt of a link outlives its
// conversations.
func (m *Mesh) asking(l *transport.Link) *Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	for old := range m.clients {
		if old.Err() != nil {
			delete(m.clients, old)
		}
	}
	c := m.clients[l]
	if c == nil {
		c = NewClient(l.HTTP(), transport.BaseURL, gateway.ID(l.Peer().Identity.ID), m.c.Talks)
		m.clients[l] = c
	}
	return c
}

const (
	longestPause = 5 * time.Second
	lived        = 10 * time.Second // a conversation that did not live as long counts as a failure
)

// talk keeps a conversation on a link until ctx ends, which it does with the link.
func (m *Mesh) talk(ctx context.Context, a about) {
	b := &backoff.ExponentialBackOff{InitialInterval: 100 * time.Millisecond, RandomizationFactor: 1, Multiplier: 2, MaxInterval: longestPause / 2}
	b.Reset()
	c := m.asking(a.link)
	for {
		began := time.Now()
		err := c.Talk(ctx, a.at, m.c.Talker)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) >= lived {
			b.Reset()
		}
		pause := b.NextBackOff()
		if errors.Is(err, gateway.ErrReplaced) {
			pause = max(pause, longestPause) // somebody else talks: let them
		}
		m.c.Talks.Log.InfoContext(ctx, "conversation ended", "err", err, "retry_in", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// tasks are what runs now, by what it is about.
type tasks[K comparable] struct {
	now map[K]context.CancelFunc
	wg  sync.WaitGroup
}

// are has exactly those run that want names.
func (t *tasks[K]) are(ctx context.Context, want []K, run func(context.Context, K)) {
	for _, k := range slices.Collect(maps.Keys(t.now)) {
		if !slices.Contains(want, k) {
			t.now[k]()
			delete(t.now, k)
		}
	}
	for _, k := range want {
		if t.now[k] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		if t.now == nil {
			t.now = map[K]context.CancelFunc{}
		}
		t.now[k] = cancel
		t.wg.Go(func() { run(ctx, k) })
	}
}

// stop ends all, and waits for that.
func (t *tasks[K]) stop() {
	for _, cancel := range t.now {
		cancel()
	}
	t.wg.Wait()
}
