package vpn_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// A control plane and a gateway in one process. On a real machine the device is
// one of gateway/wgdevice.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	core := must(vpn.New(vpn.Config{Stores: memstore.New(), Keys: seal.Ephemeral()}))
	office := must(core.Locations().Create(ctx, location.Location{
		Name: "office", Host: "vpn.example.org", Networks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")},
	}))
	gw := must(core.Gateways().Add(ctx, vpn.Gateway{Name: "gw1", Locations: []location.ID{office.ID}}))
	device := memdevice.New()
	rec := must(gateway.NewReconciler(gateway.ReconcilerConfig{
		ID: gw.ID, Location: gateway.LocationID(office.ID), Device: device, Plane: core,
	}))
	var running sync.WaitGroup
	running.Go(func() { _ = core.Run(ctx) })
	running.Go(func() { _ = rec.Run(ctx) })

	laptop := must(core.Devices().Add(ctx, peer.NewDevice{
		Name: "laptop", Owner: "ann", Key: wgkey.NewPrivate().Public(), Places: []peer.Place{{Location: office.ID}},
	}))
	if err := core.Wait(ctx, office.ID, must(core.Revision(ctx, office.ID))); err != nil {
		panic(err)
	}
	var state gateway.State
	fmt.Println(device.Observe(ctx, &state), len(state.Peers), state.Peers[0].AllowedIPs, laptop.Peers[0].Addrs)
	stop()
	running.Wait()
	// Output: <nil> 1 [10.20.0.2/32] [10.20.0.2]
}

// An Overview is data, and a table for terminals.
func ExampleOverview_WriteText() {
	ctx := context.Background()
	core := must(vpn.New(vpn.Config{Stores: memstore.New(), Keys: seal.Ephemeral()}))
	office := must(core.Locations().Create(ctx, location.Location{
		Name: "office", Host: "vpn.example.org", Networks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")},
	}))
	must(core.Gateways().Add(ctx, vpn.Gateway{Name: "gw1", Locations: []location.ID{office.ID}}))
	overview := must(core.Overview(ctx))
	overview.Locations[0].Revision = vpn.Revision{Epoch: 0x9f3c, Number: 1} // its epoch is random
	if err := overview.WriteText(os.Stdout); err != nil {
		panic(err)
	}
	// Output:
	// office  10.20.0.0/16  vpn.example.org:51820  revision 9f3c.1  0/1 gateways, 0 of 0 peers active
	//   GATEWAY  STATE    APPLIED  CARRIES  BACKEND  PROBLEMS
	//   gw1      unknown  -        0        -
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
