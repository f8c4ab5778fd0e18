//go:build linux

package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/snapshot"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
	"github.com/holdfastvpn/holdfast/transport/statedir"
)

// box is a machine with a state directory, a namespace, and a way to its plane.
type box struct {
	*gateway.Process

	t     *testing.T
	host  *testnet.Host
	plane *gatewaytest.Plane
	link  *memtransport.Link
	path  string
	stop  func()
}

func (b *box) open(context.Context, gateway.LocationID) (gateway.Device, error) {
	return wgdevice.Open(wgdevice.Config{
		Name: "wg0", NetNS: fmt.Sprintf("/proc/self/fd/%d", int(b.host.NS())), Backend: wgdevice.Userspace,
	})
}

// start starts the gateway's process.
func (b *box) start() {
	b.t.Helper()
	dir, err := statedir.Open(b.path)
	require.NoError(b.t, err)
	store, err := snapshot.New(snapshot.Config{Gateway: "gw1", Files: dir})
	require.NoError(b.t, err)
	b.Process, err = gateway.NewProcess(gateway.ProcessConfig{ID: "gw1", Plane: b.link, Open: b.open, Keeper: store})
	require.NoError(b.t, err)
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(b.t, <-done)
		require.NoError(b.t, dir.Close())
	})
	b.t.Cleanup(b.stop)
}

// device does something with the interface.
func (b *box) device(do func(d gateway.Device) error) {
	b.t.Helper()
	d, err := b.open(b.t.Context(), "office")
	require.NoError(b.t, err)
	require.NoError(b.t, do(d))
	require.NoError(b.t, d.Close())
}

func (b *box) observe() (s gateway.State) {
	b.t.Helper()
	b.device(func(d gateway.Device) error { return d.Observe(b.t.Context(), &s) })
	return s
}

// becomes waits until the gateway has made the interface as the plane says, and
// tells how long that took.
func (b *box) becomes() time.Duration {
	b.t.Helper()
	began := time.Now()
	want := b.plane.Config("office")
	require.Eventually(b.t, func() bool {
		r := b.Reconciler("office")
		return r != nil && r.Status().Applied == want.Revision && b.Ready() == nil
	}, 20*time.Second, 10*time.Millisecond)
	took := time.Since(began)
	require.Empty(b.t, gateway.Diff(want, b.observe()).String())
	return took
}

// proves P2: interface and process gone, the plane away, on a real system.
func TestARebootInANamespace(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN, testnet.Nftables)
	b := &box{
		t: t, host: testnet.ForTest(t).Host("gw"), plane: gatewaytest.NewPlane(), path: filepath.Join(t.TempDir(), "state"),
	}
	destroy := func(d gateway.Device) error {
		return d.Apply(context.WithoutCancel(t.Context()), gateway.Plan{{Verb: gateway.Destroy}})
	}
	c := gatewaytest.Config(50)
	c.Interface.Destinations, c.Interface.Isolated = gatewaytest.Prefixes("10.60.0.0/16"), true
	c.Peers[3].Preshared, c.Peers[4].Keepalive = gatewaytest.PresharedKey(1), 25*time.Second
	b.plane.Put("office", c)
	b.plane.Assign("gw1", "office")
	b.link = memtransport.New(b.plane)
	b.start()
	t.Cleanup(func() { b.device(destroy) })
	b.becomes()
	before := b.observe()

	b.link.Cut()
	b.stop()
	b.start() // the process alone was gone: what is there is what was kept, and has its revision
	b.becomes()
	require.Equal(t, before, b.observe())
	require.True(t, b.Reconciler("office").Status().Restored)
	b.stop()
	b.device(destroy)
	require.False(t, b.observe().Exists)
	b.start()
	took := b.becomes()
	t.Log("back after", took)
	require.Less(t, took, 5*time.Second)
	require.True(t, b.Reconciler("office").Status().Restored)
	require.Len(t, b.observe().Peers, len(before.Peers))

	b.plane.RemovePeer("office", c.Peers[0].Key)
	b.link.Heal()
	b.becomes()

	b.stop()
	b.plane.Assign("gw1")
	b.start()
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(b.path, "snapshot-office"))
		return errors.Is(err, fs.ErrNotExist)
	}, 20*time.Second, 10*time.Millisecond)
	require.False(t, b.observe().Exists)
}
