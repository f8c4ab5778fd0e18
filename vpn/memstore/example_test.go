package memstore_test

import (
	"context"
	"fmt"

	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/seal"
)

// Two cores on one backend: what one writes, the other knows.
func Example() {
	ctx := context.Background()
	stores, keys := memstore.New(), seal.Ephemeral()
	one, err := vpn.New(vpn.Config{Stores: stores, Keys: keys})
	other, err2 := vpn.New(vpn.Config{Stores: stores, Keys: keys})
	if err != nil || err2 != nil {
		fmt.Println(err, err2)
		return
	}
	_, err = one.Gateways().Add(ctx, vpn.Gateway{Name: "gw1"})
	list, err2 := other.Gateways().List(ctx)
	fmt.Println(err, err2, list[0].Name)
	// Output: <nil> <nil> gw1
}
