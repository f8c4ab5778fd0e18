package memdevice_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func TestDevice(t *testing.T) {
	gatewaytest.RunDevice(t, func(testing.TB) gatewaytest.Harness {
		d := memdevice.New()
		return gatewaytest.Harness{
			Open: func(testing.TB) gateway.Device { return d.Open() },
			Talk: func(tb testing.TB, peer wgkey.Private) {
				tb.Helper()
				require.True(tb, d.Hear(peer.Public(), memdevice.Traffic{
					Rx: 180, Tx: 92, Handshake: time.Now(), Endpoint: netip.MustParseAddrPort("192.0.2.1:7"),
				}))
			},
			TakePort: func(tb testing.TB, port uint16) {
				tb.Helper()
				tb.Cleanup(d.TakePort(port))
			},
			Foreign:  func(testing.TB) { d.SetForeign(true) },
			Own:      moved(d),
			Detours:  func(testing.TB) []gateway.Detour { return d.Detours() },
			Hang:     func(_ testing.TB, f gateway.Flow) { d.Disconnect(f) },
			Siblings: []netip.Addr{netip.MustParseAddr("10.60.0.2"), netip.MustParseAddr("10.60.0.3")},
		}
	})
}

// moved moves single addresses.
func moved(d *memdevice.Device) func(testing.TB, netip.Addr, bool) {
	var has []netip.Addr
	return func(_ testing.TB, a netip.Addr, have bool) {
		has = slices.DeleteFunc(has, func(b netip.Addr) bool { return a == b })
		if have {
			has = append(has, a)
		}
		d.SetOwned(has...)
	}
}
