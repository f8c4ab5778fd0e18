package gateway_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
)

// asked is a device that takes a second for each plan, and keeps what it was asked to
// tell of, and what it was made to have by then.
type asked struct {
	*memdevice.Device
	asked, had chan gateway.Interface
}

func (a asked) Apply(ctx context.Context, p gateway.Plan) error {
	time.Sleep(time.Second)
	return a.Device.Apply(ctx, p)
}

// Own implements gateway.Owner.
func (a asked) Own(ctx context.Context, i gateway.Interface) <-chan []netip.Addr {
	var s gateway.State
	_ = a.Open().Observe(ctx, &s)
	a.asked <- i
	a.had <- s.Interface
	return a.Device.Own(ctx, i)
}

// What the machine owns is asked when what is sent can leave from there, and not before:
// a takeover in between would have clients roam to another address.
func TestWhoOwnsIsAskedOnceTheDeviceIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := gatewaytest.NewPlane()
		plane.Assign("gw1", office)
		c := gatewaytest.Config(1)
		c.Interface.Floating, c.Interface.Mark = []netip.Addr{floating}, 77
		plane.Put(office, c)
		d := asked{memdevice.New(), make(chan gateway.Interface, 10), make(chan gateway.Interface, 10)}
		b := newBench(t, plane, "gw1", d.Device)
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{ID: "gw1", Location: office, Device: d, Plane: b.link})
		require.NoError(t, err)
		b.Reconciler = r
		b.start()
		defer b.stop()
		second := netip.MustParseAddr("203.0.113.11")
		for _, change := range []func(){
			func() {},
			func() { c.Interface.Floating = []netip.Addr{floating, second} },
			func() { c.Interface.Mark = 78 },
		} {
			change()
			plane.Put(office, c)
			b.after(5 * time.Second)
			require.Len(t, d.asked, 1, "it is asked once for each interface")
			asked, had := <-d.asked, <-d.had
			require.Equal(t, c.Interface.Floating, asked.Floating)
			require.Equal(t, c.Interface.Mark, asked.Mark)
			require.Equal(t, asked.Floating, had.Floating, "asked before the device was made so")
			require.Equal(t, asked.Mark, had.Mark)
		}
		c.Interface.Floating = nil
		plane.Put(office, c)
		b.after(5 * time.Second)
		require.Empty(t, d.asked)
	})
}
