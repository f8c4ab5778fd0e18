package peer_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
)

func TestOccupied(t *testing.T) {
	place := func(addr, route string) (p peer.Place) {
		if addr != "" {
			p.Addrs = []netip.Addr{netip.MustParseAddr(addr)}
		}
		if route != "" {
			p.Routes = []netip.Prefix{netip.MustParsePrefix(route)}
		}
		return p
	}
	l := location.Location{ID: "office", Name: "office", Networks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")}}
	there := place("10.20.0.2", "192.168.0.0/16")
	o := peer.NewOccupied(l, []peer.Device{
		{ID: "a", Name: "laptop", Peers: []peer.Peer{{Location: "office", Addrs: there.Addrs, Routes: there.Routes}}},
		{ID: "b", Name: "elsewhere", Peers: []peer.Peer{{Location: "branch", Addrs: place("10.20.0.3", "").Addrs}}},
	})
	for _, c := range []struct {
		p     peer.Place
		taken bool
		want  string // "" for none
	}{
		{place("10.20.0.2", ""), true, `Addrs[0]: 10.20.0.2 belongs to device "laptop" (a)`},
		{place("10.20.0.1", ""), false, "belongs to the gateways"},
		{place("10.20.0.3", "192.168.7.0/24"), true, `Routes[0]: 192.168.7.0/24 overlaps 192.168.0.0/16`},
		{place("10.20.0.3", "10.20.0.0/25"), false, "a route is for networks elsewhere"},
		{place("10.20.0.3", "172.16.0.0/16"), false, ""},
		{place("10.20.0.3", ""), true, "belongs to x"},
		{place("10.20.0.4", "172.16.9.0/24"), true, "of x"},
		{place("", ""), false, ""},
	} {
		err := o.Add(c.p, "x")
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, c.want)
		require.Equal(t, c.taken, errors.Is(err, peer.ErrAddressTaken))
		var field *peer.FieldError
		require.ErrorAs(t, err, &field)
	}
}
