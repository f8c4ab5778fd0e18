package vpn_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// office is a location whose key the ring opens.
func office(keys *seal.Keyring) location.Location {
	l := location.Location{
		ID: "office", Name: "office", Host: "vpn.example.org", Mark: 7,
		Networks: []netip.Prefix{netip.MustParsePrefix("fd20::/64"), netip.MustParsePrefix("10.20.0.0/16")},
	}.WithDefaults()
	secret := wgkey.NewPrivate()
	raw := secret.Reveal()
	l.PublicKey, l.Key = secret.Public(), keys.Seal(raw[:], l.KeyBound())
	return l
}

// dev is device n, with places.
func dev(n int, at ...location.ID) peer.Device {
	d := peer.Device{ID: peer.DeviceID(fmt.Sprintf("d%06d", n)), Name: fmt.Sprintf("laptop %d", n), Owner: "ann", Key: key(n)}
	for _, l := range at {
		d.Peers = append(d.Peers, peer.Peer{Location: l, Addrs: []netip.Addr{addr(n)}})
	}
	return d
}

func key(n int) wgkey.Public { return wgkey.Public{byte(n * 37), byte(n >> 8), byte(n >> 16), 1} }

func addr(n int) netip.Addr {
	n += 2
	return netip.AddrFrom4([4]byte{10, 20 + byte(n>>16), byte(n >> 8), byte(n)})
}

func TestProject(t *testing.T) {
	keys := seal.Ephemeral()
	l := office(keys)
	secret, err := l.Reveal(keys)
	require.NoError(t, err)
	d := dev(1, l.ID)
	d.Peers[0].Routes = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")}
	d.Peers[0].Addrs = append(d.Peers[0].Addrs, netip.MustParseAddr("fd20::3"))
	v := vpn.View{ID: l.ID, Rev: vpn.Revision{Epoch: 1, Number: 5}, Location: &l, Devices: []peer.Device{d, dev(0, l.ID)}}
	face := gateway.Interface{
		Key: secret, Port: 51820, MTU: 1420, Mark: 7,
		Addrs:      []netip.Prefix{netip.MustParsePrefix("10.20.0.1/16"), netip.MustParsePrefix("fd20::1/64")},
		Masquerade: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd20::/64")},
	}
	one := gateway.Peer{Key: key(1), AllowedIPs: []netip.Prefix{
		netip.MustParsePrefix("10.9.0.0/24"), netip.MustParsePrefix("10.20.0.3/32"), netip.MustParsePrefix("fd20::3/128"),
	}}
	zero := gateway.Peer{Key: key(0), AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.20.0.2/32")}}
	whole := gateway.Config{Revision: v.Rev, Interface: face, Peers: []gateway.Peer{zero, one}}
	nothing := gateway.Config{Revision: v.Rev}
	otherKey := office(seal.Ephemeral())

	for name, c := range map[string]struct {
		edit func(v *vpn.View, l *loc, d *peer.Device)
		want gateway.Config
		err  string
	}{
		"as it is": {func(*vpn.View, *loc, *peer.Device) {}, whole, ""},
		"no location": {func(v *vpn.View, _ *loc, _ *peer.Device) {
			v.Location = nil
		}, nothing, ""},
		"a zero location":     {func(_ *vpn.View, l *loc, _ *peer.Device) { *l = loc{} }, nothing, ""},
		"a disabled location": {func(_ *vpn.View, l *loc, _ *peer.Device) { l.Disabled = true }, nothing, ""},
		"a disabled location needs no key": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Disabled, l.Key = true, "rubbish"
		}, nothing, ""},
		"a key of another ring": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Key, l.PublicKey = otherKey.Key, otherKey.PublicKey
		}, nothing, `vpn: project location "office": location: open the key of "office": seal: unreadable`},
		"a key moved from another row": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			raw := secret.Reveal()
			l.Key = keys.Seal(raw[:], "location/home/key")
		}, nothing, "unreadable"},
		"another public key": {func(_ *vpn.View, l *loc, _ *peer.Device) { l.PublicKey = key(3) }, nothing, "does not belong"},
		"an inner side of newer software": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Inner = "bridged"
		}, nothing, `does not know what Inner "bridged" means`},
		"a later view": {func(v *vpn.View, _ *loc, _ *peer.Device) {
			v.Since = vpn.Revision{Epoch: 1, Number: 4}
		}, nothing, "only what changed since"},
		"routed": {func(_ *vpn.View, l *loc, _ *peer.Device) { l.Inner = "routed" }, with(whole, func(c *gateway.Config) {
			c.Interface.Masquerade = nil
		}), ""},
		"snat": {func(_ *vpn.View, l *loc, _ *peer.Device) { l.Inner = "snat" }, whole, ""},
		"isolated": {func(_ *vpn.View, l *loc, _ *peer.Device) { l.Isolated = true }, with(whole, func(c *gateway.Config) {
			c.Interface.Isolated = true
		}), ""},
		"destinations, and resolvers with them": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Destinations = prefixes("fd60::/64", "10.60.0.0/16")
			l.DNS = []netip.Addr{
				netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("9.9.9.9"),
				netip.MustParseAddr("10.60.0.53"),
			}
		}, with(whole, func(c *gateway.Config) {
			c.Interface.Destinations = prefixes("9.9.9.9/32", "10.60.0.0/16", "2001:db8::53/128", "fd60::/64")
		}), ""},
		"resolvers alone restrict nothing": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.DNS = []netip.Addr{netip.MustParseAddr("10.60.0.53")}
		}, whole, ""},
		"floating addresses, with the mark that is there": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Floating = addrs("2001:db8::9", "192.0.2.10", "192.0.2.9")
		}, with(whole, func(c *gateway.Config) {
			c.Interface.Floating = addrs("192.0.2.9", "192.0.2.10", "2001:db8::9")
		}), ""},
		"floating addresses, with a mark of ours": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Floating, l.Mark, l.Port = addrs("192.0.2.9"), 0, 0xca6d
		}, with(whole, func(c *gateway.Config) {
			c.Interface.Floating, c.Interface.Mark, c.Interface.Port = addrs("192.0.2.9"), 0x6866ca6d, 0xca6d
		}), ""},
		"carried": {func(_ *vpn.View, l *loc, _ *peer.Device) { l.Inner = "carried" }, with(whole, func(c *gateway.Config) {
			c.Interface.Masquerade, c.Interface.Carried = nil, true
		}), ""},
		"carried, with destinations": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Inner, l.Destinations = "carried", prefixes("10.60.0.0/16")
		}, with(whole, func(c *gateway.Config) {
			c.Interface.Masquerade, c.Interface.Carried = nil, true
			c.Interface.Destinations = prefixes("10.20.0.0/16", "10.60.0.0/16", "fd20::/64")
		}), ""},
		"carried, with destinations and isolated": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Inner, l.Destinations, l.Isolated = "carried", prefixes("10.60.0.0/16"), true
		}, with(whole, func(c *gateway.Config) {
			c.Interface.Masquerade, c.Interface.Carried = nil, true
			c.Interface.Destinations, c.Interface.Isolated = prefixes("10.60.0.0/16"), true
		}), ""},
		"inner addresses, which move with them": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Floating, l.InnerFloating = addrs("192.0.2.9"), addrs("fd60::9", "10.60.0.9")
		}, with(whole, func(c *gateway.Config) {
			c.Interface.Floating, c.Interface.Inner = addrs("192.0.2.9"), addrs("10.60.0.9", "fd60::9")
		}), ""},
		"inner addresses that the network routes to": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Floating, l.InnerFloating, l.Inner = addrs("192.0.2.9"), addrs("10.60.0.9"), "routed"
		}, with(whole, func(c *gateway.Config) {
			c.Interface.Floating, c.Interface.Masquerade = addrs("192.0.2.9"), nil
		}), ""},
		"no floating address, no mark": {func(_ *vpn.View, l *loc, _ *peer.Device) { l.Mark = 0 }, with(whole, func(c *gateway.Config) {
			c.Interface.Mark = 0
		}), ""},
		"another gateway address": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Gateway = []netip.Addr{netip.MustParseAddr("10.20.0.9")}
		}, with(whole, func(c *gateway.Config) { c.Interface.Addrs[0] = netip.MustParsePrefix("10.20.0.9/16") }), ""},
		"a disabled device": {func(_ *vpn.View, _ *loc, d *peer.Device) { d.Disabled = true }, with(whole, without(key(1))), ""},
		"a disabled owner": {func(_ *vpn.View, _ *loc, d *peer.Device) {
			d.Standing.Disabled = true
		}, with(whole, without(key(1))), ""},
		"a disabled place": {func(_ *vpn.View, _ *loc, d *peer.Device) {
			d.Peers[0].Disabled = true
		}, with(whole, without(key(1))), ""},
		"a place elsewhere": {func(_ *vpn.View, _ *loc, d *peer.Device) {
			d.Peers[0].Location = "home"
		}, with(whole, without(key(1))), ""},
		"no place":      {func(_ *vpn.View, _ *loc, d *peer.Device) { d.Peers = nil }, with(whole, without(key(1))), ""},
		"no key":        {func(_ *vpn.View, _ *loc, d *peer.Device) { d.Key = wgkey.Public{} }, with(whole, without(key(1))), ""},
		"a gone device": {func(_ *vpn.View, _ *loc, d *peer.Device) { *d = peer.Device{ID: d.ID} }, with(whole, without(key(1))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			v, l := v, l.Clone()
			v.Location, v.Devices = &l, []peer.Device{d.Clone(), v.Devices[1].Clone()}
			c.edit(&v, &l, &v.Devices[0])
			before := copyOf(v)
			got, err := vpn.Project(v, keys, noon)
			if c.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.err)
			}
			require.True(t, c.want.Equal(got), "want %v\n got %v", c.want, got)
			require.Empty(t, viewDiff(before, v), "the View stays as it was")
			if !got.Interface.IsZero() {
				require.NoError(t, got.Validate())
			}
		})
	}
}

// Whatever floats, in whatever order it was written: a gateway can do it, has the
// operator's mark if there is one, and never that of another port.
func TestFloatingAddressesHaveAMark(t *testing.T) {
	keys := seal.Ephemeral()
	plain := office(keys)
	pool := addrs("192.0.2.1", "192.0.2.2", "198.51.100.7", "2001:db8::1", "2001:db8::2", "fd20:0:0:1::", "10.19.255.255", "10.21.0.0")
	rapid.Check(t, func(t *rapid.T) {
		l := plain.Clone()
		l.Floating = rapid.Permutation(pool).Draw(t, "floating")[:rapid.IntRange(0, len(pool)).Draw(t, "length")]
		l.Port = rapid.Uint16Min(1).Draw(t, "port")
		l.Mark = rapid.SampledFrom([]uint32{0, 0, 1, 0x68660001, 1<<32 - 2}).Draw(t, "mark")
		require.NoError(t, l.Validate())
		c, err := vpn.Project(vpn.View{ID: l.ID, Location: &l}, keys, noon)
		require.NoError(t, err)
		require.NoError(t, c.Validate())
		require.ElementsMatch(t, l.Floating, c.Interface.Floating)
		want := l.Mark
		if want == 0 && len(l.Floating) > 0 {
			want = 0x68660000 + uint32(l.Port)
		}
		require.Equal(t, want, c.Interface.Mark)
	})
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func addrs(list ...string) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, s := range list {
		out[i] = netip.MustParseAddr(s)
	}
	return out
}

func with(c gateway.Config, edit func(*gateway.Config)) gateway.Config {
	c = c.Clone()
	edit(&c)
	return c
}

func without(k wgkey.Public) func(*gateway.Config) {
	return func(c *gateway.Config) {
		c.Peers = slices.DeleteFunc(c.Peers, func(p gateway.Peer) bool { return p.Key == k })
	}
}

func copyOf(v vpn.View) vpn.View {
	if v.Location != nil {
		l := v.Location.Clone()
		v.Location = &l
	}
	v.Devices = slices.Clone(v.Devices)
	for i := range v.Devices {
		v.Devices[i] = v.Devices[i].Clone()
	}
	return v
}

func viewDiff(a, b vpn.View) string {
	return cmp.Diff(a, b, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}))
}

// A field of the domain that Project forgets is a rule that no gateway keeps.
// Each has to be named here.
func TestProjectKnowsEveryField(t *testing.T) {
	known := map[reflect.Type]string{
		reflect.TypeFor[location.Location](): "ID Networks Gateway Port MTU Mark Inner Destinations Isolated DNS Floating InnerFloating Disabled PublicKey Key" +
			" | Rev Name Reserved AllowOverlap Host Search AllowedIPs ClientKeepalive", // for clients, people and stores
		reflect.TypeFor[peer.Device]():   "ID Key Disabled Standing Peers | Name Owner",
		reflect.TypeFor[peer.Standing](): "Disabled | Groups",
		reflect.TypeFor[peer.Peer]():     "Location Disabled Addrs Routes | Rev",
		reflect.TypeFor[vpn.View]():      "ID Since Rev Location Devices |",
	}
	for of, fields := range known {
		for f := range of.Fields() {
			require.Contains(t, " "+fields+" ", " "+f.Name+" ", "%v.%s: say here whether Project needs it", of, f.Name)
		}
	}
}
