package location_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/location/locationtest"
	"github.com/holdfastvpn/holdfast/vpn/seal"
)

// A location needs a name, a network and what clients dial.
func ExampleService_Create() {
	ctx := context.Background()
	s, err := location.NewService(location.ServiceConfig{Store: locationtest.NewStore(), Keys: seal.Ephemeral()})
	if err != nil {
		panic(err)
	}
	l, err := s.Create(ctx, location.Location{
		Name: "office", Host: "vpn.example.org",
		Networks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd20::/64")},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Name, l.Port, l.MTU, l.GatewayAddrs())

	_, err = s.Create(ctx, location.Location{
		Name: "branch", Host: "vpn.example.org", Networks: []netip.Prefix{netip.MustParsePrefix("10.20.7.0/24")},
	})
	fmt.Println(err)
	// Output:
	// office 51820 1420 [10.20.0.1/16 fd20::1/64]
	// location: create "branch": location: networks overlap another location's: Networks[0]: 10.20.7.0/24 overlaps 10.20.0.0/16 of location "office": choose another network, or set AllowOverlap
}

func ExampleParsePrefix() {
	_, err := location.ParsePrefix("10.20.0.5/16")
	fmt.Println(err)
	// Output: location: prefix "10.20.0.5/16" has bits set beyond its length: write 10.20.0.0/16 for the network, or 10.20.0.5/32 for the one address
}

func ExamplePool() {
	p := location.NewPool(location.Location{
		Networks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24"), netip.MustParsePrefix("fd20::/64")},
		Reserved: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/28")},
	})
	for range 2 {
		fmt.Println(p.NextAddrs())
	}
	// Output:
	// [10.20.0.16 fd20::2] true
	// [10.20.0.17 fd20::3] true
}
