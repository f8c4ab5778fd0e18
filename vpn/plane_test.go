package vpn_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// driven lets the suite of control planes drive a core.
type driven struct {
	tb     testing.TB
	core   *vpn.Core
	stores vpn.Stores
	keys   *seal.Keyring
	n      int
	owner  map[wgkey.Public]peer.DeviceID
}

func newDriven(tb testing.TB) *driven {
	tb.Helper()
	d := &driven{tb: tb, stores: memstore.New(), keys: seal.Ephemeral(), owner: map[wgkey.Public]peer.DeviceID{}}
	var err error
	d.core, err = vpn.New(vpn.Config{Stores: d.stores, Keys: d.keys})
	require.NoError(tb, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan error)
	go func() { done <- d.core.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		require.NoError(tb, <-done)
	})
	return d
}

func (d *driven) found() gateway.LocationID {
	d.n++
	l, err := d.core.Locations().Create(d.tb.Context(), location.Location{
		Name: fmt.Sprint("location ", d.n), Host: "vpn.example.org",
		Networks: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(d.n), 0, 0}), 16)},
	})
	require.NoError(d.tb, err)
	return gateway.LocationID(l.ID)
}

func (d *driven) origin() gatewaytest.Origin {
	ctx := d.tb.Context()
	assign := func(id gateway.ID, at ...gateway.LocationID) {
		_, err := d.core.Gateways().Update(ctx, id, func(g *vpn.Gateway) error {
			g.Locations = nil
			for _, l := range at {
				g.Locations = append(g.Locations, location.ID(l))
			}
			return nil
		})
		require.NoError(d.tb, err)
	}
	return gatewaytest.Origin{
		ControlPlane: d.core,
		Found:        d.found,
		Assign:       assign,
		Enrol: func(at ...gateway.LocationID) gateway.ID {
			g, err := d.core.Gateways().Add(ctx, vpn.Gateway{Name: "gateway"})
			require.NoError(d.tb, err)
			assign(g.ID, at...)
			return g.ID
		},
		Move: func(id gateway.ID, addr string) {
			_, err := d.core.Gateways().Update(ctx, id, func(g *vpn.Gateway) error { g.Address = addr; return nil })
			require.NoError(d.tb, err)
		},
		Revoke: func(id gateway.ID) { require.NoError(d.tb, d.core.Gateways().Remove(ctx, id)) },
		Grow: func(at gateway.LocationID) wgkey.Public {
			key := wgkey.NewPrivate().Public()
			added, err := d.core.Devices().Add(ctx, peer.NewDevice{
				Name: "device", Key: key, Places: []peer.Place{{Location: location.ID(at)}},
			})
			require.NoError(d.tb, err)
			d.owner[key] = added.ID
			return key
		},
		Shrink: func(_ gateway.LocationID, key wgkey.Public) {
			require.NoError(d.tb, d.core.Devices().Delete(ctx, d.owner[key]))
		},
		End: func(at gateway.LocationID) {
			require.NoError(d.tb, d.core.Locations().Delete(ctx, location.ID(at)))
		},
		Config: func(at gateway.LocationID) gateway.Config {
			v, err := d.stores.Feed().View(ctx, location.ID(at), vpn.Revision{})
			require.NoError(d.tb, err)
			c, err := vpn.Project(v, d.keys, noon)
			require.NoError(d.tb, err)
			return c
		},
	}
}

func TestACoreIsAControlPlane(t *testing.T) {
	gatewaytest.RunOrigin(t, func(tb testing.TB) gatewaytest.Origin {
		tb.Helper()
		return newDriven(tb).origin()
	})
}

func TestACoreBehindALink(t *testing.T) {
	gatewaytest.RunOrigin(t, func(tb testing.TB) gatewaytest.Origin {
		tb.Helper()
		o := newDriven(tb).origin()
		o.ControlPlane = memtransport.New(o.ControlPlane)
		return o
	})
}

func TestACoreBehindPlanes(t *testing.T) {
	gatewaytest.RunOrigin(t, func(tb testing.TB) gatewaytest.Origin {
		tb.Helper()
		o := newDriven(tb).origin()
		o.ControlPlane = gateway.Planes(o.ControlPlane)
		return o
	})
}
