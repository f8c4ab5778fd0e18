package vpn_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func TestAGatewayFollowsItsLocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		stores := memstore.New()
		core, err := vpn.New(vpn.Config{Stores: stores, Keys: seal.Ephemeral(), ID: "core1"})
		require.NoError(t, err)
		l, err := core.Locations().Create(ctx, location.Location{Name: "office", Host: "vpn.example.org", Networks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}})
		require.NoError(t, err)
		gw, err := core.Gateways().Add(ctx, vpn.Gateway{Name: "gw1", Locations: []location.ID{l.ID}})
		require.NoError(t, err)
		done := make(chan error)
		go func() { done <- core.Run(ctx) }()
		var got []gateway.Update
		go func() {
			for u, err := range core.Watch(ctx, gw.ID, gateway.LocationID(l.ID), vpn.Revision{}) {
				if err != nil {
					t.Error(err)
				}
				got = append(got, u)
			}
		}()
		synctest.Wait()
		require.Len(t, got, 1)
		k := wgkey.NewPrivate().Public()
		_, err = stores.Devices().Update(ctx, "d", func(d *peer.Device) error {
			*d = peer.Device{ID: "d", Name: "laptop", Owner: "ann", Key: k, Peers: []peer.Peer{{Location: l.ID, Addrs: []netip.Addr{netip.MustParseAddr("10.20.0.2")}}}}
			return nil
		})
		require.NoError(t, err)
		synctest.Wait()
		require.Len(t, got, 2)
		now := time.Now()
		require.NoError(t, core.Report(ctx, gw.ID, gateway.LocationID(l.ID), gateway.Status{
			Epoch: 1, Applied: got[1].To, Full: true, Ready: true, Backend: "userspace", Seen: []gateway.Sighting{{Key: k, Heard: now, Handshake: now, Rx: 3000, Tx: 40, Endpoint: netip.MustParseAddrPort("192.0.2.1:9")}},
		}))
		require.NoError(t, core.Wait(ctx, l.ID, got[1].To))
		o, err := core.Overview(ctx)
		require.NoError(t, err)
		require.NoError(t, o.WriteText(t.Output()))
		cancel()
		require.NoError(t, <-done)
		synctest.Wait()
	})
}
