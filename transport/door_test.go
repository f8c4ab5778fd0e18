package transport_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/authority"
	"github.com/holdfastvpn/holdfast/transport/transporttest"
)

// says is a handler that says a word.
func says(word string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, word) })
}

// guests are those who may be siblings: what a gateway knows of them.
type guests struct{ unlisted atomic.Bool }

func (g *guests) check(c *x509.Certificate) error {
	if g.unlisted.Load() {
		id, _ := transport.IdentityOf(c)
		return fmt.Errorf("%w: %s", transport.ErrUnlisted, id.ID)
	}
	return nil
}

// house is a gateway, gw2, with one listener: cores and gateways dial it.
type house struct {
	d        *transporttest.Deployment
	network  *transporttest.Network
	holder   *transport.Holder
	guests   guests
	cores    *transport.Client
	siblings *transport.Client
	refused  chan error
	failed   chan error
	ctx      context.Context //nolint:containedctx // of the test
	wg       *sync.WaitGroup
}

// within is what comes next, within ten seconds.
func within(t *testing.T, come <-chan error) error {
	t.Helper()
	select {
	case err := <-come:
		return err
	case <-time.After(10 * time.Second):
		require.FailNow(t, "nothing was refused")
		return nil
	}
}

func newHouse(t *testing.T, edit func(*authority.Config)) *house {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h := &house{
		d: transporttest.New(t, "acme", edit), network: &transporttest.Network{}, ctx: ctx, wg: &sync.WaitGroup{},
		refused: make(chan error, 1000), failed: make(chan error, 1000),
	}
	t.Cleanup(func() { cancel(); h.wg.Wait() })
	h.holder = h.d.Member(t, transport.Gateway, "gw2")
	trace := transport.Trace{Refused: func(_ string, err error) { h.refused <- err }}
	var err error
	h.cores, err = transport.NewClient(transport.Config{Holder: h.holder, Roles: []transport.Role{transport.Core}, Trace: trace})
	require.NoError(t, err)
	h.siblings, err = transport.NewClient(transport.Config{
		Holder: h.holder, Roles: []transport.Role{transport.Gateway}, Trace: trace, Check: h.guests.check,
	})
	require.NoError(t, err)
	ln, err := h.network.Listen("gw2")
	require.NoError(t, err)
	h.wg.Go(func() { _ = transport.Listen(ctx, ln, h.cores, h.siblings) })
	return h
}

// dials has somebody dial the house and serve it a word.
func (h *house) dials(t *testing.T, holder *transport.Holder, word string) *transport.Server {
	t.Helper()
	s, err := transport.NewServer(transport.Config{
		Holder: holder, Roles: []transport.Role{transport.Gateway}, Dialer: h.network.Dial, Retry: time.Second,
		Trace: transport.Trace{Failed: func(_ string, err error, _ time.Duration) { h.failed <- err }},
	}, transport.Handlers{Linked: says(word)})
	require.NoError(t, err)
	want := h.d.Identity(transport.Gateway, "gw2")
	h.wg.Go(func() { _ = s.Dial(h.ctx, transport.Target{Addr: "gw2", Want: want}) })
	return s
}

// Cores and gateways dial one address, and the role in the certificate alone decides
// which of them one is taken for.
func TestOneListenerTellsCoresAndGatewaysApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.dials(t, h.d.Holder(), "I serve gateways")
		h.dials(t, h.d.Member(t, transport.Gateway, "gw1"), "I am a sibling")
		core, sibling := transporttest.First(t, h.cores), transporttest.First(t, h.siblings)
		require.Equal(t, h.d.Self, core.Peer().Identity)
		require.Equal(t, h.d.Identity(transport.Gateway, "gw1"), sibling.Peer().Identity)
		for link, want := range map[*transport.Link]string{core: "I serve gateways", sibling: "I am a sibling"} {
			got, err := get(link)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		time.Sleep(time.Minute)
		for _, c := range []*transport.Client{h.cores, h.siblings} {
			links, _ := c.Links()
			require.Len(t, links, 1, "somebody is taken for what they are not")
			require.NoError(t, links[0].Err())
		}
	})
}

// A gateway serves siblings, and neither a core nor anybody else: not at its own
// listener, and not where it dials.
func TestWhoIsNoGatewayIsNoSibling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.dials(t, h.d.Member(t, transport.Proxy, "gw1"), "")
		err := <-h.refused
		require.ErrorIs(t, err, transport.ErrRole)
		require.ErrorContains(t, err, "acme/proxy/gw1, where only [core gateway] may be")

		// Where gw2 should be, there is a core, and then a gateway of another name.
		for role, is := range map[transport.Role]error{transport.Core: transport.ErrRole, transport.Gateway: transport.ErrOther} {
			ln, err := h.network.Listen(string(role))
			require.NoError(t, err)
			there, err := transport.NewClient(transport.Config{
				Holder: h.d.Member(t, role, "other"), Roles: []transport.Role{transport.Gateway},
			})
			require.NoError(t, err)
			h.wg.Go(func() { _ = there.Listen(h.ctx, ln) })
			failed := make(chan error, 1000)
			s, err := transport.NewServer(transport.Config{
				Holder: h.d.Member(t, transport.Gateway, "gw1"), Roles: []transport.Role{transport.Gateway}, Dialer: h.network.Dial,
				Trace: transport.Trace{Failed: func(_ string, err error, _ time.Duration) { failed <- err }},
			}, transport.Handlers{Linked: says("")})
			require.NoError(t, err)
			want := h.d.Identity(transport.Gateway, "gw2")
			h.wg.Go(func() { _ = s.Dial(h.ctx, transport.Target{Addr: string(role), Want: want}) })
			require.ErrorIs(t, <-failed, is)
			require.Empty(t, s.Peers())
		}
	})
}

// Of another deployment, or expired: nothing is served, and nothing asked.
func TestASiblingIsGoodOrNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		other := transporttest.New(t, "emca", nil)
		h.dials(t, other.Member(t, transport.Gateway, "gw1"), "")
		require.ErrorIs(t, <-h.failed, transport.ErrDeployment, "each end refuses the other, and it looks first")
		require.Error(t, <-h.refused)
		links, _ := h.siblings.Links()
		require.Empty(t, links)
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *authority.Config) { c.Lifetime = time.Hour })
		old := h.d.Member(t, transport.Gateway, "gw1")
		time.Sleep(2 * time.Hour)
		h.dials(t, old, "")
		require.ErrorIs(t, <-h.refused, transport.ErrExpired)
		links, _ := h.siblings.Links()
		require.Empty(t, links)
	})
}

// A gateway whose certificate expired has it renewed by a core; then siblings take it
// again, on a link on which it may do everything.
func TestASiblingThatHadExpiredComesBackRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *authority.Config) { c.Lifetime = time.Hour })
		time.Sleep(2 * time.Hour)
		server := h.dials(t, h.d.Member(t, transport.Gateway, "gw1"), "welcome")
		for _, told := range []error{within(t, h.refused), within(t, h.failed)} { // each end about the one that asks
			require.ErrorIs(t, told, transport.ErrRenewOnly)
			require.ErrorIs(t, told, transport.ErrExpired)
			require.ErrorContains(t, told, "acme/gateway/gw2, on 2000-")
		}
		time.Sleep(time.Minute)
		require.Empty(t, server.Peers())
		require.NoError(t, h.holder.Set(h.d.Member(t, transport.Gateway, "gw2").Get()))
		link := transporttest.First(t, h.siblings)
		require.False(t, link.Peer().RenewOnly)
		got, err := get(link)
		require.NoError(t, err)
		require.Equal(t, "welcome", got)
	})
}

// However many links siblings have, there is a place for a core.
func TestSiblingsTakeNoCoresPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.siblings.SetMostLinks(1)
		whole := h.ctx
		first, leave := context.WithCancel(whole)
		h.ctx = first
		h.dials(t, h.d.Member(t, transport.Gateway, "gw1"), "")
		transporttest.First(t, h.siblings)
		h.ctx = whole
		second := h.dials(t, h.d.Member(t, transport.Gateway, "gw3"), "")
		require.ErrorContains(t, within(t, h.refused), "no place for another link: 1 are taken: holdfast://acme/gateway/gw3")
		h.dials(t, h.d.Holder(), "")
		transporttest.First(t, h.cores)
		require.Empty(t, second.Peers())

		leave()
		time.Sleep(5 * time.Second)
		require.Len(t, second.Peers(), 1, "a place that was left is not taken")
	})
}

// Gateways have no list of what was revoked. Each knows who its siblings are: who is
// not, or not any more, is refused, and a link that is up ends within a second.
func TestWhoIsNotListedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		server := h.dials(t, h.d.Member(t, transport.Gateway, "gw1"), "")
		link := transporttest.First(t, h.siblings)
		time.Sleep(time.Minute)

		began := time.Now()
		h.guests.unlisted.Store(true)
		<-link.Done()
		require.Less(t, time.Since(began), time.Second)
		require.ErrorIs(t, link.Err(), transport.ErrUnlisted)
		require.Error(t, <-h.failed)
		require.ErrorIs(t, <-h.refused, transport.ErrUnlisted)
		require.Empty(t, server.Peers())
		core := h.dials(t, h.d.Holder(), "")
		transporttest.First(t, h.cores)
		require.Len(t, core.Peers(), 1, "cores are on no such list")

		h.guests.unlisted.Store(false)
		again := transporttest.First(t, h.siblings)
		require.NoError(t, again.Err(), "who is listed again comes back")
	})
}

// The end that dialled looks, too, and tells the other one why.
func TestTheEndThatDialledLooksAtItsList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		var mine guests
		s, err := transport.NewServer(transport.Config{
			Holder: h.d.Member(t, transport.Gateway, "gw1"), Roles: []transport.Role{transport.Gateway},
			Dialer: h.network.Dial, Retry: time.Second, Check: mine.check,
		}, transport.Handlers{Linked: says("")})
		require.NoError(t, err)
		h.wg.Go(func() { _ = s.Dial(h.ctx, transport.Target{Addr: "gw2"}) })
		link := transporttest.First(t, h.siblings)
		time.Sleep(time.Minute)
		began := time.Now()
		mine.unlisted.Store(true)
		<-link.Done()
		require.Less(t, time.Since(began), time.Second)
		require.ErrorIs(t, link.Err(), transport.ErrUnlisted, "the other end is not told why")
		require.ErrorContains(t, link.Err(), "gw2")
	})
}

func TestListenersThatMakeNoSense(t *testing.T) {
	d := transporttest.New(t, "acme", nil)
	holder := d.Member(t, transport.Gateway, "gw1")
	client := func(h *transport.Holder, roles ...transport.Role) *transport.Client {
		c, err := transport.NewClient(transport.Config{Holder: h, Roles: roles})
		require.NoError(t, err)
		return c
	}
	server := func(role transport.Role) *transport.Server {
		s, err := transport.NewServer(transport.Config{Holder: holder, Roles: []transport.Role{role}}, transport.Handlers{Join: says("")})
		require.NoError(t, err)
		return s
	}
	network := &transporttest.Network{}
	for text, at := range map[string][]transport.Acceptor{
		"nobody to take links":  nil,
		"links of role core":    {client(holder, transport.Core), client(holder, transport.Gateway, transport.Core)},
		"have one Holder":       {client(holder, transport.Core), client(d.Member(t, transport.Gateway, "gw1"), transport.Gateway)},
		"two ends take joiners": {server(transport.Core), server(transport.Gateway)},
	} {
		ln, err := network.Listen("x")
		require.NoError(t, err)
		require.ErrorContains(t, transport.Listen(t.Context(), ln, at...), text)
		_, err = network.Dial(t.Context(), "x")
		require.Error(t, err, "it still listens")
	}
	ln, err := network.Listen("x")
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- transport.Listen(t.Context(), ln, client(holder, transport.Core)) }()
	require.NoError(t, ln.Close())
	require.Error(t, <-ended, "somebody else closed it")
}
