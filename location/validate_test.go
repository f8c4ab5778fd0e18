package location_test

import (
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/memory"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/location/locationtest"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

type edit = func(*location.Location)

// refused has, for each field, what makes Validate name it: the field as it is
// named, then the edit, then what the reason says. A field that is free to be
// anything has none.
var refused = map[string][]struct {
	field  string
	edit   edit
	reason string
}{
	"ID":  {{"ID", func(l *location.Location) { l.ID = "" }, "Create makes it"}},
	"Rev": nil, // the store's
	"Name": {
		{"Name", func(l *location.Location) { l.Name = "" }, "is empty"},
		{"Name", func(l *location.Location) { l.Name = strings.Repeat("ä", 64) }, "64 characters: use at most 63"},
		{"Name", func(l *location.Location) { l.Name = "a\nb" }, "U+000A"},
		{"Name", func(l *location.Location) { l.Name = "a\u202eb" }, "U+202E"},
		{"Name", func(l *location.Location) { l.Name = " a" }, "begins or ends with a space"},
		{"Name", func(l *location.Location) { l.Name = "a\xff" }, "not UTF-8"},
	},
	"Networks": {
		{"Networks", func(l *location.Location) { l.Networks = nil }, "at least one"},
		{"Networks[1]", networks("10.1.0.0/16", "10.2.0.1/16"), "write 10.2.0.0/16"},
		{"Networks[0]", networks("10.0.0.0/7"), "use /8 to /30"},
		{"Networks[0]", networks("10.0.0.0/31"), "use /8 to /30"},
		{"Networks[0]", networks("fd00::/15"), "use /16 to /126"},
		{"Networks[0]", networks("fd00::/127"), "use /16 to /126"},
		{"Networks[1]", networks("10.1.0.0/16", "10.1.2.0/24"), "overlaps Networks[0], 10.1.0.0/16"},
		{"Networks[1]", networks("10.1.2.0/24", "10.1.0.0/16"), "overlaps Networks[0], 10.1.2.0/24"},
		{"Networks[2]", networks("10.1.0.0/16", "10.2.0.0/16", "10.1.0.0/16"), "overlaps Networks[0]"},
		{"Networks[0]", networks("127.0.0.0/8"), "loopback"},
		{"Networks[0]", networks("224.0.0.0/24"), "multicast"},
		{"Networks[0]", networks("169.254.7.0/24"), "link-local"},
		{"Networks[0]", networks("0.0.0.0/8"), "this host"},
		{"Networks[0]", networks("240.0.0.0/24"), "reserved"},
		{"Networks[0]", networks("fe80::/64"), "link-local"},
		{"Networks[0]", networks("ff02::/64"), "multicast"},
		{"Networks[0]", networks("::/96"), "loopback"},
		{"Networks[0]", func(l *location.Location) { l.Networks[0] = netip.Prefix{} }, "is not a prefix"},
		{"Networks[0]", func(l *location.Location) { l.Networks[0] = netip.MustParsePrefix("::ffff:10.0.0.0/104") }, "write it as IPv4"},
	},
	"Gateway": {
		{"Gateway[0]", gateway("10.9.0.1"), "in none of the Networks"},
		{"Gateway[0]", gateway("10.1.0.0"), "first or last"},
		{"Gateway[0]", gateway("10.1.255.255"), "first or last"},
		{"Gateway[1]", gateway("fd01::1", "fd01::"), "first or last"},
		{"Gateway[1]", gateway("10.1.0.1", "10.1.0.2"), "10.1.0.0/16 has 10.1.0.1"},
		{"Gateway[0]", func(l *location.Location) { l.Gateway[0] = netip.Addr{} }, "in none"},
	},
	"Reserved": {
		{"Reserved[0]", func(l *location.Location) { l.Reserved[0] = netip.MustParsePrefix("10.1.7.1/24") }, "write 10.1.7.0/24"},
		{"Reserved[1]", func(l *location.Location) { l.Reserved[1] = netip.MustParsePrefix("10.2.0.0/24") }, "not inside"},
		{"Reserved[1]", func(l *location.Location) { l.Reserved[1] = netip.MustParsePrefix("10.0.0.0/8") }, "not inside"},
		{"Reserved[0]", func(l *location.Location) { l.Reserved[0] = netip.Prefix{} }, "is not a prefix"},
	},
	"AllowOverlap": nil,
	"Host": {
		{"Host", func(l *location.Location) { l.Host = "" }, "is empty"},
		{"Host", func(l *location.Location) { l.Host = "vpn.example.org:51820" }, "has its own field"},
	},
	"Floating": {
		{"Floating[0]", func(l *location.Location) { l.Floating[0] = netip.Addr{} }, "not an IP address"},
		{"Floating[1]", floating("192.0.2.1", "2001:db8::1%eth0"), "zone"},
		{"Floating[0]", floating("::ffff:192.0.2.1"), "write 192.0.2.1"},
		{"Floating[0]", floating("0.0.0.0"), "not the address of one machine"},
		{"Floating[1]", floating("192.0.2.1", "::"), "not the address of one machine"},
		{"Floating[0]", floating("224.0.0.1"), "not the address of one machine"},
		{"Floating[0]", floating("ff0e::1"), "not the address of one machine"},
		{"Floating[0]", floating("255.255.255.255"), "not the address of one machine"},
		{"Floating[0]", floating("127.0.0.2"), "loopback"},
		{"Floating[0]", floating("::1"), "loopback"},
		{"Floating[0]", floating("169.254.7.7"), "link-local"},
		{"Floating[0]", floating("fe80::1"), "link-local"},
		{"Floating[2]", floating("192.0.2.1", "2001:db8::1", "192.0.2.1"), "there already, as Floating[0]"},
		{"Floating[0]", floating("10.1.7.7"), "inside 10.1.0.0/16"},
		{"Floating[1]", floating("192.0.2.1", "fd01::9"), "inside fd01::/64"},
		{"Floating", func(l *location.Location) { l.Floating = manyAddrs(17) }, "are 17: give at most 16"},
	},
	"InnerFloating": {
		{"InnerFloating[0]", func(l *location.Location) { l.InnerFloating[0] = netip.Addr{} }, "not an IP address"},
		{"InnerFloating[1]", inner("10.60.0.1", "fd60::1%eth0"), "zone"},
		{"InnerFloating[0]", inner("127.0.0.2"), "loopback"},
		{"InnerFloating[0]", inner("10.1.7.7"), "inside 10.1.0.0/16"},
		{"InnerFloating[1]", inner("10.60.0.1", "10.60.0.1"), "there already, as InnerFloating[0]"},
		{"InnerFloating[1]", inner("10.60.0.1", "10.60.0.2"), "a second one of its family, after 10.60.0.1"},
		{"InnerFloating[2]", inner("10.60.0.1", "fd60::1", "fd60::2"), "a second one of its family, after fd60::1"},
		{"InnerFloating[0]", inner("198.51.100.9"), "is in Floating, where clients dial"},
		{"InnerFloating", func(l *location.Location) { l.Inner = location.Carried }, "no use with Inner"},
		{"InnerFloating", floating(), "move with Floating, of which there are none"},
	},
	"Port": {{"Port", func(l *location.Location) { l.Port = 0 }, "1 to 65535"}},
	"MTU": {
		{"MTU", func(l *location.Location) { l.MTU = 1279 }, "1280 to 9000"},
		{"MTU", func(l *location.Location) { l.MTU = 9001 }, "1280 to 9000"},
		{"MTU", func(l *location.Location) { l.MTU = -1420 }, "1280 to 9000"},
	},
	"Mark": {
		{"Mark", func(l *location.Location) { l.Mark = 252 }, "choose another mark, or 0 for one of ours"},
		{"Mark", func(l *location.Location) { l.Mark = 253 }, "the system's own"},
		{"Mark", func(l *location.Location) { l.Mark = 254 }, "the system's own"},
		{"Mark", func(l *location.Location) { l.Mark = 255 }, "the system's own"},
		{"Mark", func(l *location.Location) { l.Mark = math.MaxUint32 }, "which cannot be"},
	},
	"Inner": {{"Inner", func(l *location.Location) { l.Inner = "nat" }, `use "snat", "routed" or "carried"`}},
	"DNS": {
		{"DNS[0]", func(l *location.Location) { l.DNS[0] = netip.Addr{} }, "not the address of a resolver"},
		{"DNS[1]", func(l *location.Location) { l.DNS[1] = netip.IPv6Unspecified() }, "not the address"},
		{"DNS[0]", func(l *location.Location) { l.DNS[0] = netip.MustParseAddr("224.0.0.251") }, "not the address"},
		{"DNS[0]", func(l *location.Location) { l.DNS[0] = netip.MustParseAddr("fe80::1%eth0") }, "zone"},
		{"DNS[0]", func(l *location.Location) { l.DNS[0] = netip.MustParseAddr("::ffff:10.0.0.1") }, "write 10.0.0.1"},
	},
	"Search": {
		{"Search[1]", func(l *location.Location) { l.Search[1] = "" }, "is empty"},
		{"Search[0]", func(l *location.Location) { l.Search[0] = "a b" }, `has the character ' '`},
		{"Search[0]", func(l *location.Location) { l.Search[0] = "10.0.0.1" }, "looks like an IPv4 address"},
	},
	"AllowedIPs": {
		{"AllowedIPs[0]", func(l *location.Location) { l.AllowedIPs[0] = netip.MustParsePrefix("10.0.0.1/8") }, "write 10.0.0.0/8"},
		{"AllowedIPs[1]", func(l *location.Location) { l.AllowedIPs[1] = l.AllowedIPs[0] }, "there already, as AllowedIPs[0]"},
		{"AllowedIPs[1]", func(l *location.Location) { l.AllowedIPs[1] = netip.Prefix{} }, "is not a prefix"},
	},
	"Destinations": {
		{"Destinations[0]", func(l *location.Location) { l.Destinations[0] = netip.MustParsePrefix("10.60.0.1/16") }, "write 10.60.0.0/16"},
		{"Destinations[1]", func(l *location.Location) { l.Destinations[1] = l.Destinations[0] }, "there already, as Destinations[0]"},
		{"Destinations[1]", func(l *location.Location) { l.Destinations[1] = netip.Prefix{} }, "is not a prefix"},
		{"Destinations[0]", func(l *location.Location) { l.Destinations[0] = netip.MustParsePrefix("::ffff:10.0.0.0/104") }, "write it as IPv4"},
		{"Destinations", func(l *location.Location) { l.Destinations = many(257) }, "are 257: give at most 256"},
	},
	"Isolated": nil,
	"ClientKeepalive": {
		{"ClientKeepalive", keepalive(0), "1 to 65535"},
		{"ClientKeepalive", keepalive(-2), "1 to 65535"},
		{"ClientKeepalive", keepalive(-time.Second), "1 to 65535"},
		{"ClientKeepalive", keepalive(1500 * time.Millisecond), "whole seconds"},
		{"ClientKeepalive", keepalive(time.Second / 2), "whole seconds"},
		{"ClientKeepalive", keepalive(65536 * time.Second), "1 to 65535"},
		{"ClientKeepalive", keepalive(math.MaxInt64), "whole seconds"},
	},
	"Disabled":  nil,
	"PublicKey": {{"PublicKey", func(l *location.Location) { l.PublicKey = wgkey.Public{} }, "is zero"}},
	"Key":       {{"Key", func(l *location.Location) { l.Key = "" }, "is empty"}},
}

func networks(all ...string) edit {
	return func(l *location.Location) {
		l.Networks, l.Gateway, l.Reserved = prefixes(all...), nil, nil
	}
}

func gateway(all ...string) edit {
	return func(l *location.Location) { l.Gateway = addrs(all...) }
}

func floating(all ...string) edit {
	return func(l *location.Location) { l.Floating = addrs(all...) }
}

func inner(all ...string) edit {
	return func(l *location.Location) { l.InnerFloating = addrs(all...) }
}

// manyAddrs makes n addresses.
func manyAddrs(n int) (out []netip.Addr) {
	for _, p := range many(n) {
		out = append(out, p.Addr())
	}
	return out
}

// many makes n networks.
func many(n int) []netip.Prefix {
	out := make([]netip.Prefix, n)
	for i := range out {
		out[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), 32)
	}
	return out
}

func keepalive(d time.Duration) edit {
	return func(l *location.Location) { l.ClientKeepalive = d }
}

func TestValidateNamesTheField(t *testing.T) {
	require.NoError(t, locationtest.Full("a").Validate())
	for f := range reflect.TypeFor[location.Location]().Fields() {
		cases, known := refused[f.Name]
		require.True(t, known, "Location.%s: say here what of it Validate refuses", f.Name)
		for _, c := range cases {
			l := locationtest.Full("a")
			c.edit(&l)
			var got *location.FieldError
			require.ErrorAs(t, l.Validate(), &got, "%s: %s", c.field, c.reason)
			require.Equal(t, c.field, got.Field)
			require.Contains(t, got.Reason, c.reason)
			require.Equal(t, got.Field+": "+got.Reason, got.Error())
		}
	}
	require.Len(t, refused, reflect.TypeFor[location.Location]().NumField(), "a field that is not there any more")
}

func TestValidateTakesTheEndsOfEachRange(t *testing.T) {
	for name, edit := range map[string]edit{
		"networks /8 and /16":    networks("10.0.0.0/8", "fd00::/16"),
		"networks /30 and /126":  networks("10.0.0.0/30", "fd00::/126"),
		"neighbours":             networks("10.0.0.0/24", "10.0.1.0/24"),
		"one family":             networks("2001:db8::/64"),
		"no gateway":             func(l *location.Location) { l.Gateway = nil },
		"reserved is everything": func(l *location.Location) { l.Reserved = l.Networks },
		"port 1":                 func(l *location.Location) { l.Port = 1 },
		"MTU 1280":               func(l *location.Location) { l.MTU = 1280 },
		"keepalive 1 s":          keepalive(time.Second),
		"keepalive 65535 s":      keepalive(65535 * time.Second),
		"no keepalive":           keepalive(location.KeepaliveOff),
		"inner not said":         func(l *location.Location) { l.Inner = "" },
		"nothing for clients":    func(l *location.Location) { l.DNS, l.Search, l.AllowedIPs = nil, nil, nil },
		"no destinations":        func(l *location.Location) { l.Destinations = nil },
		"all destinations":       func(l *location.Location) { l.Destinations = prefixes("::/0", "10.0.0.0/8", "0.0.0.0/0") },
		"256 destinations":       func(l *location.Location) { l.Destinations = many(location.DestinationsMax) },
		"no floating address":    func(l *location.Location) { l.Floating, l.InnerFloating = nil, nil },
		"no inner one":           inner(),
		"carried":                func(l *location.Location) { l.Inner, l.InnerFloating = location.Carried, nil },
		"one inner one":          inner("fd60::1"),
		"both inner ones":        inner("fd60::1", "10.60.0.1"),
		"16 floating addresses":  func(l *location.Location) { l.Floating = manyAddrs(location.FloatingMax) },
		"mark of a table of the system's, where nothing floats": func(l *location.Location) { l.Mark, l.Floating, l.InnerFloating = 254, nil, nil },
		"marks beside those": func(l *location.Location) { l.Mark = 251 },
		"a floating address beside a network": func(l *location.Location) {
			l.Floating = addrs("10.0.255.255", "10.2.0.0", "fd01:0:0:1::", "100.64.0.1", "fd00::1")
		},
		"63 characters":          func(l *location.Location) { l.Name = strings.Repeat("ä", 63) },
		"a resolver on loopback": func(l *location.Location) { l.DNS = addrs("127.0.0.53") },
	} {
		l := locationtest.Full("a")
		edit(&l)
		require.NoError(t, l.Validate(), name)
	}
}

func TestWithDefaults(t *testing.T) {
	l := location.Location{}.WithDefaults()
	require.Equal(t, location.Location{
		Port: location.DefaultPort, MTU: location.DefaultMTU, ClientKeepalive: location.DefaultKeepalive, Inner: location.SNAT,
	}, l)
	full := locationtest.Full("a")
	require.Equal(t, full, full.WithDefaults(), "what is set stays")
	full.ClientKeepalive = location.KeepaliveOff
	require.Equal(t, full, full.WithDefaults(), "off is set")
}

func TestCloneSharesNothing(t *testing.T) {
	l := locationtest.Full("a")
	for f, v := range reflect.ValueOf(l).Fields() {
		require.False(t, v.IsZero(), "Full leaves %s empty, so that this test does not see it", f.Name)
	}
	c := l.Clone()
	require.Equal(t, l, c)
	require.Empty(t, memory.Shared(l, c))
}

func TestClaims(t *testing.T) {
	l := locationtest.Full("a")
	require.Equal(t, []location.Claim{{Scope: "location", Name: l.Name}}, l.Claims(), "one that may overlap claims its name only")
	l.AllowOverlap = false
	require.Equal(t, []location.Claim{
		{Scope: "location", Name: l.Name}, {Scope: "location", Prefix: l.Networks[0]}, {Scope: "location", Prefix: l.Networks[1]},
	}, l.Claims())
	require.Empty(t, location.Location{}.Claims())
}

func TestTouchesAndStamp(t *testing.T) {
	none, a := location.Location{}, locationtest.Full("a")
	require.Empty(t, none.Touches(none))
	require.Equal(t, []location.ID{"a"}, a.Touches(none))
	require.Equal(t, []location.ID{"a"}, none.Touches(a))
	require.Equal(t, []location.ID{"a"}, a.Touches(a))
	a.Stamp("a", 7)
	require.EqualValues(t, 7, a.Rev)
	none.Stamp("a", 7)
	require.Equal(t, location.Location{}, none, "a row that is gone stays zero")
}
