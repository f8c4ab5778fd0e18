// Package gatewaytest holds the contract of package gateway as running code.
//
// [RunDevice] checks a gateway.Device, [RunControlPlane] a transport that
// carries a gateway.ControlPlane, [RunWire] what such a transport does when it is
// cut, [RunOrigin] a control plane itself. [Plane] is
// a small control plane that tests drive; [Keys], [Interface] and [Peers] are
// sample values, [RandomConfig] and [RandomPlan] random ones.
package gatewaytest

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// PrivateKey returns the n-th private key of a fixed series.
func PrivateKey(n int) wgkey.Private { return wgkey.PrivateFrom(digest("private", n)) }

// PresharedKey returns the n-th preshared key of a fixed series.
func PresharedKey(n int) wgkey.Preshared { return wgkey.PresharedFrom(digest("preshared", n)) }

// Keys returns the public keys of PrivateKey(1) to PrivateKey(n), in that
// order, which is not key order.
func Keys(n int) []wgkey.Public {
	keys := make([]wgkey.Public, n)
	for i := range keys {
		keys[i] = PrivateKey(i + 1).Public()
	}
	return keys
}

func digest(what string, n int) [wgkey.Size]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte("holdfast/gatewaytest/"+what), uint64(n)))
}

// Interface returns a valid interface: 10.20.0.1/16 and fd20::1/64, port 51820.
// Its key is PrivateKey(0).
func Interface() gateway.Interface {
	return gateway.Interface{
		Key:        PrivateKey(0),
		Port:       51820,
		Addrs:      Prefixes("10.20.0.1/16", "fd20::1/64"),
		MTU:        1420,
		Masquerade: Prefixes("10.20.0.0/16", "fd20::/64"),
	}
}

// Peers returns Peer(1) to Peer(n) in key order.
func Peers(n int) []gateway.Peer {
	out := make([]gateway.Peer, n)
	for i := range out {
		out[i] = Peer(i + 1)
	}
	slices.SortFunc(out, func(a, b gateway.Peer) int { return a.Key.Compare(b.Key) })
	return out
}

// Peer returns the n-th of a fixed series of valid peers, n from 1 on. It has one
// IPv4 address, counted up from 10.20.1.1, and one IPv6 address, from fd20::101.
// The private keys of the first 32 are PrivateKey(n); those of the others are
// nobody's, since working out public keys takes time.
func Peer(n int) gateway.Peer {
	const pairs = 32
	key := wgkey.Public(digest("public", n))
	if n <= pairs {
		key = PrivateKey(n).Public()
	}
	n += 256
	v4 := netip.AddrFrom4([4]byte{10, 20 + byte(n>>16), byte(n >> 8), byte(n)})
	v6 := netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x20, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)})
	return gateway.Peer{Key: key, AllowedIPs: []netip.Prefix{netip.PrefixFrom(v4, 32), netip.PrefixFrom(v6, 128)}}
}

// Config returns a valid configuration with n peers, at a revision.
func Config(n int) gateway.Config {
	return gateway.Config{
		Revision:  gateway.Revision{Epoch: 0xa1, Number: 1},
		Interface: Interface(),
		Peers:     Peers(n),
	}
}

// Prefixes parses prefixes that are written in a test, and panics on nonsense.
func Prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}
