package vpntest

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// putLocation writes a location with one network, of which n is the second byte.
func putLocation(tb testing.TB, s vpn.Stores, id location.ID, n byte) location.Location {
	tb.Helper()
	l, err := s.Locations().Update(tb.Context(), id, func(l *location.Location) error {
		*l = location.Location{ID: id, Name: "name of " + string(id), Networks: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, n, 0, 0}), 16)}}
		return nil
	})
	require.NoError(tb, err)
	return l
}

func dropLocation(tb testing.TB, s vpn.Stores, id location.ID) {
	tb.Helper()
	_, err := s.Locations().Update(tb.Context(), id, func(l *location.Location) error {
		*l = location.Location{}
		return nil
	})
	require.NoError(tb, err)
}

// device is one whose key and addresses nobody else's are, in each location.
func device(id peer.DeviceID, n byte, at ...location.ID) peer.Device {
	d := peer.Device{ID: id, Name: string(id), Key: wgkey.Public{1, n}}
	for _, l := range at {
		d.Peers = append(d.Peers, peer.Peer{Location: l, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 9, 0, n})}})
	}
	return d
}

func putDevice(tb testing.TB, s vpn.Stores, id peer.DeviceID, d peer.Device) peer.Device {
	tb.Helper()
	saved, err := s.Devices().Update(tb.Context(), id, func(row *peer.Device) error {
		*row = d.Clone()
		return nil
	})
	require.NoError(tb, err)
	return saved
}

func dropDevice(tb testing.TB, s vpn.Stores, id peer.DeviceID) {
	tb.Helper()
	putDevice(tb, s, id, peer.Device{})
}

func view(tb testing.TB, s vpn.Stores, at location.ID, after vpn.Revision) vpn.View {
	tb.Helper()
	v, err := s.Feed().View(tb.Context(), at, after)
	require.NoError(tb, err)
	require.Equal(tb, at, v.ID)
	return v
}

// number is where a location's history is.
func number(tb testing.TB, s vpn.Stores, at location.ID) uint64 {
	tb.Helper()
	return view(tb, s, at, vpn.Revision{}).Rev.Number
}

// differ says how two values differ, taking nil and empty lists as equal.
func differ(want, got any) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}))
}

// ids are those of a View's devices, in its order.
func ids(v vpn.View) (all []string) {
	for _, d := range v.Devices {
		all = append(all, string(d.ID))
	}
	return all
}
