//go:build linux

package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// The comparison that scenarios rest on has to see each difference by itself.
func TestSameSeesEveryDifference(t *testing.T) {
	key, psk := wgkey.NewPrivate(), wgkey.NewPreshared()
	addr, route := netip.MustParsePrefix("10.20.0.2/32"), netip.MustParsePrefix("172.16.0.0/24")
	want := gateway.Config{
		Interface: gateway.Interface{
			Key: key, Port: 51820, MTU: 1420, Mark: 7,
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.20.0.1/16")}, Masquerade: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")},
		},
		Peers: []gateway.Peer{{
			Key: key.Public(), Preshared: psk, Keepalive: time.Second, AllowedIPs: []netip.Prefix{addr, route},
		}},
	}
	right := func() gateway.State {
		return gateway.State{
			Exists: true, Up: true, Filtered: true, Forwarding: true, Interface: want.Interface,
			Routes: []netip.Prefix{route},
			Peers: []gateway.PeerState{{
				Key: key.Public(), Preshared: psk, Keepalive: time.Second, AllowedIPs: []netip.Prefix{addr, route},
			}},
		}
	}
	require.NoError(t, same(want, right()))

	for name, spoil := range map[string]func(*gateway.State){
		"absent":         func(s *gateway.State) { s.Exists = false },
		"down":           func(s *gateway.State) { s.Up = false },
		"no filter":      func(s *gateway.State) { s.Filtered = false },
		"no forwarding":  func(s *gateway.State) { s.Forwarding = false },
		"other key":      func(s *gateway.State) { s.Interface.Key = wgkey.NewPrivate() },
		"other port":     func(s *gateway.State) { s.Interface.Port++ },
		"other MTU":      func(s *gateway.State) { s.Interface.MTU++ },
		"other mark":     func(s *gateway.State) { s.Interface.Mark++ },
		"other address":  func(s *gateway.State) { s.Interface.Addrs = nil },
		"no masquerade":  func(s *gateway.State) { s.Interface.Masquerade = nil },
		"no route":       func(s *gateway.State) { s.Routes = nil },
		"no peer":        func(s *gateway.State) { s.Peers = nil },
		"another peer":   func(s *gateway.State) { s.Peers[0].Key = wgkey.NewPrivate().Public() },
		"one peer more":  func(s *gateway.State) { s.Peers = append(s.Peers, gateway.PeerState{}) },
		"other psk":      func(s *gateway.State) { s.Peers[0].Preshared = wgkey.Preshared{} },
		"other interval": func(s *gateway.State) { s.Peers[0].Keepalive = 0 },
		"fewer prefixes": func(s *gateway.State) { s.Peers[0].AllowedIPs = []netip.Prefix{addr} },
	} {
		s := right()
		spoil(&s)
		require.Error(t, same(want, s), name)
	}
}
