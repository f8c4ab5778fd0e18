//go:build linux

package wgdevice_test

import (
	"encoding/binary"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// What the kernel is told, as an nlmon device sees it: peers come in batches
// with nothing beside them, since the kernel would do the settings of the device
// again with each message (a mark makes it walk all peers).
func TestNothingGoesWithPeers(t *testing.T) { onKernel(t, testNothingGoesWithPeers) }

func testNothingGoesWithPeers(t *testing.T, h *testnet.Host, c wgdevice.Config) {
	tap := tapNetlink(t, h)
	d := open(t, c)
	want := crowd(500)
	want.Interface.Mark = 7
	reconcile(t, d, want)
	want.Interface.Mark = 8
	for i := range want.Peers {
		want.Peers[i].Keepalive = time.Minute
	}
	reconcile(t, d, want)
	require.NoError(t, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}))

	var keys, marks, batches, wipes int
	for _, attrs := range tap.settings(t) {
		var peers bool
		for _, a := range attrs {
			switch a.Attr.Type & ^uint16(unix.NLA_F_NESTED) {
			case unix.WGDEVICE_A_PEERS:
				peers = true
			case unix.WGDEVICE_A_PRIVATE_KEY:
				keys++
			case unix.WGDEVICE_A_FWMARK:
				marks++
			case unix.WGDEVICE_A_FLAGS:
				wipes++
			}
		}
		if peers {
			batches++
			require.Len(t, attrs, 2, "something goes with the peers, beside the name of the interface")
		}
	}
	require.Equal(t, 1, keys)
	require.Equal(t, 2, marks)
	require.Equal(t, 1, wipes)
	require.Equal(t, 2*((500+31)/32), batches, "peers go in batches of 32")
}

// tap hears what processes say to the kernel over netlink.
type tap struct {
	fd     int
	family uint16
}

func tapNetlink(t *testing.T, h *testnet.Host) *tap {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "nlmon0"
	require.NoError(t, h.Netlink().LinkAdd(&netlink.GenericLink{LinkAttrs: attrs, LinkType: "nlmon"}))
	require.NoError(t, h.Up("nlmon0"))
	link, err := h.Netlink().LinkByName("nlmon0")
	require.NoError(t, err)
	out := &tap{}
	all := int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)))
	require.NoError(t, h.Do(func() error {
		family, err := netlink.GenlFamilyGet(unix.WG_GENL_NAME)
		if err != nil {
			return err
		}
		out.family = family.ID
		out.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, all)
		return err
	}))
	t.Cleanup(func() { require.NoError(t, unix.Close(out.fd)) })
	require.NoError(t, unix.SetsockoptInt(out.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20))
	require.NoError(t, unix.Bind(out.fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: link.Attrs().Index}))
	return out
}

// settings are the attributes of each message heard that sets a WireGuard device.
func (p *tap) settings(t *testing.T) (out [][]syscall.NetlinkRouteAttr) {
	t.Helper()
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(p.fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			return out
		}
		require.NoError(t, err)
		const headers = unix.SizeofNlMsghdr + unix.GENL_HDRLEN
		if n < headers || binary.NativeEndian.Uint16(buf[4:]) != p.family || buf[unix.SizeofNlMsghdr] != unix.WG_CMD_SET_DEVICE {
			continue
		}
		size := int(binary.NativeEndian.Uint32(buf))
		require.LessOrEqual(t, size, n)
		attrs, err := nl.ParseRouteAttr(append([]byte(nil), buf[headers:size]...))
		require.NoError(t, err)
		out = append(out, attrs)
	}
}
