//go:build linux

package wgdevice_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// proves P13: what the kernel is asked for between a floating address that comes and the
// first handshake, and how long that takes by a clock that counts instructions, must not
// grow, since the clients of a lost gateway wait for it.
func TestLittleIsAskedForWhenAnAddressComes(t *testing.T) { onKernel(t, testLittleIsAskedFor) }

func testLittleIsAskedFor(t *testing.T, _ *testnet.Host, _ wgdevice.Config) {
	gw, d := street(t, wgdevice.Kernel)
	want := gate(gateway.Peer{Key: wgkey.NewPrivate().Public(), AllowedIPs: list("10.20.0.2/32")})
	want.Interface.Mark, want.Interface.Floating = moves, addrs("192.0.2.10", "2001:db8::10")
	reconcile(t, d, want)
	told := d.Own(t.Context(), want.Interface)
	waitOwned(t, told)
	kick := gateway.Plan{{Verb: gateway.Kick, Peer: gateway.Peer{Key: want.Peers[0].Key, Endpoint: netip.MustParseAddrPort("192.0.2.2:7")}}}

	var have []netip.Addr
	tap := tapNetlink(t, gw)
	for i, a := range want.Interface.Floating {
		now := append(slices.Clone(have), a)
		asked, least := map[uint16]int(nil), 0
		// What the system says of one address may come in two parts, and then there are
		// two looks: the best of some moves counts.
		for range 4 {
			require.Eventually(t, func() bool { return len(tap.requests(t)) == 0 }, patience, 100*time.Millisecond)
			require.NoError(t, move(gw, "eth0", a, true))
			began := time.Now()
			waitOwned(t, told, now...)
			require.NoError(t, d.Apply(t.Context(), kick))
			took := time.Since(began)
			once, total := tap.requests(t), 0
			for _, n := range once {
				total += n
			}
			t.Logf("%s: %v, %v", a, took, once)
			if vm.Inside() == vm.Virtual {
				require.Less(t, took, 5*time.Millisecond)
			}
			if asked == nil || total < least {
				asked, least = once, total
			}
			require.NoError(t, move(gw, "eth0", a, false))
			waitOwned(t, told, have...)
		}
		have = now
		require.NoError(t, move(gw, "eth0", a, true))
		waitOwned(t, told, have...)
		// One look at links and addresses, our tables, main of the families that have
		// an address, copies of its routes (with IPv6 the link-local one, too), the
		// mark, and the two words of a kick, for which the interface is looked for
		// once. The test itself looks for a link, and makes the address.
		for kind, most := range map[uint16]int{
			unix.RTM_GETLINK: 1 + 1 + 1, unix.RTM_GETADDR: 1, unix.RTM_GETRULE: 0, unix.RTM_GETROUTE: 3 + i,
			unix.RTM_NEWROUTE: 2 + i, unix.RTM_NEWADDR: 1, tap.family: 3,
		} {
			require.LessOrEqual(t, asked[kind], most, "requests of type %d", kind)
			delete(asked, kind)
		}
		require.Empty(t, asked, "something else is asked for")
	}
}

// requests are what was asked of the kernel since the last call, by kind.
func (p *tap) requests(t *testing.T) map[uint16]int {
	t.Helper()
	out := map[uint16]int{}
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(p.fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			return out
		}
		require.NoError(t, err)
		require.GreaterOrEqual(t, n, unix.SizeofNlMsghdr)
		if kind, flags := binary.NativeEndian.Uint16(buf[4:]), binary.NativeEndian.Uint16(buf[6:]); flags&unix.NLM_F_REQUEST != 0 {
			out[kind]++
		}
	}
}
