package gateway_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

// proves P9: a gateway goes on with whichever core is there, at once when one
// comes, however long there was none.
func TestPlanesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := gatewaytest.NewPlane()
		first.Assign("gw1", office)
		first.Put(office, gatewaytest.Config(3))
		second := first.Twin()
		pool := gateway.NewPool()
		c := &cores{bench: &bench{t: t, plane: first, device: memdevice.New(), steps: &steps{}}}
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{ID: "gw1", Location: office, Device: c.device, Plane: pool})
		require.NoError(t, err)
		c.Reconciler = r
		c.start()
		c.after(time.Hour)
		require.True(t, r.Status().Applied.IsZero())
		require.Empty(t, pool.Names())

		one, two := memtransport.New(first), memtransport.New(second)
		pool.Put("core1", one)
		require.Less(t, c.grow(10), 100*time.Millisecond, "the first core has come")
		pool.Put("core2", two)
		require.Equal(t, []string{"core1", "core2"}, pool.Names())
		one.Cut()
		pool.Drop("core1", one)
		require.Less(t, c.grow(11), 2*time.Second, "another core is there")
		pool.Drop("core2", one) // not what it is now
		require.Equal(t, []string{"core2"}, pool.Names())

		two.Cut()
		pool.Drop("core2", two)
		c.after(time.Hour)
		require.Empty(t, pool.Names())
		again := memtransport.New(first)
		pool.Put("core1", again)
		require.Less(t, c.grow(12), 100*time.Millisecond, "the first core has come again")
		c.after(5 * time.Second)
		require.NotEmpty(t, first.Last("gw1", office).Backend, "reports go to the new link")
		c.stop()
	})
}
