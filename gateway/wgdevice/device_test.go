//go:build linux

package wgdevice_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
)

func TestMain(m *testing.M) { main(m) }

func TestReconcile(t *testing.T) { each(t, testReconcile) }

func testReconcile(t *testing.T, back wgdevice.Backend) {
	net := testnet.ForTest(t)
	d := open(t, inside(net.Host("gw"), back))

	t.Run("nothing is there at first", func(t *testing.T) {
		require.Equal(t, gateway.State{Backend: told(back)}, observe(t, d))
	})
	want := gate(
		gateway.Peer{Key: public(1), AllowedIPs: list("10.20.0.2/32", "fd20::2/128")},
		gateway.Peer{Key: public(2), AllowedIPs: list("10.20.0.3/32", "192.168.7.0/24")},
	)
	reconcile(t, d, want)
	s := observe(t, d)
	require.True(t, s.Exists)
	require.Empty(t, s.Problems)
	t.Logf("%+v", s)
}
