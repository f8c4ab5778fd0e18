package gateway_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// One round: look, work out the difference, act.
func Example() {
	want := gateway.Config{
		Interface: gateway.Interface{
			Key:   wgkey.NewPrivate(),
			Port:  51820,
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.20.0.1/16")},
			MTU:   1420,
		},
		Peers: []gateway.Peer{{
			Key:        wgkey.Public{1},
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.20.0.5/32")},
		}},
	}
	if err := want.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	ctx, device := context.Background(), memdevice.New() // wgdevice.Open for a real one
	var have gateway.State
	for range 2 {
		if err := device.Observe(ctx, &have); err != nil {
			fmt.Println(err)
			return
		}
		plan := gateway.Diff(want, have)
		fmt.Printf("%d steps\n%s", len(plan), plan.Only(gateway.Set))
		if err := device.Apply(ctx, plan); err != nil {
			fmt.Println(err)
			return
		}
	}
	// Output:
	// 2 steps
	// set AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 10.20.0.5/32
	// 0 steps
}

// What takes access away comes first.
func ExampleDiff() {
	prefix := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	have := gateway.State{
		Exists: true, Up: true, Filtered: true, Forwarding: true,
		Interface: gateway.Interface{Port: 51820},
		Peers: []gateway.PeerState{
			{Key: wgkey.Public{1}, AllowedIPs: prefix("10.20.0.5/32")},
			{Key: wgkey.Public{2}},
		},
	}
	want := gateway.Config{
		Interface: gateway.Interface{Port: 51820},
		Peers: []gateway.Peer{
			{Key: wgkey.Public{1}},
			{Key: wgkey.Public{3}, AllowedIPs: prefix("10.20.0.5/32")},
		},
	}
	fmt.Print(gateway.Diff(want, have))
	// Output:
	// remove AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
	// set AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= none
	// set AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 10.20.0.5/32
	// route 10.20.0.5/32
}

// A plane sends differences; a gateway adds them up.
func ExampleConfig_Apply() {
	first := gateway.Config{Revision: gateway.Revision{Epoch: 1, Number: 1}, Interface: gateway.Interface{Port: 51820}}
	second := first
	second.Revision.Number++
	second.Peers = []gateway.Peer{{Key: wgkey.Public{1}}}

	update := second.Since(first)
	got, err := first.Apply(update)
	fmt.Println(len(update.Set), got.Equal(second), err)

	_, err = gateway.Config{}.Apply(update)
	fmt.Println(err)
	// Output:
	// 1 true <nil>
	// gateway: apply an update from 0001.1 to a configuration at -: gateway: starts at another revision
}
