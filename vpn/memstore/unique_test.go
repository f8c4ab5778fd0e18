package memstore_test

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// proves P10: sixteen cores on one store, each adding devices and all of them
// wanting the same route and the same static address, give nothing twice.
func TestCoresOnOneStoreGiveNothingTwice(t *testing.T) {
	const cores, each = 16, 25
	stores, keys := memstore.New(), seal.Ephemeral()
	core := func() *vpn.Core {
		c, err := vpn.New(vpn.Config{Stores: stores, Keys: keys})
		require.NoError(t, err)
		return c
	}
	office, err := core().Locations().Create(t.Context(), location.Location{
		Name: "office", Host: "vpn.example.org",
		Networks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd20::/64")},
	})
	require.NoError(t, err)

	var wg sync.WaitGroup
	var mu sync.Mutex
	won := map[string]int{}
	race := func(what string, err error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			won[what]++
		case !errors.Is(err, peer.ErrAddressTaken):
			t.Errorf("%s: %v", what, err)
		}
	}
	for n := range cores {
		c := core()
		wg.Go(func() {
			add := func(name string, p peer.Place) error {
				p.Location = office.ID
				_, err := c.Devices().Add(t.Context(), peer.NewDevice{
					Name: name, Key: wgkey.NewPrivate().Public(), Places: []peer.Place{p},
				})
				return err
			}
			for i := range each {
				if err := add(fmt.Sprintf("device-%d-%d", n, i), peer.Place{}); err != nil {
					t.Error(err)
				}
			}
			// Wider and narrower than one another, so that all of them overlap.
			wide := netip.PrefixFrom(netip.MustParseAddr("172.16.0.0"), 12+n%8)
			race("route", add(fmt.Sprintf("router-%d", n), peer.Place{Routes: []netip.Prefix{wide}}))
			race("address", add(fmt.Sprintf("static-%d", n), peer.Place{Addrs: []netip.Addr{netip.MustParseAddr("10.20.99.9")}}))
		})
	}
	wg.Wait()
	require.Equal(t, map[string]int{"route": 1, "address": 1}, won)

	devices, err := stores.Devices().List(t.Context(), peer.Filter{Location: office.ID})
	require.NoError(t, err)
	require.Len(t, devices, cores*each+2)
	owner := map[netip.Prefix]peer.DeviceID{}
	for _, d := range devices {
		p, _ := d.At(office.ID)
		require.NotEmpty(t, p.Addrs)
		for _, a := range p.AllowedIPs() {
			require.Empty(t, owner[a], "%v belongs to two", a)
			owner[a] = d.ID
		}
	}
}
