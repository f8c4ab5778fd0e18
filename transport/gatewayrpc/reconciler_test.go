package gatewayrpc_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
)

// proves P9: a gateway whose link was cut goes on where it was, and has what changed
// when it next asks, within 10 s of the link's return; meanwhile it keeps what it has.
func TestAGatewayGoesOnAfterACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := gatewaytest.NewPlane()
		plane.Assign("gw", "office")
		plane.Put("office", gatewaytest.Config(50))
		w, d := onPipes(t, plane, config{}), memdevice.New()
		ctx, cancel := context.WithCancel(t.Context())
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{ID: "gw", Location: "office", Device: d, Plane: w})
		require.NoError(t, err)
		ended := make(chan error, 1)
		defer cancel()
		go func() { ended <- r.Run(ctx) }()
		is := func(c gateway.Config) {
			t.Helper()
			synctest.Wait()
			var s gateway.State
			require.NoError(t, d.Observe(t.Context(), &s))
			require.Empty(t, gateway.Diff(c, s))
		}
		for range 5 {
			time.Sleep(13 * time.Second) // it asks, and reports
			before := plane.Config("office")
			is(before)
			require.Equal(t, before.Revision, plane.Last("gw", "office").Applied, "what was applied is not reported")
			require.NoError(t, r.Connected())
			w.Cut()
			plane.SetPeer("office", gatewaytest.Peer(200))
			plane.RemovePeer("office", before.Peers[3].Key)
			time.Sleep(time.Minute)
			is(before)
			require.Error(t, r.Connected())
			require.NoError(t, r.Ready(), "that the plane is away is no reason to be unready")
			w.Heal()
		}
		time.Sleep(13 * time.Second) // it asks, and reports
		is(plane.Config("office"))
		cancel()
		require.NoError(t, <-ended)
	})
}
