package peer_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// key makes a private key that is the same in each run.
func key(seed byte) wgkey.Private { return wgkey.PrivateFrom([wgkey.Size]byte{seed, 1, 2, 3}) }

func addrs(all ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range all {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func prefixes(all ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// laptop is a profile with something in every field.
func laptop() peer.Profile {
	return peer.Profile{
		Addresses:  prefixes("10.20.0.7/32", "fd20::7/128"),
		DNS:        addrs("10.20.0.1", "fd20::1"),
		Search:     []string{"corp.example.org"},
		MTU:        1420,
		Peer:       key(9).Public(),
		Preshared:  wgkey.PresharedFrom([wgkey.Size]byte{7}),
		AllowedIPs: prefixes("10.0.0.0/8", "fd20::/64"),
		Host:       "vpn.example.org",
		Port:       51820,
		Keepalive:  25 * time.Second,
	}
}

// equal compares values that hold addresses and keys.
func equal(t require.TestingT, want, got any) {
	require.Empty(t, cmp.Diff(want, got, cmpopts.EquateEmpty(),
		cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}, wgkey.Public{}, wgkey.Preshared{}, wgkey.Private{})))
}

func TestNewProfile(t *testing.T) {
	l := location.Location{
		ID: "x", Name: "office", Host: "vpn.example.org", Port: 51820, MTU: 1400,
		Networks: prefixes("10.20.0.0/16", "fd20::/64"), AllowedIPs: prefixes("192.168.0.0/16", "10.0.0.0/8", "10.20.0.0/16"),
		DNS: addrs("10.20.0.1"), Search: []string{"example.org"}, ClientKeepalive: 25 * time.Second, PublicKey: key(9).Public(),
	}
	d := peer.Device{ID: "d", Name: "laptop", Peers: []peer.Peer{{Location: "x", Addrs: addrs("10.20.0.7", "fd20::7")}}}
	got, err := peer.NewProfile(l, d)
	require.NoError(t, err)
	equal(t, peer.Profile{
		Addresses:  prefixes("10.20.0.7/32", "fd20::7/128"),
		DNS:        l.DNS,
		Search:     l.Search,
		MTU:        1400,
		Peer:       key(9).Public(),
		AllowedIPs: prefixes("10.0.0.0/8", "192.168.0.0/16", "fd20::/64"),
		Host:       "vpn.example.org",
		Port:       51820,
		Keepalive:  25 * time.Second,
	}, got)

	got.DNS[0], got.Search[0] = netip.Addr{}, "changed"
	require.Equal(t, "example.org", l.Search[0], "a profile is a copy")
	require.True(t, l.DNS[0].IsValid(), "a profile is a copy")

	l.ClientKeepalive = location.KeepaliveOff
	got, err = peer.NewProfile(l, d)
	require.NoError(t, err)
	require.Zero(t, got.Keepalive)

	l.AllowedIPs = prefixes("0.0.0.0/0", "::/0")
	got, err = peer.NewProfile(l, d)
	require.NoError(t, err)
	require.Equal(t, prefixes("0.0.0.0/0", "::/0"), got.AllowedIPs, "everything has the networks in it")

	d.Peers[0].Location = "y"
	_, err = peer.NewProfile(l, d)
	require.ErrorIs(t, err, peer.ErrNotFound)
	require.ErrorContains(t, err, `device "laptop": no place in location "office"`)

	d.Peers[0].Location, l.Host = "x", "vpn.example.org\nPostUp = id"
	_, err = peer.NewProfile(l, d)
	var field *peer.FieldError
	require.ErrorAs(t, err, &field)
	require.Equal(t, "Host", field.Field)
}

func TestProfileValidate(t *testing.T) {
	require.NoError(t, laptop().Validate())
	for field, edits := range map[string][]func(*peer.Profile){
		"Addresses":     {func(p *peer.Profile) { p.Addresses = nil }},
		"Addresses[1]":  {func(p *peer.Profile) { p.Addresses[1] = netip.Prefix{} }},
		"DNS[0]":        {func(p *peer.Profile) { p.DNS[0] = netip.MustParseAddr("fe80::1%eth0\nPostUp = id") }},
		"Search[0]":     {func(p *peer.Profile) { p.Search[0] = "a\nPostUp=id" }, func(p *peer.Profile) { p.Search[0] = "a, b" }},
		"MTU":           {func(p *peer.Profile) { p.MTU = 1279 }, func(p *peer.Profile) { p.MTU = 9001 }},
		"Peer":          {func(p *peer.Profile) { p.Peer = wgkey.Public{} }},
		"AllowedIPs":    {func(p *peer.Profile) { p.AllowedIPs = nil }},
		"AllowedIPs[0]": {func(p *peer.Profile) { p.AllowedIPs[0] = netip.MustParsePrefix("10.0.0.1/8") }},
		"Host":          {func(p *peer.Profile) { p.Host = "" }, func(p *peer.Profile) { p.Host = "a\n[Peer]" }},
		"Port":          {func(p *peer.Profile) { p.Port = 0 }},
		"Keepalive": {
			func(p *peer.Profile) { p.Keepalive = -1 }, func(p *peer.Profile) { p.Keepalive = 1500 * time.Millisecond },
			func(p *peer.Profile) { p.Keepalive = 65536 * time.Second },
		},
	} {
		for _, edit := range edits {
			p := laptop()
			edit(&p)
			var got *peer.FieldError
			require.ErrorAs(t, p.Validate(), &got, field)
			require.Equal(t, field, got.Field)
		}
	}
}
