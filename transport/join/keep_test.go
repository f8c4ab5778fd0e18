package join_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/authority"
	"github.com/holdfastvpn/holdfast/transport/join"
	"github.com/holdfastvpn/holdfast/transport/transporttest"
)

// member is a gateway that joined, linked to its core, in a bubble.
type member struct {
	*transporttest.Deployment

	holder *transport.Holder
	client *transport.Client
	faults *transporttest.Faults
	linked int // requests that were served
	mu     sync.Mutex
	saved  []transport.Credentials
	fail   error // of saving
}

func newMember(t *testing.T) *member {
	m := &member{Deployment: transporttest.New(t, "acme", func(c *authority.Config) {
		c.Lifetime, c.Poll = 6*time.Hour, time.Minute // so that little happens while time passes
	}), faults: &transporttest.Faults{}}
	m.holder = m.Member(t, transport.Gateway, "gw1")
	keep := &join.Keep{Holder: m.holder, Save: func(c transport.Credentials) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.saved = append(m.saved, c)
		return m.fail
	}}
	network := &transporttest.Network{}
	ln, err := network.Listen("gateway")
	require.NoError(t, err)
	h := join.Handlers(m)
	h.Linked = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { m.linked++ })
	server, err := transport.NewServer(transport.Config{
		Holder: m.Holder(), Roles: []transport.Role{transport.Gateway}, Check: m.Check, Dialer: m.faults.Dialer(network.Dial),
		Retry: time.Minute,
	}, h)
	require.NoError(t, err)
	m.client, err = transport.NewClient(transport.Config{Holder: m.holder, Roles: []transport.Role{transport.Core}, Roots: keep.Roots})
	require.NoError(t, err)
	keep.Links = m.client.Links
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Dial(ctx, transport.Target{Addr: "gateway"}) })
	wg.Go(func() { _ = m.client.Listen(ctx, ln) })
	wg.Go(func() { _ = keep.Run(ctx) })
	wg.Go(func() { _ = m.Run(ctx) })
	t.Cleanup(func() { m.faults.Heal(); cancel(); wg.Wait() })
	transporttest.First(t, m.client)
	return m
}

// away cuts the core off for a time: nothing happens then, so that it passes fast.
func (m *member) away(d time.Duration) {
	m.faults.Cut()
	time.Sleep(d)
	m.faults.Heal()
	time.Sleep(2 * time.Minute)
}

func TestACertificateIsRenewedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMember(t)
		first := m.holder.Get()
		require.Equal(t, first.Leaf().NotBefore.Add(7*time.Hour/3*2), join.Due(first.Leaf()))
		m.away(3 * time.Hour)
		require.Equal(t, first.Leaf(), m.holder.Get().Leaf(), "not before it is due")
		m.away(time.Hour)
		second := m.holder.Get()
		require.NotEqual(t, first.Leaf().SerialNumber, second.Leaf().SerialNumber)
		require.Equal(t, second.Leaf(), m.saved[len(m.saved)-1].Leaf(), "saved before it is used")
		require.NotEqual(t, first.Key(), second.Key(), "with a key of its own")
	})
}

func TestAnExpiredCertificateMayBeRenewedAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMember(t)
		m.mu.Lock()
		m.fail = errors.New("disk full")
		m.mu.Unlock()
		m.away(7 * time.Hour)
		link := transporttest.First(t, m.client)
		require.True(t, link.Peer().RenewOnly)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, transport.BaseURL+"/holdfast.gateway.v1.X/Y", http.NoBody)
		require.NoError(t, err)
		resp, err := link.HTTP().Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusForbidden, resp.StatusCode)
		require.Zero(t, m.linked)

		m.mu.Lock()
		m.fail = nil
		m.mu.Unlock()
		time.Sleep(2 * time.Minute)
		link = transporttest.First(t, m.client)
		require.False(t, link.Peer().RenewOnly, "renewed, and linked again with the new one")
		resp, err = link.HTTP().Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 1, m.linked)
	})
}

// Who was revoked does not come back by renewing.
func TestARevokedCertificateIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMember(t)
		old := m.holder.Get().Leaf()
		m.faults.Cut()
		require.NoError(t, m.Revoke(t.Context(), m.Identity(transport.Gateway, "gw1"), "lost"))
		m.away(7 * time.Hour)
		require.Equal(t, old, m.holder.Get().Leaf())
		links, _ := m.client.Links()
		require.Empty(t, links)
		request, err := join.Request(m.holder.Get().Key(), m.holder.Get().Identity())
		require.NoError(t, err)
		_, err = m.Renew(t.Context(), old, request)
		require.ErrorIs(t, err, transport.ErrRevoked)
	})
}

func TestRootsChangeWithoutRejoining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMember(t)
		first := m.Roots()[0]
		key, err := authority.NewKey()
		require.NoError(t, err)
		// A core that has both keys.
		both, err := authority.New(authority.Config{Self: m.Self, Records: m.Records, Signers: append(m.Signers(), key.Signer())})
		require.NoError(t, err)
		require.NoError(t, both.Open(t.Context()))
		require.NoError(t, both.AddRoot(t.Context(), key.Signer()))
		require.NoError(t, both.AddRoot(t.Context(), key.Signer()), "twice is once")
		time.Sleep(time.Minute + time.Second)
		require.Len(t, m.holder.Get().Roots(), 2, "the gateway hears of it on its link")
		require.Len(t, m.saved[len(m.saved)-1].Roots(), 2, "and keeps it")
		require.NoError(t, m.holder.Get().Leaf().CheckSignatureFrom(first))

		request, err := join.Request(m.holder.Get().Key(), m.holder.Get().Identity())
		require.NoError(t, err)
		is, err := both.Renew(t.Context(), m.holder.Get().Leaf(), request)
		require.NoError(t, err)
		require.NoError(t, is.Certificate.CheckSignatureFrom(both.Roots()[0]), "issued by the newest")
		require.NoError(t, both.Holder().Get().Leaf().CheckSignatureFrom(first), "but a core's own by the oldest")

		require.NoError(t, both.DropRoot(t.Context(), authority.Fingerprint(first)))
		require.NoError(t, both.DropRoot(t.Context(), authority.Fingerprint(first)), "twice is once")
		require.ErrorContains(t, both.DropRoot(t.Context(), authority.Fingerprint(both.Roots()[0])), "the last one")
		require.NoError(t, both.Holder().Get().Leaf().CheckSignatureFrom(both.Roots()[0]))
	})
}
