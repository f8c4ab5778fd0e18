package peer_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/memory"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/peer/peertest"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

type refusal struct {
	field  string
	edit   func(*peer.Device)
	reason string
}

func addrsOf(all ...string) func(*peer.Device) {
	return func(d *peer.Device) { d.Peers[0].Addrs = addrs(all...) }
}

func routesOf(all ...string) func(*peer.Device) {
	return func(d *peer.Device) { d.Peers[0].Routes = prefixes(all...) }
}

// refused has, for each field, what makes Validate name it. A field that is free
// to be anything has none.
var refused = map[reflect.Type]map[string][]refusal{
	reflect.TypeFor[peer.Device](): {
		"ID": {{"ID", func(d *peer.Device) { d.ID = "" }, "Add makes it"}},
		"Name": {
			{"Name", func(d *peer.Device) { d.Name = "" }, "is empty"},
			{"Name", func(d *peer.Device) { d.Name = strings.Repeat("x", 64) }, "at most 63"},
		},
		"Owner": {
			{"Owner", func(d *peer.Device) { d.Owner = strings.Repeat("x", 256) }, "at most 255"},
			{"Owner", func(d *peer.Device) { d.Owner = "a\x00" }, "U+0000"},
			{"Owner", func(d *peer.Device) { d.Owner = "a\xff" }, "not UTF-8"},
		},
		"Key":      {{"Key", func(d *peer.Device) { d.Key = wgkey.Public{} }, "is missing"}},
		"Disabled": nil,
		"Standing": nil, // see below
		"Peers": {
			{"Peers[1].Location", func(d *peer.Device) { d.Peers[1].Location = d.Peers[0].Location }, "there already"},
			{"Peers[1].Location", func(d *peer.Device) { d.Peers[0], d.Peers[1] = d.Peers[1], d.Peers[0] }, "not in order"},
		},
	},
	reflect.TypeFor[peer.Standing](): {
		"Disabled": nil,
		"Groups": {
			{"Standing.Groups[1]", func(d *peer.Device) { d.Standing.Groups[1] = "" }, "is empty"},
			{"Standing.Groups[0]", func(d *peer.Device) { d.Standing.Groups[0] = "a\n" }, "U+000A"},
		},
	},
	reflect.TypeFor[peer.Peer](): {
		"Location": {{"Peers[0].Location", func(d *peer.Device) { d.Peers[0].Location = "" }, "is missing"}},
		"Rev":      nil, // the store's
		"Disabled": nil,
		"Addrs": {
			{"Peers[0].Addrs", addrsOf(), "at least one"},
			{"Peers[0].Addrs[1]", addrsOf("10.1.0.2", "10.1.0.2"), "there already"},
			{"Peers[0].Addrs", addrsOf("10.1.0.3", "10.1.0.2"), "not in order"},
			{"Peers[0].Addrs[0]", addrsOf("fe80::1%eth0"), "not a plain"},
			{"Peers[0].Addrs[0]", addrsOf("::ffff:10.1.0.2"), "not a plain"},
			{"Peers[0].Addrs[0]", func(d *peer.Device) { d.Peers[0].Addrs[0] = netip.Addr{} }, "not a plain"},
		},
		"Routes": {
			{"Peers[0].Routes[0]", routesOf("0.0.0.0/0"), "everybody's traffic"},
			{"Peers[0].Routes[1]", routesOf("192.168.0.0/24", "::/0"), "everybody's traffic"},
			{"Peers[0].Routes[0]", routesOf("0.0.0.0/1"), "this host"},
			{"Peers[0].Routes[0]", routesOf("128.0.0.0/1"), "link-local"},
			{"Peers[0].Routes[0]", routesOf("192.168.0.1/24"), "write 192.168.0.0/24"},
			{"Peers[0].Routes[0]", routesOf("127.0.0.0/8"), "loopback"},
			{"Peers[0].Routes[1]", routesOf("192.168.0.0/16", "192.168.7.0/24"), "overlaps 192.168.0.0/16 of the same peer"},
			{"Peers[0].Routes[1]", routesOf("192.168.7.0/24", "192.168.7.0/24"), "overlaps"},
			{"Peers[0].Routes", routesOf("192.168.8.0/24", "192.168.7.0/24"), "not in order"},
			{"Peers[0].Routes[0]", func(d *peer.Device) { d.Peers[0].Routes[0] = netip.Prefix{} }, "is not a prefix"},
		},
	},
}

func TestValidateNamesTheField(t *testing.T) {
	require.NoError(t, peertest.Full("a").Validate())
	for typ, fields := range refused {
		for f := range typ.Fields() {
			cases, known := fields[f.Name]
			require.True(t, known, "%s.%s: say here what of it Validate refuses", typ, f.Name)
			for _, c := range cases {
				d := peertest.Full("a")
				c.edit(&d)
				var got *peer.FieldError
				require.ErrorAs(t, d.Validate(), &got, "%s: %s", c.field, c.reason)
				require.Equal(t, c.field, got.Field)
				require.Contains(t, got.Reason, c.reason)
			}
		}
		require.Len(t, fields, typ.NumField(), "a field of %s that is not there any more", typ)
	}
}

func TestFits(t *testing.T) {
	l := location.Location{
		ID: "x", Name: "office", Networks: prefixes("10.1.0.0/24", "fd01::/64"), Gateway: addrs("10.1.0.9"),
		Reserved: prefixes("10.1.0.128/25"), AllowedIPs: prefixes("192.168.0.0/16"),
	}
	at := func(what ...string) peer.Peer {
		p := peer.Peer{Location: "x"}
		for _, s := range what {
			if strings.Contains(s, "/") {
				p.Routes = append(p.Routes, netip.MustParsePrefix(s))
			} else {
				p.Addrs = append(p.Addrs, netip.MustParseAddr(s))
			}
		}
		return p
	}
	for name, p := range map[string]peer.Peer{
		"addresses":             at("10.1.0.1", "fd01::2"),
		"a reserved address":    at("10.1.0.200"),
		"a route elsewhere":     at("10.1.0.1", "172.16.0.0/12", "fd77::/64"),
		"a route that all send": at("10.1.0.1", "192.168.7.0/24"),
	} {
		require.NoError(t, p.Fits(l), name)
	}
	for name, c := range map[string]struct {
		p             peer.Peer
		field, reason string
	}{
		"outside":                 {at("10.1.1.1"), "Addrs[0]", `none of the networks of "office"`},
		"network address":         {at("10.1.0.0"), "Addrs[0]", "first or last"},
		"broadcast":               {at("10.1.0.255"), "Addrs[0]", "first or last"},
		"anycast":                 {at("10.1.0.2", "fd01::"), "Addrs[1]", "first or last"},
		"the gateway":             {at("10.1.0.9"), "Addrs[0]", "gateways"},
		"the gateway unasked":     {at("fd01::1"), "Addrs[0]", "gateways"},
		"a route in the network":  {at("10.1.0.2", "10.1.0.64/26"), "Routes[0]", "networks elsewhere"},
		"a route around it":       {at("10.1.0.2", "192.168.0.0/24", "10.0.0.0/8"), "Routes[1]", "networks elsewhere"},
		"a route in the IPv6 one": {at("10.1.0.2", "fd01::7/128"), "Routes[0]", "networks elsewhere"},
		"nothing":                 {at(), "Addrs", "at least one"},
	} {
		var got *peer.FieldError
		require.ErrorAs(t, c.p.Fits(l), &got, name)
		require.Equal(t, c.field, got.Field, name)
		require.Contains(t, got.Reason, c.reason, name)
	}
}

func TestCloneSharesNothing(t *testing.T) {
	d := peertest.Full("a")
	for _, v := range []any{d, d.Standing, d.Peers[0]} {
		for f, v := range reflect.ValueOf(v).Fields() {
			require.False(t, v.IsZero(), "Full leaves %s empty, so that this test does not see it", f.Name)
		}
	}
	c := d.Clone()
	require.Equal(t, d, c)
	require.Empty(t, memory.Shared(d, c))
}

func TestAllowedIPsAreInOrder(t *testing.T) {
	p := peer.Peer{Addrs: addrs("fd01::2", "10.1.0.2"), Routes: prefixes("192.168.0.0/24", "10.0.0.0/16")}
	require.Equal(t, prefixes("10.0.0.0/16", "10.1.0.2/32", "192.168.0.0/24", "fd01::2/128"), p.AllowedIPs())
}

func TestClaims(t *testing.T) {
	d := peer.Device{ID: "d", Key: wgkey.Public{1}, Peers: []peer.Peer{
		{Location: "x", Addrs: addrs("10.1.0.2"), Routes: prefixes("192.168.0.0/24")},
		{Location: "y", Disabled: true, Addrs: addrs("10.1.0.2")},
	}}
	require.Equal(t, []location.Claim{
		{Scope: "device", Name: d.Key.String()},
		{Scope: "peer/x", Prefix: netip.MustParsePrefix("10.1.0.2/32")},
		{Scope: "peer/x", Prefix: netip.MustParsePrefix("192.168.0.0/24")},
		{Scope: "peer/y", Prefix: netip.MustParsePrefix("10.1.0.2/32")},
	}, d.Claims(), "the disabled keep what they have")
	require.Empty(t, peer.Device{}.Claims())
}

func TestTouchesAndStamp(t *testing.T) {
	d := peer.Device{ID: "d", Peers: []peer.Peer{{Location: "x"}, {Location: "y"}}}
	old := peer.Device{ID: "d", Peers: []peer.Peer{{Location: "w"}, {Location: "y"}}}
	require.Equal(t, []location.ID{"w", "x", "y"}, d.Touches(old))
	require.Equal(t, []location.ID{"x", "y"}, d.Touches(peer.Device{}))
	require.Equal(t, []location.ID{"x", "y"}, peer.Device{}.Touches(d))
	require.Empty(t, peer.Device{ID: "d"}.Touches(peer.Device{}))
	d.Stamp("y", 7)
	d.Stamp("z", 8)
	require.EqualValues(t, 0, d.Peers[0].Rev)
	require.EqualValues(t, 7, d.Peers[1].Rev)
}

func TestFilterMatch(t *testing.T) {
	d := peer.Device{ID: "d", Owner: "alice", Peers: []peer.Peer{{Location: "x"}}}
	for f, want := range map[peer.Filter]bool{
		{}: true, {Location: "x"}: true, {Location: "y"}: false, {Owner: "alice"}: true, {Owner: "bob"}: false,
		{After: "c"}: true, {After: "d"}: false, {Location: "x", Owner: "alice", After: "c", Limit: 1}: true,
	} {
		require.Equal(t, want, f.Match(d), "%+v", f)
	}
}
