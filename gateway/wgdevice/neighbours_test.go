//go:build linux

package wgdevice_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// A neighbour that sends to the machine that had a floating address sends to this one
// as soon as the address is here, although nobody has told it but us.
func TestAFloatingAddressIsAnnounced(t *testing.T) {
	net := testnet.ForTest(t)
	lan := net.Switch("lan")
	old, gw, pc := net.Host("old"), net.Host("gw"), net.Host("pc")
	floating := []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")}
	require.NoError(t, errors.Join(
		lan.Attach(old, "eth0", list("192.0.2.1/24", "2001:db8::1/64")...),
		lan.Attach(gw, "eth0", list("192.0.2.2/24", "2001:db8::2/64")...),
		lan.Attach(pc, "eth0", list("192.0.2.3/24", "2001:db8::3/64")...),
		old.Addr("eth0", list("192.0.2.9/32", "2001:db8::9/128")...),
	))
	c := gate()
	c.Interface.Floating, c.Interface.Mark = floating, 0x700
	d := open(t, inside(gw, wgdevice.Userspace))
	reconcile(t, d, c)
	told := d.Own(t.Context(), c.Interface)
	require.Empty(t, <-told)

	for _, a := range floating {
		to := netip.AddrPortFrom(a, 7)
		echo, err := old.Echo(to)
		require.NoError(t, err)
		probe, err := pc.Probe(testnet.ProbeConfig{To: to})
		require.NoError(t, err)
		_, err = probe.WaitReply(t.Context(), time.Time{})
		require.NoError(t, errors.Join(err, probe.Close(), echo.Close()))
		require.Equal(t, mac(t, old), neighbour(t, pc, a))
	}
	require.NoError(t, old.Down("eth0")) // it is lost
	for _, a := range floating {
		require.NoError(t, move(gw, "eth0", a, true))
	}
	var have []netip.Addr
	for len(have) < len(floating) {
		select {
		case have = <-told:
		case <-time.After(patience):
			require.FailNow(t, "nobody is told", "%v", have)
		}
	}
	for _, a := range floating {
		require.Eventually(t, func() bool { return neighbour(t, pc, a) == mac(t, gw) }, patience, time.Millisecond, "%s", a)
	}
}

// mac is the Ethernet address of a host's only link.
func mac(t *testing.T, h *testnet.Host) string {
	t.Helper()
	l, err := h.Netlink().LinkByName("eth0")
	require.NoError(t, err)
	return l.Attrs().HardwareAddr.String()
}

// neighbour is where a host sends what is for an address, as far as it knows.
func neighbour(t *testing.T, h *testnet.Host, a netip.Addr) string {
	t.Helper()
	family := netlink.FAMILY_V6
	if a.Is4() {
		family = netlink.FAMILY_V4
	}
	l, err := h.Netlink().LinkByName("eth0")
	require.NoError(t, err)
	all, err := h.Netlink().NeighList(l.Attrs().Index, family)
	require.NoError(t, err)
	for _, n := range all {
		if n.IP.Equal(a.AsSlice()) {
			return n.HardwareAddr.String()
		}
	}
	return ""
}

var _ gateway.Owner = (*wgdevice.Device)(nil)
