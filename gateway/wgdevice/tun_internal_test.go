//go:build linux

package wgdevice

// Internal: between looking for an interface and making it there is no time to
// plant another, from outside.

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// A TUN device that is there already is not taken over.
func TestTUNIsNew(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN)
	h := testnet.ForTest(t).Host("h")
	ns, err := openNamespace(fmt.Sprintf("/proc/self/fd/%d", int(h.NS())))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ns.Close()) })
	require.NoError(t, h.Do(func() error {
		return netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "wg0"}, Mode: netlink.TUNTAP_MODE_TUN, NonPersist: false})
	}))
	err = ns.do(func() error {
		_, err := newTunnel("wg0", 1420)
		return err
	})
	require.ErrorIs(t, err, unix.EBUSY)
	require.ErrorContains(t, err, "something of this name is there already")
}

// WireGuard hears of an MTU when it is another one, and of nothing else; after
// the end there is nothing to hear.
func TestTunnelTellsOfItsMTU(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN)
	h := testnet.ForTest(t).Host("h")
	var tunnel *tunnel
	require.NoError(t, h.Do(func() (err error) {
		tunnel, err = newTunnel("wg0", 1420)
		return err
	}))
	mtu := func() int {
		n, err := tunnel.MTU() // asked for here, where the device is not
		require.NoError(t, err)
		return n
	}
	require.Equal(t, 1420, mtu())
	tunnel.setMTU(1420)
	require.Empty(t, tunnel.Events())
	tunnel.setMTU(1300)
	tunnel.setMTU(1301)
	require.Equal(t, tun.Event(tun.EventMTUUpdate), <-tunnel.Events())
	require.Empty(t, tunnel.Events())
	require.Equal(t, 1301, mtu())
	require.NoError(t, tunnel.Close())
	require.NoError(t, tunnel.Close())
	tunnel.setMTU(1302)
	_, open := <-tunnel.Events()
	require.False(t, open)
}
