package peer_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// bare is a store that costs the same whatever is in it, and keeps nothing: so
// that what is measured is the Service.
type bare struct {
	peer.Store
	rows []peer.Device
}

func (s *bare) List(context.Context, peer.Filter) ([]peer.Device, error) { return s.rows, nil }

func (s *bare) Update(_ context.Context, _ peer.DeviceID, edit func(*peer.Device) error) (peer.Device, error) {
	var d peer.Device
	return d, edit(&d)
}

// Adding a device costs the same with 1,000 and with 100,000 in the location.
func BenchmarkAdd(b *testing.B) {
	for _, network := range []string{"10.20.0.0/15", "fd20::/64"} {
		for _, devices := range []int{1_000, 100_000} {
			b.Run(fmt.Sprintf("%s/devices=%d", network[:4], devices), func(b *testing.B) {
				w := newWorld(b, network)
				pool := location.NewPool(location.Location{Networks: prefixes(network)})
				store := &bare{}
				for range devices {
					got, _ := pool.NextAddrs()
					store.rows = append(store.rows, peer.Device{Peers: []peer.Peer{{Location: w.office, Addrs: []netip.Addr{got[0]}}}})
				}
				w.store = store
				s := w.service(b)
				n := peer.NewDevice{Name: "laptop", Key: wgkey.Public{1}, Places: []peer.Place{{Location: w.office}}}
				run := func() {
					d, err := s.Add(b.Context(), n)
					if err != nil {
						b.Fatal(err)
					}
					_ = d
				}
				run() // builds the pool
				for b.Loop() {
					run()
				}
			})
		}
	}
}
