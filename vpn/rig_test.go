package vpn_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/seal"
)

var errDisk = errors.New("disk on fire")

// flaky is a backend that can fail, hang, lose hints and lie.
type flaky struct {
	vpn.Stores

	mu       sync.Mutex
	err      error           // of every call
	hung     chan struct{}   // calls wait until it is closed
	badViews bool            // View fails, and nothing else does
	listed   func()          // called once, when gateways have been listed
	deaf     bool            // no hints
	lie      func(*vpn.View) // about a View
	views    int             // how many were asked for
	lists    int             // of gateways, how many were asked for
}

func newFlaky() *flaky { return &flaky{Stores: memstore.New()} }

func (f *flaky) set(edit func(*flaky)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit(f)
}

func (f *flaky) fail(err error) { f.set(func(f *flaky) { f.err = err }) }

// pass waits while the backend hangs, and says whether the call fails.
func (f *flaky) pass(ctx context.Context) error {
	f.mu.Lock()
	err, hung := f.err, f.hung
	f.mu.Unlock()
	if hung != nil {
		<-hung // whatever ctx says: drivers do that
	}
	return errors.Join(err, ctx.Err())
}

func (f *flaky) Feed() vpn.Feed       { return flakyFeed{f} }
func (f *flaky) Records() vpn.Records { return flakyRecords{f} }

// inner is the backend below, which may be replaced.
func (f *flaky) inner() vpn.Stores {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Stores
}

type flakyFeed struct{ f *flaky }

func (s flakyFeed) Heads(ctx context.Context) (map[location.ID]vpn.Revision, error) {
	if err := s.f.pass(ctx); err != nil {
		return nil, err
	}
	return s.f.inner().Feed().Heads(ctx)
}

func (s flakyFeed) View(ctx context.Context, at location.ID, after vpn.Revision) (vpn.View, error) {
	if err := s.f.pass(ctx); err != nil {
		return vpn.View{}, err
	}
	v, err := s.f.inner().Feed().View(ctx, at, after)
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	if s.f.badViews {
		return vpn.View{}, errDisk
	}
	s.f.views++
	if s.f.lie != nil && err == nil {
		s.f.lie(&v)
	}
	return v, err
}

func (s flakyFeed) Hints(ctx context.Context) iter.Seq[vpn.Hint] {
	if s.f.deaf {
		return func(func(vpn.Hint) bool) { <-ctx.Done() }
	}
	return s.f.inner().Feed().Hints(ctx)
}

type flakyRecords struct{ f *flaky }

func (s flakyRecords) Get(ctx context.Context, key string) ([]byte, error) {
	if err := s.f.pass(ctx); err != nil {
		return nil, err
	}
	return s.f.inner().Records().Get(ctx, key)
}

func (s flakyRecords) List(ctx context.Context, prefix, after string, limit int) ([]vpn.Record, error) {
	if prefix == "gateway/" {
		s.f.set(func(f *flaky) { f.lists++ })
	}
	if err := s.f.pass(ctx); err != nil {
		return nil, err
	}
	list, err := s.f.inner().Records().List(ctx, prefix, after, limit)
	if prefix == "gateway/" {
		var listed func()
		s.f.set(func(f *flaky) { listed, f.listed = f.listed, nil })
		if listed != nil {
			listed()
		}
	}
	return list, err
}

func (s flakyRecords) Update(ctx context.Context, key string, edit func([]byte) ([]byte, error)) error {
	if err := s.f.pass(ctx); err != nil {
		return err
	}
	return s.f.inner().Records().Update(ctx, key, edit)
}

// rig is a backend with a location and cores that run until the test ends.
type rig struct {
	t      *testing.T
	ctx    context.Context //nolint:containedctx // of the test: ends before its bubble
	stores *flaky
	keys   *seal.Keyring
	office location.Location
	core   *vpn.Core // the first
}

// bubble runs a test in a synctest bubble, with one core running.
func bubble(t *testing.T, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run(r.core)
		test(r)
	})
}

func newRig(t *testing.T) *rig {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &rig{t: t, ctx: ctx, stores: newFlaky(), keys: seal.Ephemeral()}
	t.Cleanup(func() {
		cancel()
		synctest.Wait()
	})
	r.core = r.newCore("core1", r.stores)
	var err error
	r.office, err = r.core.Locations().Create(ctx, location.Location{
		Name: "office", Host: "vpn.example.org", Networks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/15")},
	})
	require.NoError(t, err)
	return r
}

func (r *rig) newCore(id string, stores vpn.Stores) *vpn.Core {
	r.t.Helper()
	core, err := vpn.New(vpn.Config{
		ID: id, Stores: stores, Keys: r.keys,
		Log: slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	require.NoError(r.t, err)
	return core
}

// run runs a core until the test ends, or the function is called.
func (r *rig) run(core *vpn.Core) (stop func()) {
	ctx, cancel := context.WithCancel(r.ctx)
	done := make(chan error, 1)
	go func() { done <- core.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		require.NoError(r.t, <-done)
		synctest.Wait()
	}
}

func (r *rig) gateway(name string) gateway.ID {
	r.t.Helper()
	gw, err := r.core.Gateways().Add(r.ctx, vpn.Gateway{Name: name, Locations: []location.ID{r.office.ID}})
	require.NoError(r.t, err)
	return gw.ID
}

// add writes device n with a place in the office.
func (r *rig) add(n int) {
	r.t.Helper()
	_, err := r.stores.Devices().Update(r.ctx, dev(n).ID, func(d *peer.Device) error {
		*d = dev(n, r.office.ID)
		return nil
	})
	require.NoError(r.t, err)
}

func (r *rig) drop(n int) {
	r.t.Helper()
	_, err := r.stores.Devices().Update(r.ctx, dev(n).ID, func(d *peer.Device) error {
		*d = peer.Device{}
		return nil
	})
	require.NoError(r.t, err)
}

// editOffice changes the location behind the Service's back.
func (r *rig) editOffice(edit func(*location.Location)) {
	r.t.Helper()
	_, err := r.stores.Locations().Update(r.ctx, r.office.ID, func(l *location.Location) error {
		edit(l)
		return nil
	})
	require.NoError(r.t, err)
}

// want is what Project says now.
func (r *rig) want() gateway.Config {
	r.t.Helper()
	v, err := r.stores.Stores.Feed().View(r.ctx, r.office.ID, vpn.Revision{})
	require.NoError(r.t, err)
	c, err := vpn.Project(v, r.keys, noon)
	require.NoError(r.t, err)
	return c
}

// reader watches, and keeps what it is told.
type reader struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when the stream has ended

	mu      sync.Mutex
	updates []gateway.Update
	config  gateway.Config
	err     error
	gate    chan struct{} // if not nil, each update waits here
}

// watch reads a plane's stream for the office.
func (r *rig) watch(plane gateway.ControlPlane, id gateway.ID, have gateway.Config) *reader {
	ctx, cancel := context.WithCancel(r.ctx)
	w := &reader{cancel: cancel, done: make(chan struct{}), config: have}
	go w.read(ctx, plane, id, gateway.LocationID(r.office.ID))
	synctest.Wait()
	return w
}

func (w *reader) read(ctx context.Context, plane gateway.ControlPlane, id gateway.ID, at gateway.LocationID) {
	defer close(w.done)
	for u, err := range plane.Watch(ctx, id, at, w.config.Revision) {
		w.mu.Lock()
		gate := w.gate
		if err != nil {
			w.err = err
		} else {
			w.updates = append(w.updates, u)
			w.config, w.err = w.config.Apply(u)
		}
		failed := w.err != nil
		w.mu.Unlock()
		if failed {
			return
		}
		if gate != nil {
			<-gate
		}
	}
}

func (w *reader) take() (updates []gateway.Update, config gateway.Config, err error) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	updates, w.updates = w.updates, nil
	return updates, w.config, w.err
}

// has checks that a reader is where the store is.
func (r *rig) has(w *reader) (updates []gateway.Update) {
	r.t.Helper()
	updates, config, err := w.take()
	require.NoError(r.t, err)
	require.True(r.t, r.want().Equal(config), "want %v\n got %v", r.want(), config)
	return updates
}

// ended checks that a reader's stream has ended with an error.
func (r *rig) ended(w *reader, want error) {
	r.t.Helper()
	_, _, err := w.take()
	require.ErrorIs(r.t, err, want)
	<-w.done
}

// stands checks that a reader's stream has not ended.
func (r *rig) stands(w *reader) {
	r.t.Helper()
	_, _, err := w.take()
	require.NoError(r.t, err)
	select {
	case <-w.done:
		require.Fail(r.t, "the stream has ended")
	default:
	}
}

type loc = location.Location

// gatewayOf registers a gateway for the office, even if that is gone.
func (r *rig) gatewayOf(name string) gateway.ID {
	r.t.Helper()
	gw, err := r.core.Gateways().Add(r.ctx, vpn.Gateway{Name: name})
	require.NoError(r.t, err)
	require.NoError(r.t, r.stores.Records().Update(r.ctx, "gateway/"+string(gw.ID), func([]byte) ([]byte, error) {
		gw.Locations = []location.ID{r.office.ID}
		return json.Marshal(gw)
	}))
	return gw.ID
}

// revision is where the office is.
func (r *rig) revision() vpn.Revision {
	r.t.Helper()
	v, err := r.stores.Stores.Feed().View(r.ctx, r.office.ID, vpn.Revision{})
	require.NoError(r.t, err)
	return v.Rev
}
