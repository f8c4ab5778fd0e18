package location_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/location"
)

func TestParsePrefix(t *testing.T) {
	for _, s := range []string{"10.20.0.0/16", "0.0.0.0/0", "::/0", "fd20::/64", "10.0.0.1/32", "2001:db8::1/128"} {
		p, err := location.ParsePrefix(s)
		require.NoError(t, err)
		require.Equal(t, s, p.String())
	}
	for s, want := range map[string]string{
		"10.20.0.5/16":          `prefix "10.20.0.5/16" has bits set beyond its length: write 10.20.0.0/16 for the network, or 10.20.0.5/32 for the one address`,
		"fd20::1/64":            "write fd20::/64 for the network, or fd20::1/128",
		"10.20.0.5":             "has no length: write 10.20.0.5/32 for this one address",
		"fd20::5":               "write fd20::5/128",
		"::ffff:10.0.0.0/104":   "is IPv4 written as IPv6",
		"::ffff:10.0.0.1":       "is not a prefix",
		"fe80::%eth0/64":        "is not a prefix",
		"10.20.0.0/33":          "is not a prefix: write it like 10.20.0.0/16 or fd20::/64",
		"10.20.0.0/-1":          "is not a prefix",
		"10.20.0.0/016":         "is not a prefix",
		"10.20.0/16":            "is not a prefix",
		"":                      "is not a prefix",
		"10.20.0.0/16\t":        "is not a prefix",
		"10.20.0.0/16\nx":       `"10.20.0.0/16\nx"`,
		"10.20.0.0/255.255.0.0": "is not a prefix",
	} {
		_, err := location.ParsePrefix(s)
		require.ErrorContains(t, err, want, s)
		require.ErrorContains(t, err, "location: ")
	}
}

func FuzzParsePrefix(f *testing.F) {
	for _, s := range []string{"10.20.0.0/16", "fd20::/64", "10.20.0.5/16", "::ffff:1.2.3.4/120", "fe80::1%x/64", "0.0.0.0/0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := location.ParsePrefix(s)
		if err != nil {
			require.Equal(t, netip.Prefix{}, p)
			return
		}
		require.Equal(t, p, p.Masked())
		require.True(t, p.IsValid())
		again, err := location.ParsePrefix(p.String())
		require.NoError(t, err)
		require.Equal(t, p, again)
		first, last := location.Range(p)
		require.True(t, p.Contains(first) && p.Contains(last))
		require.False(t, p.Contains(first.Prev()) || p.Contains(last.Next()))
	})
}

// anyPrefix draws masked prefixes close enough to one another that some overlap.
func anyPrefix() *rapid.Generator[netip.Prefix] {
	return rapid.Custom(func(t *rapid.T) netip.Prefix {
		b := rapid.SliceOfN(rapid.Uint8Range(0, 3), 4, 4).Draw(t, "bytes")
		if rapid.Bool().Draw(t, "ipv6") {
			a := netip.AddrFrom16([16]byte{0xfd, 15: b[3], 14: b[2], 1: b[1]})
			p, _ := a.Prefix(rapid.SampledFrom([]int{0, 8, 16, 112, 119, 120, 126, 127, 128}).Draw(t, "bits"))
			return p
		}
		p, _ := netip.AddrFrom4([4]byte(b)).Prefix(rapid.IntRange(0, 32).Draw(t, "bits"))
		return p
	})
}

func TestRangeContainsAndOverlapAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := anyPrefix().Draw(t, "p"), anyPrefix().Draw(t, "q")
		first, last := location.Range(p)
		from, to := location.Range(q)
		family := p.Addr().BitLen() == q.Addr().BitLen()
		require.Equal(t, family && first.Compare(from) <= 0 && to.Compare(last) <= 0, location.Contains(p, q))
		require.Equal(t, family && first.Compare(to) <= 0 && from.Compare(last) <= 0, p.Overlaps(q))
		require.Equal(t, p.Overlaps(q), location.Contains(p, q) || location.Contains(q, p), "prefixes are nested or apart")
	})
}

func TestContainsAndRangeOfNothing(t *testing.T) {
	none := netip.Prefix{}
	all := netip.MustParsePrefix("0.0.0.0/0")
	require.False(t, location.Contains(none, none))
	require.False(t, location.Contains(all, none))
	require.False(t, location.Contains(none, all))
	first, last := location.Range(none)
	require.False(t, first.IsValid() || last.IsValid())
	first, last = location.Range(netip.MustParsePrefix("10.1.2.3/16"))
	require.Equal(t, "10.1.0.0 10.1.255.255", first.String()+" "+last.String(), "also of an unmasked one")
}

func TestUsable(t *testing.T) {
	for _, c := range []struct {
		network, addr string
		want          bool
	}{
		{"10.0.0.0/24", "10.0.0.0", false},
		{"10.0.0.0/24", "10.0.0.1", true},
		{"10.0.0.0/24", "10.0.0.254", true},
		{"10.0.0.0/24", "10.0.0.255", false},
		{"10.0.0.0/24", "10.0.1.1", false},
		{"10.0.0.0/30", "10.0.0.2", true},
		{"fd00::/64", "fd00::", false},
		{"fd00::/64", "fd00::ffff:ffff:ffff:ffff", true},
		{"fd00::/64", "fd00:0:0:1::1", false},
		{"fd00::/64", "fd00::1%eth0", false},
		{"fd00::/64", "10.0.0.1", false},
	} {
		require.Equal(t, c.want, location.Usable(netip.MustParsePrefix(c.network), netip.MustParseAddr(c.addr)), "%s in %s", c.addr, c.network)
	}
	require.False(t, location.Usable(netip.Prefix{}, netip.Addr{}))
}

func TestGatewayAddrs(t *testing.T) {
	l := location.Location{
		Networks: prefixes("10.20.0.0/16", "fd20::/64", "10.9.0.0/24"),
		Gateway:  addrs("10.9.0.77", "fd20::ffff"),
	}
	require.Equal(t, prefixes("10.20.0.1/16", "fd20::ffff/64", "10.9.0.77/24"), l.GatewayAddrs())

	// Rows that Validate refuses give less, and never panic.
	l = location.Location{Networks: append(prefixes("10.0.0.1/32", "10.0.0.0/31", "::/0", "255.255.255.255/32"), netip.Prefix{})}
	require.Equal(t, prefixes("::1/0"), l.GatewayAddrs())
	require.Empty(t, location.Location{}.GatewayAddrs())
}
