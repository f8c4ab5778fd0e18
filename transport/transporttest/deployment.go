package transporttest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/authority"
	"github.com/holdfastvpn/holdfast/transport/join"
)

// Records are authority.Records in memory. The zero Records are empty.
type Records struct {
	mu    sync.Mutex
	rows  map[string][]byte
	fails error
}

var _ authority.Records = (*Records)(nil)

// Fail makes every call fail with err, until Fail(nil).
func (r *Records) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fails = err
}

// Get returns a row.
func (r *Records) Get(ctx context.Context, key string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := errors.Join(r.fails, ctx.Err()); err != nil {
		return nil, err
	}
	v, ok := r.rows[key]
	if !ok {
		return nil, errors.New("transporttest: no such record")
	}
	return bytes.Clone(v), nil
}

// Update edits a row.
func (r *Records) Update(ctx context.Context, key string, edit func([]byte) ([]byte, error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := errors.Join(r.fails, ctx.Err()); err != nil {
		return err
	}
	v, err := edit(bytes.Clone(r.rows[key]))
	if err != nil {
		return err
	}
	if r.rows == nil {
		r.rows = map[string][]byte{}
	}
	if r.rows[key] = v; v == nil {
		delete(r.rows, key)
	}
	return nil
}

// Deployment is a deployment of one core, named as its Authority's Self.
type Deployment struct {
	*authority.Authority

	Records *Records
	Self    transport.Identity
	Signer  crypto.Signer // of its first root
}

// New begins a deployment. edit, which may be nil, changes the configuration of its
// authority before.
func New(tb testing.TB, name string, edit func(*authority.Config)) *Deployment {
	tb.Helper()
	key, err := authority.NewKey()
	require.NoError(tb, err)
	d := &Deployment{
		Records: &Records{}, Signer: key.Signer(),
		Self: transport.Identity{Deployment: name, Role: transport.Core, ID: "core1"},
	}
	cfg := authority.Config{Self: d.Self, Records: d.Records, Signers: []crypto.Signer{d.Signer}}
	if edit != nil {
		edit(&cfg)
	}
	d.Authority, err = authority.New(cfg)
	require.NoError(tb, err)
	require.NoError(tb, d.Open(tb.Context()))
	return d
}

// Signers are those of its roots, for another core of it.
func (d *Deployment) Signers() []crypto.Signer { return []crypto.Signer{d.Signer} }

// Identity is one of the deployment.
func (d *Deployment) Identity(role transport.Role, id string) transport.Identity {
	return transport.Identity{Deployment: d.Self.Deployment, Role: role, ID: id}
}

// Member issues credentials as a join would.
func (d *Deployment) Member(tb testing.TB, role transport.Role, id string) *transport.Holder {
	tb.Helper()
	who := d.Identity(role, id)
	key, err := join.NewKey()
	require.NoError(tb, err)
	request, err := join.Request(key, who)
	require.NoError(tb, err)
	is, err := d.Issue(tb.Context(), who, request)
	require.NoError(tb, err)
	c, err := transport.NewCredentials(key, []*x509.Certificate{is.Certificate}, is.Roots)
	require.NoError(tb, err)
	return transport.NewHolder(c)
}

// Connect links a gateway of the deployment to its core, which dials over the network as
// it would over TCP, until the test ends. It returns the gateway's end of the first link.
// edit, which may be nil, changes the configurations of both before.
func (d *Deployment) Connect(tb testing.TB, h transport.Handlers, edit func(core, gateway *transport.Config)) (*transport.Server, *transport.Link) {
	tb.Helper()
	network := &Network{}
	ln, err := network.Listen("gateway")
	require.NoError(tb, err)
	core := transport.Config{
		Holder: d.Holder(), Roles: []transport.Role{transport.Gateway}, Check: d.Check, Dialer: network.Dial, Software: "core of a test",
	}
	gateway := transport.Config{Holder: d.Member(tb, transport.Gateway, "gw1"), Roles: []transport.Role{transport.Core}, Software: "gateway of a test"}
	if edit != nil {
		edit(&core, &gateway)
	}
	server, err := transport.NewServer(core, h)
	require.NoError(tb, err)
	client, err := transport.NewClient(gateway)
	require.NoError(tb, err)

	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Dial(ctx, transport.Target{Addr: "gateway"}) })
	wg.Go(func() { _ = client.Listen(ctx, ln) })
	tb.Cleanup(func() { cancel(); wg.Wait() })
	return server, First(tb, client)
}

// First waits for a link, 10 s at most.
func First(tb testing.TB, c *transport.Client) *transport.Link {
	tb.Helper()
	deadline := time.After(10 * time.Second)
	for {
		links, changed := c.Links()
		if len(links) > 0 {
			return links[0]
		}
		select {
		case <-changed:
		case <-deadline:
			require.FailNow(tb, "no link")
		}
	}
}
