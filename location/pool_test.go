package location_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/location"
)

func addrs(all ...string) []netip.Addr {
	out := make([]netip.Addr, 0, len(all))
	for _, s := range all {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func prefixes(all ...string) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(all))
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func drain(p *location.Pool, ipv6 bool) []netip.Addr {
	var out []netip.Addr
	for a, ok := p.Next(ipv6); ok; a, ok = p.Next(ipv6) {
		out = append(out, a)
	}
	return out
}

func TestPoolGivesAllButNetworkGatewayAndBroadcast(t *testing.T) {
	p := location.NewPool(location.Location{Networks: prefixes("10.0.0.0/29", "fd00::/125")})
	require.Equal(t, addrs("10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"), drain(p, false))
	require.Equal(t, addrs("fd00::2", "fd00::3", "fd00::4", "fd00::5", "fd00::6", "fd00::7"), drain(p, true))
}

func TestPoolSkipsReservedAndChosenGateways(t *testing.T) {
	p := location.NewPool(location.Location{
		Networks: prefixes("10.0.0.0/28"),
		Gateway:  addrs("10.0.0.14"),
		Reserved: prefixes("10.0.0.0/30", "10.0.0.8/30", "10.0.0.10/31"),
	})
	require.Equal(t, addrs("10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.12", "10.0.0.13"), drain(p, false))
}

func TestPoolGoesOnInTheNextNetwork(t *testing.T) {
	p := location.NewPool(location.Location{Networks: prefixes("10.9.0.0/30", "10.1.0.0/30")})
	require.Equal(t, addrs("10.9.0.2", "10.1.0.2"), drain(p, false))
	p.Free(netip.MustParseAddr("10.9.0.2"))
	require.Equal(t, addrs("10.9.0.2"), drain(p, false))
}

func TestPoolGivesOneOfEachFamilyOrNothing(t *testing.T) {
	p := location.NewPool(location.Location{Networks: prefixes("fd00::/64", "10.0.0.0/30")})
	got, ok := p.NextAddrs()
	require.True(t, ok)
	require.Equal(t, addrs("10.0.0.2", "fd00::2"), got)

	_, ok = p.NextAddrs() // IPv4 is used up
	require.False(t, ok)
	a, ok := p.Next(true)
	require.True(t, ok)
	require.Equal(t, netip.MustParseAddr("fd00::3"), a, "the attempt took nothing")

	_, ok = location.NewPool(location.Location{}).NextAddrs()
	require.False(t, ok, "no networks, no addresses")
}

func TestPoolTake(t *testing.T) {
	p := location.NewPool(location.Location{Networks: prefixes("10.0.0.0/24"), Reserved: prefixes("10.0.0.128/25")})
	for a, ok := range map[string]bool{
		"10.0.0.7":   true,
		"10.0.0.200": true, // reserved is not given, but may be asked for
		"10.0.0.0":   false,
		"10.0.0.1":   false, // the gateway
		"10.0.0.255": false,
		"10.0.1.7":   false,
		"fd00::7":    false,
	} {
		require.Equal(t, ok, p.Take(netip.MustParseAddr(a)), a)
		require.False(t, p.Take(netip.MustParseAddr(a)), "%s a second time", a)
	}
	require.False(t, p.Take(netip.Addr{}))
	p.Free(netip.Addr{})
}

// TestPoolAgainstSets compares a pool with the plainest thing that could work.
func TestPoolAgainstSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := location.Location{Networks: prefixes("10.0.0.0/27", "10.0.1.0/29", "fd00::/123")}
		within := rapid.Custom(func(t *rapid.T) netip.Addr {
			n := rapid.SampledFrom(l.Networks).Draw(t, "network")
			a := n.Addr()
			for range rapid.IntRange(0, 33).Draw(t, "offset") { // a little beyond the end
				a = a.Next()
			}
			return a
		})
		for range rapid.IntRange(0, 4).Draw(t, "reserved") {
			a := within.Draw(t, "in")
			r, _ := a.Prefix(a.BitLen() - rapid.IntRange(0, 4).Draw(t, "size"))
			l.Reserved = append(l.Reserved, r)
		}
		if a := within.Draw(t, "gateway"); rapid.Bool().Draw(t, "chosen") {
			l.Gateway = []netip.Addr{a}
		}

		var usable []netip.Addr // what a peer may have, in the order of giving
		for _, g := range l.GatewayAddrs() {
			for a := g.Masked().Addr(); g.Contains(a); a = a.Next() {
				if location.Usable(g.Masked(), a) && a != g.Addr() {
					usable = append(usable, a)
				}
			}
		}
		taken := map[netip.Addr]bool{}
		reserved := func(a netip.Addr) bool {
			return slices.ContainsFunc(l.Reserved, func(r netip.Prefix) bool { return r.Contains(a) })
		}
		lowest := func(ipv6 bool) netip.Addr {
			for _, a := range usable {
				if a.Is6() == ipv6 && !taken[a] && !reserved(a) {
					return a
				}
			}
			return netip.Addr{}
		}

		p := location.NewPool(l)
		t.Repeat(map[string]func(*rapid.T){
			"next": func(t *rapid.T) {
				ipv6 := rapid.Bool().Draw(t, "ipv6")
				want := lowest(ipv6)
				got, ok := p.Next(ipv6)
				require.Equal(t, want.IsValid(), ok)
				require.Equal(t, want, got)
				taken[got] = ok
			},
			"take": func(t *rapid.T) {
				a := within.Draw(t, "address")
				want := slices.Contains(usable, a) && !taken[a]
				require.Equal(t, want, p.Take(a), a)
				taken[a] = taken[a] || want
			},
			"free": func(t *rapid.T) {
				a := within.Draw(t, "address")
				p.Free(a)
				delete(taken, a)
			},
		})
	})
}

// What was freed once is remembered once, however often it comes and goes.
func TestPoolDoesNotGrowByUse(t *testing.T) {
	p := location.NewPool(location.Location{Networks: prefixes("10.0.0.0/24")})
	a, _ := p.Next(false)
	_, _ = p.Next(false)
	require.Zero(t, testing.AllocsPerRun(10_000, func() {
		p.Free(a)
		p.Take(a)
	}))
}

// A reserved half of the network costs one jump; walking it would cost 65,534
// steps for the /15, and would never end for the /64.
func TestPoolJumpsOverReserved(t *testing.T) {
	p := location.NewPool(location.Location{
		Networks: prefixes("10.0.0.0/15", "fd00::/64"),
		Reserved: prefixes("10.0.0.0/16", "fd00::/65"),
	})
	got, ok := p.NextAddrs()
	require.True(t, ok)
	require.Equal(t, addrs("10.1.0.0", "fd00::8000:0:0:0"), got)
}

// The next free address costs the same with 1,000 and with 100,000 taken.
func BenchmarkPoolNext(b *testing.B) {
	for _, network := range []string{"10.0.0.0/15", "fd00::/64"} {
		for _, taken := range []int{1_000, 100_000} {
			b.Run(fmt.Sprintf("%s/taken=%d", network[:4], taken), func(b *testing.B) {
				p := location.NewPool(location.Location{Networks: prefixes(network)})
				ipv6 := network[0] == 'f'
				var all []netip.Addr
				for range taken {
					a, _ := p.Next(ipv6)
					all = append(all, a)
				}
				i := 0
				for b.Loop() {
					if _, ok := p.Next(ipv6); !ok {
						b.Fatal("no room")
					}
					p.Free(all[i%taken]) // so that the number of taken stays
					i += 7
				}
			})
		}
	}
}
