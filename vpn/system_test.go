package vpn_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// machine is a gateway with links to some cores.
type machine struct {
	id     gateway.ID
	device *memdevice.Device
	rec    *gateway.Reconciler
	links  []*memtransport.Link
}

// machine starts a gateway of the office that knows these cores.
func (r *rig) machine(name string, cores ...*vpn.Core) *machine {
	r.t.Helper()
	m := &machine{id: r.gateway(name), device: memdevice.New()}
	var planes []gateway.ControlPlane
	for _, c := range cores {
		l := memtransport.New(c)
		m.links = append(m.links, l)
		planes = append(planes, l)
	}
	var err error
	m.rec, err = gateway.NewReconciler(gateway.ReconcilerConfig{
		ID: m.id, Location: gateway.LocationID(r.office.ID), Device: m.device, Plane: gateway.Planes(planes...), Version: "1.2.3",
	})
	require.NoError(r.t, err)
	go func() {
		if err := m.rec.Run(r.ctx); err != nil {
			r.t.Error(err)
		}
	}()
	return m
}

// right checks that a device is what Project says.
func (r *rig) right(m *machine) {
	r.t.Helper()
	var s gateway.State
	require.NoError(r.t, m.device.Observe(r.ctx, &s))
	want := r.want()
	require.Empty(r.t, gateway.Diff(want, s))
	require.Len(r.t, s.Peers, len(want.Peers))
	for i, p := range want.Peers { // peer by peer, whatever Diff thinks
		require.Equal(r.t, p.Key, s.Peers[i].Key)
		require.Equal(r.t, p.AllowedIPs, s.Peers[i].AllowedIPs)
	}
	require.Equal(r.t, want.Revision, m.rec.Status().Applied)
}

// change does something to the office by way of a core's services.
func (r *rig) change(core *vpn.Core, pick chooser, have *[]peer.DeviceID) {
	r.t.Helper()
	var err error
	switch n := pick(10); {
	case n < 5 || len(*have) == 0:
		var d peer.Device
		place := peer.Place{Location: r.office.ID}
		if i := len(*have); pick(4) == 0 {
			place.Routes = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(i / 256), byte(i), 0}), 24)}
		}
		d, err = core.Devices().Add(r.ctx, peer.NewDevice{
			Name: fmt.Sprint("device ", pick(1000)), Key: wgkey.NewPrivate().Public(), Places: []peer.Place{place},
		})
		if err == nil {
			*have = append(*have, d.ID)
		} else if place.Routes != nil {
			err = nil // taken by one that was there before
		}
	case n < 7:
		i := pick(len(*have))
		err = core.Devices().Delete(r.ctx, (*have)[i])
		*have = append((*have)[:i], (*have)[i+1:]...)
	case n < 9:
		_, err = core.Devices().Update(r.ctx, (*have)[pick(len(*have))], func(d *peer.Device) error {
			d.Disabled = !d.Disabled
			return nil
		})
	default:
		_, err = core.Locations().Update(r.ctx, r.office.ID, func(l *location.Location) error {
			l.MTU, l.Inner = 1280+pick(100), []location.Inner{location.SNAT, location.Routed}[pick(2)]
			return nil
		})
	}
	require.NoError(r.t, err)
}

// Two gateways, two cores, one store, 200 changes: the same everywhere.
//
// proves P1: both gateways have the same revision, and the same peers.
func TestTwoGatewaysOfTwoCoresConverge(t *testing.T) {
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			pick := chooser(rand.New(rand.NewPCG(seed, 2)).IntN)
			r := newRig(t)
			cores := []*vpn.Core{r.core, r.newCore("core2", r.stores)}
			for _, c := range cores {
				r.run(c)
			}
			machines := []*machine{r.machine("gw1", cores...), r.machine("gw2", cores[1], cores[0])}
			var have []peer.DeviceID
			for range 200 {
				r.change(cores[pick(2)], pick, &have)
				time.Sleep(time.Duration(pick(50)) * time.Millisecond)
				if pick(20) == 0 { // a link is cut for a while
					l := machines[pick(2)].links[pick(2)]
					l.Cut()
					time.AfterFunc(time.Duration(pick(5000))*time.Millisecond, l.Heal)
				}
			}
			rev := r.revision()
			time.Sleep(15 * time.Second) // links heal, and gateways dare to try again
			ctx, cancel := context.WithTimeout(r.ctx, time.Second)
			defer cancel()
			for _, c := range cores {
				require.NoError(t, c.Wait(ctx, r.office.ID, rev))
			}
			for _, m := range machines {
				r.right(m)
			}
			for _, c := range cores {
				o, err := c.Overview(r.ctx)
				require.NoError(t, err)
				for _, g := range o.Locations[0].Gateways {
					require.True(t, g.Connected, "%+v", g)
					require.Equal(t, rev, g.Applied)
					require.Zero(t, g.Behind)
				}
			}
		})
	}
}

// A core that stops, cleanly or with its store gone, costs nothing that was
// acknowledged.
//
// proves P9: its gateways go on at the other core within a second.
func TestGatewaysGoOnAtAnotherCore(t *testing.T) {
	for name, lose := range map[string]func(first *flaky, stop func()){
		"it stops":         func(_ *flaky, stop func()) { stop() },
		"its store fails":  func(first *flaky, _ func()) { first.fail(errDisk) },
		"its store hangs":  func(first *flaky, _ func()) { first.set(func(f *flaky) { f.hung = make(chan struct{}) }) },
		"its views go bad": func(first *flaky, _ func()) { first.set(func(f *flaky) { f.badViews = true }) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				mine := &flaky{Stores: r.stores.Stores} // the first core's own way to the store
				first, second := r.newCore("first", mine), r.newCore("second", r.stores)
				stop := r.run(first)
				r.run(second)
				machines := []*machine{r.machine("gw1", first, second), r.machine("gw2", first, second)}
				for n := range 10 {
					r.add(n)
				}
				time.Sleep(5 * time.Second)
				for _, m := range machines {
					r.right(m)
				}
				lose(mine, stop)
				r.add(10)
				r.drop(3)
				rev := r.revision()
				time.Sleep(1500 * time.Millisecond)
				for _, m := range machines {
					r.right(m)
				}
				require.NoError(t, second.Wait(r.ctx, r.office.ID, rev))
				mine.set(func(f *flaky) { // let go of what hangs, so that the bubble can end
					if f.hung != nil {
						close(f.hung)
						f.hung = nil
					}
				})
			})
		})
	}
}

// What gateways see of a peer is put together, wherever they report.
func TestTheCarrierIsTheOneWithTheNewestHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		other := r.newCore("core2", r.stores)
		r.run(r.core)
		r.run(other)
		one, two := r.machine("gw1", r.core), r.machine("gw2", other) // no core hears both
		r.add(1)
		time.Sleep(3 * time.Second)
		require.True(t, one.device.Hear(key(1), memdevice.Traffic{
			Rx: 5000, Tx: 700, Handshake: time.Now(), Endpoint: netip.MustParseAddrPort("192.0.2.1:1001"),
		}))
		time.Sleep(10 * time.Second)
		carrier := func(c *vpn.Core) vpn.PeerOverview {
			o, err := c.Overview(r.ctx)
			require.NoError(t, err)
			require.Equal(t, 2, o.Locations[0].Connected)
			return o.Locations[0].Peers[0]
		}
		for _, c := range []*vpn.Core{r.core, other} {
			p := carrier(c)
			require.Equal(t, one.id, p.Carrier)
			require.Equal(t, "gw1", p.CarrierName)
			require.True(t, p.Active)
			require.InDelta(t, 10, time.Duration(p.Handshake).Seconds(), 1.5)
			require.Equal(t, "192.0.2.1:1001", p.Endpoint.String())
		}
		require.True(t, two.device.Hear(key(1), memdevice.Traffic{
			Rx: 1000, Tx: 300, Handshake: time.Now(), Endpoint: netip.MustParseAddrPort("192.0.2.1:1002"),
		}))
		time.Sleep(5 * time.Second)
		for _, c := range []*vpn.Core{r.core, other} {
			p := carrier(c)
			require.Equal(t, "gw2", p.CarrierName)
			require.Equal(t, "192.0.2.1:1002", p.Endpoint.String())
			require.Equal(t, uint64(6000), p.Rx, "over both gateways")
		}
		time.Sleep(vpn.ActiveFor)
		for _, c := range []*vpn.Core{r.core, other} {
			require.False(t, carrier(c).Active)
		}
	})
}
