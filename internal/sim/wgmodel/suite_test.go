package wgmodel_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/internal/sim/wgmodel"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func TestContract(t *testing.T) {
	gatewaytest.RunDevice(t, func(tb testing.TB) gatewaytest.Harness {
		tb.Helper()
		n := wgmodel.NewNetwork(1)
		tb.Cleanup(n.Close)
		at := netip.MustParseAddr("192.0.2.1")
		h, pc := n.Host(at), n.Host(netip.MustParseAddr("192.0.2.2"))
		d := h.NewDevice()
		return gatewaytest.Harness{
			Open: func(testing.TB) gateway.Device { return d.Open() },
			Talk: func(tb testing.TB, peer wgkey.Private) {
				tb.Helper()
				var s gateway.State
				require.NoError(tb, d.Observe(tb.Context(), &s))
				c := pc.NewClient(wgmodel.ClientConfig{
					Key: peer.Public(), Server: s.Interface.Key.Public(),
					Endpoint: netip.AddrPortFrom(at, s.Interface.Port),
				})
				c.Ask()
				require.Eventually(tb, func() bool {
					_, count := c.Answered()
					return count > 0
				}, 5*time.Second, time.Millisecond)
			},
			TakePort: func(tb testing.TB, port uint16) {
				tb.Helper()
				tb.Cleanup(d.TakePort(port))
			},
			Foreign: func(testing.TB) { d.SetForeign(true) },
			Own:     func(_ testing.TB, addr netip.Addr, have bool) { h.Have(addr, have) },
		}
	})
}
