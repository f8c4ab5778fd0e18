package gateway_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func TestValidate(t *testing.T) {
	prefixes := gatewaytest.Prefixes
	mapped := netip.MustParseAddrPort("[::ffff:192.0.2.1]:1")
	for field, breaks := range map[string][]func(*gateway.Config){
		"": {
			func(*gateway.Config) {},
			func(c *gateway.Config) { c.Peers = nil },
			func(c *gateway.Config) { c.Interface.Masquerade = nil },
			func(c *gateway.Config) { c.Interface.Isolated = true },
			func(c *gateway.Config) {
				c.Interface.Destinations = prefixes("0.0.0.0/0", "10.60.0.0/16", "fd60::1/128")
			},
			func(c *gateway.Config) { c.Interface.MTU, c.Interface.Port, c.Interface.Mark = 1280, 65535, 1<<32-1 },
			func(c *gateway.Config) { c.Interface.MTU, c.Interface.Port = 9000, 1 },
			func(c *gateway.Config) { c.Interface.Addrs = prefixes("10.20.0.1/32", "fe80::1/64") },
			func(c *gateway.Config) { c.Peers[0].AllowedIPs = nil },
			func(c *gateway.Config) { c.Peers[0].AllowedIPs = prefixes("0.0.0.0/0", "::/0") },
			func(c *gateway.Config) { c.Peers[0].Keepalive = 65535 * time.Second },
			func(c *gateway.Config) { c.Peers[0].Endpoint = netip.MustParseAddrPort("[2001:db8::1]:65535") },
		},
		"Interface":       {func(c *gateway.Config) { *c = gateway.Config{} }},
		"Interface.Key":   {func(c *gateway.Config) { c.Interface.Key = wgkey.Private{} }},
		"Interface.Port":  {func(c *gateway.Config) { c.Interface.Port = 0 }},
		"Interface.Addrs": {func(c *gateway.Config) { c.Interface.Addrs = nil }},
		"Interface.Masquerade[1]": {
			func(c *gateway.Config) { c.Interface.Masquerade[1] = netip.MustParsePrefix("fd20::1/64") },
			func(c *gateway.Config) { c.Interface.Masquerade[1] = c.Interface.Masquerade[0] },
			func(c *gateway.Config) { c.Interface.Masquerade[1] = netip.Prefix{} },
			func(c *gateway.Config) { c.Interface.Masquerade = prefixes("10.20.0.0/16", "10.0.0.0/16") },
		},
		"Interface.Destinations[1]": {
			func(c *gateway.Config) { c.Interface.Destinations = prefixes("10.0.0.0/8", "fd60::1/64") },
			func(c *gateway.Config) { c.Interface.Destinations = prefixes("10.0.0.0/8", "10.0.0.0/8") },
			func(c *gateway.Config) { c.Interface.Destinations = append(prefixes("10.0.0.0/8"), netip.Prefix{}) },
			func(c *gateway.Config) { c.Interface.Destinations = prefixes("10.60.0.0/16", "10.0.0.0/8") },
			func(c *gateway.Config) { c.Interface.Destinations = prefixes("10.0.0.0/8", "::ffff:10.0.0.0/104") },
		},
		"Interface.MTU": {
			func(c *gateway.Config) { c.Interface.MTU = 1279 },
			func(c *gateway.Config) { c.Interface.MTU = 9001 },
		},
		"Interface.Addrs[1]": {
			func(c *gateway.Config) { c.Interface.Addrs[1] = netip.Prefix{} },
			func(c *gateway.Config) { c.Interface.Addrs = prefixes("10.20.0.1/16", "10.20.0.1/24") },
			func(c *gateway.Config) { c.Interface.Addrs = prefixes("10.20.0.1/16", "10.10.0.1/24") },
			func(c *gateway.Config) { c.Interface.Addrs = prefixes("10.20.0.1/16", "::/64") },
			func(c *gateway.Config) { c.Interface.Addrs = prefixes("10.20.0.1/16", "ff02::1/64") },
			func(c *gateway.Config) { c.Interface.Addrs = prefixes("10.20.0.1/16", "::1/128") },
			func(c *gateway.Config) { c.Interface.Addrs = prefixes("10.20.0.1/16", "::ffff:10.0.0.1/112") },
		},
		"Interface.Inner[0]": {
			func(c *gateway.Config) { c.Interface.Inner = make([]netip.Addr, 1) },
			func(c *gateway.Config) { c.Interface.Inner = addrs("fd60::9%eth0") },
			func(c *gateway.Config) { c.Interface.Inner = addrs("::ffff:10.60.0.9") },
			func(c *gateway.Config) { c.Interface.Inner = addrs("127.0.0.2") },
			func(c *gateway.Config) { c.Interface.Inner = addrs("10.20.0.9") },
			func(c *gateway.Config) {
				c.Interface.Inner, c.Interface.Floating, c.Interface.Mark = addrs("192.0.2.9"), addrs("192.0.2.9"), 1
			},
		},
		"Interface.Inner[1]": {
			func(c *gateway.Config) { c.Interface.Inner = addrs("10.60.0.9", "10.60.0.9") },
			func(c *gateway.Config) { c.Interface.Inner = addrs("fd60::9", "10.60.0.9") },
			func(c *gateway.Config) { c.Interface.Inner = addrs("10.60.0.9", "10.60.0.10") },
		},
		"Peers[0].Key": {
			func(c *gateway.Config) { c.Peers[0].Key = wgkey.Public{} },
			func(c *gateway.Config) { c.Peers[0].Key = c.Interface.Key.Public() },
		},
		"Peers[1].Key": {
			func(c *gateway.Config) { c.Peers[0], c.Peers[1] = c.Peers[1], c.Peers[0] },
			func(c *gateway.Config) { c.Peers[1].Key = c.Peers[0].Key },
		},
		"Peers[1].Keepalive": {
			func(c *gateway.Config) { c.Peers[1].Keepalive = -time.Second },
			func(c *gateway.Config) { c.Peers[1].Keepalive = time.Millisecond },
			func(c *gateway.Config) { c.Peers[1].Keepalive = 65536 * time.Second },
		},
		"Peers[1].Endpoint": {
			func(c *gateway.Config) { c.Peers[1].Endpoint = netip.MustParseAddrPort("192.0.2.1:0") },
			func(c *gateway.Config) { c.Peers[1].Endpoint = netip.MustParseAddrPort("0.0.0.0:1") },
			func(c *gateway.Config) { c.Peers[1].Endpoint = netip.MustParseAddrPort("224.0.0.1:1") },
			func(c *gateway.Config) { c.Peers[1].Endpoint = netip.MustParseAddrPort("[fe80::1%eth0]:1") },
			func(c *gateway.Config) { c.Peers[1].Endpoint = netip.AddrPortFrom(netip.Addr{}, 1) },
			func(c *gateway.Config) { c.Peers[1].Endpoint = mapped },
		},
		"Peers[1].AllowedIPs[0]": {
			func(c *gateway.Config) { c.Peers[1].AllowedIPs[0] = c.Peers[0].AllowedIPs[0] },
			func(c *gateway.Config) { c.Peers[1].AllowedIPs[0] = netip.MustParsePrefix("10.20.0.9/24") },
			func(c *gateway.Config) { c.Peers[1].AllowedIPs[0] = netip.MustParsePrefix("::ffff:10.0.0.0/112") },
		},
	} {
		for i, change := range breaks {
			t.Run(fmt.Sprintf("%s %d", field, i), func(t *testing.T) {
				c := gatewaytest.Config(3)
				change(&c)
				err := c.Validate()
				if field == "" {
					require.NoError(t, err)
					return
				}
				var wrong *gateway.FieldError
				require.ErrorAs(t, err, &wrong)
				require.Equal(t, field, wrong.Field, wrong.Reason)
				require.NotEmpty(t, wrong.Reason)
				require.NotContains(t, err.Error(), c.Interface.Key.RevealText())
			})
		}
	}
}

func TestCanonical(t *testing.T) {
	c := gatewaytest.Config(2)
	c.Peers[0].Keepalive = 25*time.Second + time.Millisecond
	c.Peers[0].Endpoint = netip.MustParseAddrPort("[::ffff:192.0.2.1]:7")
	c.Peers[1].AllowedIPs = gatewaytest.Prefixes("fd20::7:1/112", "10.20.9.9/24", "10.20.9.0/24")
	c.Peers = append(c.Peers[1:], c.Peers[0], c.Peers[0])
	c.Interface.Addrs = append(c.Interface.Addrs[1:], c.Interface.Addrs[0], c.Interface.Addrs[0])
	c.Interface.Masquerade = gatewaytest.Prefixes("fd20::1/64", "10.20.7.0/16", "10.20.0.0/16")
	c.Interface.Destinations, c.Interface.Isolated = gatewaytest.Prefixes("fd60::1/64", "10.60.7.0/16", "10.60.0.0/16"), true
	before := c.Clone()

	n := c.Canonical()
	require.NoError(t, n.Validate())
	require.Equal(t, before, c, "Canonical changed its receiver")
	require.True(t, n.Equal(n.Canonical()))
	require.Equal(t, "port 51820, addresses 10.20.0.1/16,fd20::1/64, mtu 1420, masquerade 10.20.0.0/16,fd20::/64"+
		", destinations 10.60.0.0/16,fd60::/64, isolated",
		n.Interface.String())
	require.Equal(t, n.Peers[0].Key.String()+" 10.20.1.1/32,fd20::101/128 keepalive 25s endpoint 192.0.2.1:7",
		n.Peers[0].String())
	require.Equal(t, gatewaytest.Prefixes("10.20.9.0/24", "fd20::7:0/112"), n.Peers[1].AllowedIPs)

	wrong := gatewaytest.Config(1)
	wrong.Peers[0].AllowedIPs = []netip.Prefix{{}}
	require.Error(t, wrong.Canonical().Validate(), "what is wrong stays wrong")
}

func TestApplyAndSinceAreInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, next := gatewaytest.RandomConfig().Draw(t, "old"), gatewaytest.RandomConfig().Draw(t, "new")
		old.Revision = gateway.Revision{Epoch: 7, Number: rapid.Uint64Range(0, 1).Draw(t, "from")}
		if old.Revision.Number == 0 {
			old.Revision = gateway.Revision{}
		}
		next.Revision = gateway.Revision{Epoch: 7, Number: 2}
		before, after := old.Clone(), next.Clone()
		u := next.Since(old)
		require.Equal(t, old.Revision, u.From)
		got, err := old.Apply(u)
		require.NoError(t, err)
		require.True(t, got.Equal(next), "got %v\nwant %v", got, next)
		require.Equal(t, before, old.Clone())
		require.Equal(t, after, next.Clone())

		// Two updates in a row are as one.
		third := gatewaytest.RandomConfig().Draw(t, "third")
		third.Revision = gateway.Revision{Epoch: 7, Number: 3}
		got, err = got.Apply(third.Since(got))
		require.NoError(t, err)
		require.True(t, got.Equal(third))
	})
}

func TestApply(t *testing.T) {
	c := gatewaytest.Config(3)
	next := gateway.Revision{Epoch: c.Revision.Epoch, Number: 9}

	_, err := c.Apply(gateway.Update{From: next, To: next})
	require.ErrorIs(t, err, gateway.ErrGap)
	_, err = gateway.Config{}.Apply(gateway.Update{From: next, To: next})
	require.ErrorIs(t, err, gateway.ErrGap)

	_, err = c.Apply(gateway.Update{To: next})
	require.ErrorContains(t, err, "does not say what the interface is to be")

	got, err := c.Apply(gateway.Update{From: c.Revision, To: next})
	require.NoError(t, err)
	require.Equal(t, next, got.Revision)
	require.Equal(t, c.Peers, got.Peers)

	got, err = c.Apply(gateway.Update{From: c.Revision, To: next, Interface: &gateway.Interface{}})
	require.NoError(t, err)
	require.True(t, got.Interface.IsZero())

	// Lists in any order, keys twice and keys that are not there do no harm, and
	// a key in both lists stays.
	a, b, z := c.Peers[0], c.Peers[1], c.Peers[2]
	changed := b
	changed.Keepalive = time.Second
	got, err = c.Apply(gateway.Update{
		From: c.Revision, To: next,
		Remove: []wgkey.Public{z.Key, a.Key, b.Key, {1}},
		Set:    []gateway.Peer{b, changed},
	})
	require.NoError(t, err)
	require.Equal(t, []gateway.Peer{changed}, got.Peers)
}

func TestPeerFinds(t *testing.T) {
	c := gatewaytest.Config(3)
	p, ok := c.Peer(c.Peers[1].Key)
	require.True(t, ok)
	require.Equal(t, c.Peers[1], p)
	_, ok = c.Peer(wgkey.Public{})
	require.False(t, ok)
}

// A field that a comparison or a copy forgets is found here.
func TestValuesKnowEveryField(t *testing.T) {
	c := gatewaytest.Config(1)
	c.Interface.Mark, c.Peers[0].Preshared, c.Peers[0].Keepalive = 1, gatewaytest.PresharedKey(1), time.Second
	c.Peers[0].Endpoint = netip.MustParseAddrPort("192.0.2.1:1")
	c.Interface.Destinations, c.Interface.Isolated = gatewaytest.Prefixes("10.60.0.0/16"), true
	c.Interface.Floating = []netip.Addr{netip.MustParseAddr("198.51.100.10")}
	c.Interface.Inner, c.Interface.Carried = []netip.Addr{netip.MustParseAddr("10.60.0.10")}, true

	i := c.Interface
	for f := range reflect.TypeFor[gateway.Interface]().Fields() {
		other := i
		reflect.ValueOf(&other).Elem().FieldByIndex(f.Index).SetZero()
		require.False(t, i.Equal(other), "Interface.Equal forgets %s", f.Name)
		only := gateway.Interface{}
		reflect.ValueOf(&only).Elem().FieldByIndex(f.Index).Set(reflect.ValueOf(i).FieldByIndex(f.Index))
		require.False(t, only.IsZero(), "Interface.IsZero forgets %s", f.Name)
	}
	for f := range reflect.TypeFor[gateway.Peer]().Fields() {
		other := c.Peers[0]
		reflect.ValueOf(&other).Elem().FieldByIndex(f.Index).SetZero()
		require.False(t, c.Peers[0].Equal(other), "Peer.Equal forgets %s", f.Name)
	}
	for f := range reflect.TypeFor[gateway.Config]().Fields() {
		other := c
		reflect.ValueOf(&other).Elem().FieldByIndex(f.Index).SetZero()
		require.False(t, c.Equal(other), "Config.Equal forgets %s", f.Name)
	}

	problem := []gateway.Problem{{What: "x"}}
	update := gateway.Update{Interface: &c.Interface, Remove: []wgkey.Public{{1}}, Set: c.Peers}
	state := gateway.State{
		Interface: c.Interface, Routes: c.Interface.Addrs, Problems: []string{"x"}, Owned: c.Interface.Floating,
		Peers: []gateway.PeerState{{AllowedIPs: c.Interface.Addrs}},
	}
	status := gateway.Status{Failed: problem, Drift: problem, Seen: []gateway.Sighting{{}}}
	for _, pair := range [][2]any{
		{c, c.Clone()}, {update, update.Clone()}, {state, state.Clone()}, {status, status.Clone()},
	} {
		require.Equal(t, pair[0], pair[1])
		unshared(t, fmt.Sprintf("%T", pair[0]), reflect.ValueOf(pair[0]), reflect.ValueOf(pair[1]))
	}
}

// unshared fails if a and b have slices or pointers in common.
func unshared(t *testing.T, at string, a, b reflect.Value) {
	t.Helper()
	switch a.Kind() {
	case reflect.Pointer:
		require.NotEqual(t, a.Pointer(), b.Pointer(), "%s is shared", at)
		unshared(t, at, a.Elem(), b.Elem())
	case reflect.Slice:
		require.Positive(t, a.Len(), "%s: the test needs something in it", at)
		require.NotEqual(t, a.Pointer(), b.Pointer(), "%s is shared", at)
		unshared(t, at+"[0]", a.Index(0), b.Index(0))
	case reflect.Struct:
		if !strings.Contains(a.Type().PkgPath(), "holdfast/gateway") {
			return
		}
		for f := range a.Type().Fields() {
			unshared(t, at+"."+f.Name, a.FieldByIndex(f.Index), b.FieldByIndex(f.Index))
		}
	default:
	}
}

func addrs(list ...string) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, s := range list {
		out[i] = netip.MustParseAddr(s)
	}
	return out
}
