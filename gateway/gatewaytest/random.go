package gatewaytest

import (
	"net/netip"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// A random world is small, so that random things meet: the same few keys and
// prefixes, again and again. Its routes lead nowhere that a test could need.
const worldKeys = 7

func worldPrefixes() []netip.Prefix {
	return Prefixes(
		"10.20.1.1/32", "10.20.1.2/32", "10.20.1.3/32", "10.20.4.0/24", "10.21.0.5/32",
		"192.0.2.0/24", "192.0.2.0/25", "198.51.100.7/32",
		"fd20::1:1/128", "fd20::1:2/128", "fd21::/64", "2001:db8:7::/48",
	)
}

// RandomConfig generates valid configurations of a small world, so that two of
// them have much in common. The revision is zero.
func RandomConfig() *rapid.Generator[gateway.Config] {
	keys := Keys(worldKeys)
	slices.SortFunc(keys, wgkey.Public.Compare)
	return rapid.Custom(func(t *rapid.T) gateway.Config {
		c := gateway.Config{Interface: randomInterface().Draw(t, "interface")}
		has := map[wgkey.Public][]netip.Prefix{}
		for _, p := range worldPrefixes() {
			if n := rapid.IntRange(-2, len(keys)-1).Draw(t, "owner of "+p.String()); n >= 0 {
				has[keys[n]] = append(has[keys[n]], p)
			}
		}
		for i, k := range keys {
			if rapid.IntRange(0, 3).Draw(t, "peer") == 0 {
				continue
			}
			c.Peers = append(c.Peers, randomPeer(i, k, has[k]).Draw(t, "row"))
		}
		return c.Canonical()
	})
}

func randomInterface() *rapid.Generator[gateway.Interface] {
	return rapid.Custom(func(t *rapid.T) gateway.Interface {
		i := gateway.Interface{
			Key:  PrivateKey(rapid.IntRange(-1, 0).Draw(t, "key")),
			Port: rapid.Uint16Range(51820, 51822).Draw(t, "port"),
			Addrs: rapid.SampledFrom([][]netip.Prefix{
				Prefixes("10.20.0.1/16", "fd20::1/64"),
				Prefixes("10.20.0.1/16"),
				Prefixes("10.20.0.1/24"),
				Prefixes("fd20::1/64"),
				Prefixes("10.21.0.1/24", "fd20::2/64", "fd21::1/64"),
			}).Draw(t, "addrs"),
			MTU:  rapid.SampledFrom([]int{1280, 1420}).Draw(t, "mtu"),
			Mark: rapid.SampledFrom([]uint32{0, 0x77}).Draw(t, "mark"),
			Masquerade: rapid.SampledFrom([][]netip.Prefix{
				nil, Prefixes("10.20.0.0/16"), Prefixes("10.20.0.0/16", "fd20::/64"),
			}).Draw(t, "masquerade"),
			Destinations: rapid.SampledFrom([][]netip.Prefix{
				nil, nil, Prefixes("10.60.0.0/16"), Prefixes("0.0.0.0/0", "fd60::/63"),
			}).Draw(t, "destinations"),
			Isolated: rapid.Bool().Draw(t, "isolated"),
		}
		inner := innerAddrs()
		i.Inner = rapid.SampledFrom([][]netip.Addr{nil, nil, inner[:1], inner[1:], inner}).Draw(t, "inner")
		all := floatingAddrs()
		i.Floating = rapid.SampledFrom([][]netip.Addr{nil, nil, all[:1], all[1:], {all[0], all[2]}}).Draw(t, "floating")
		if len(i.Floating) > 0 && i.Mark == 0 {
			i.Mark = 0x78
		}
		return i
	})
}

func randomPeer(i int, key wgkey.Public, allowed []netip.Prefix) *rapid.Generator[gateway.Peer] {
	return rapid.Custom(func(t *rapid.T) gateway.Peer {
		p := gateway.Peer{Key: key, AllowedIPs: allowed}
		if n := rapid.IntRange(-2, 1).Draw(t, "preshared"); n >= 0 {
			p.Preshared = PresharedKey(2*i + n)
		}
		p.Keepalive = rapid.SampledFrom([]time.Duration{0, 0, 25 * time.Second, time.Hour}).Draw(t, "keepalive")
		p.Endpoint = rapid.SampledFrom([]netip.AddrPort{
			{}, {}, netip.MustParseAddrPort("192.0.2.99:51820"), netip.MustParseAddrPort("[2001:db8::99]:51820"),
		}).Draw(t, "endpoint")
		return p
	})
}

// RandomPlan generates what somebody else may do to an interface that is there:
// steps in any order, which may steal prefixes, add strangers and forget things.
func RandomPlan() *rapid.Generator[gateway.Plan] {
	keys := append(Keys(worldKeys), PrivateKey(1000).Public())
	step := rapid.Custom(func(t *rapid.T) gateway.Step {
		n := rapid.IntRange(0, len(keys)-1).Draw(t, "key")
		prefix := rapid.SampledFrom(worldPrefixes())
		s := gateway.Step{Verb: rapid.SampledFrom([]gateway.Verb{
			gateway.Remove, gateway.Set, gateway.Set, gateway.Set, gateway.Unroute, gateway.Route, gateway.Configure, gateway.Kick,
		}).Draw(t, "verb")}
		switch s.Verb {
		case gateway.Remove:
			s.Peer.Key = keys[n]
		case gateway.Set:
			allowed := rapid.SliceOfNDistinct(prefix, 0, 4, rapid.ID).Draw(t, "allowed")
			slices.SortFunc(allowed, netip.Prefix.Compare)
			s.Peer = randomPeer(n, keys[n], allowed).Draw(t, "row")
		case gateway.Kick:
			s.Peer = randomPeer(n, keys[n], nil).Draw(t, "row")
		case gateway.Configure:
			s.Interface = randomInterface().Draw(t, "interface")
			s.Fields = gateway.Fields(rapid.Uint16().Draw(t, "fields")) & gateway.FieldsAll &^ gateway.FieldCreate
		default:
			s.Route = prefix.Draw(t, "route")
		}
		return s
	})
	return rapid.Custom(func(t *rapid.T) gateway.Plan {
		return rapid.SliceOfN(step, 0, 6).Draw(t, "steps")
	})
}
