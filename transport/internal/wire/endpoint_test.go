package wire_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport/internal/wire"
)

func TestEndpoints(t *testing.T) {
	for _, text := range []string{"192.0.2.1:51820", "[2001:db8::1]:1", "[fe80::1%eth0]:65535", "[::ffff:192.0.2.1]:7"} {
		want := netip.MustParseAddrPort(text)
		b := wire.AppendEndpoint([]byte("before"), want)
		got, err := wire.ParseEndpoint(b[len("before"):])
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	long := netip.MustParseAddrPort("[fe80::1%" + strings.Repeat("z", wire.MaxEndpoint) + "]:1")
	for _, none := range []netip.AddrPort{{}, long} {
		require.Equal(t, "before", string(wire.AppendEndpoint([]byte("before"), none)))
	}
	got, err := wire.ParseEndpoint(nil)
	require.NoError(t, err)
	require.Zero(t, got)
	for _, bad := range []string{"x", "1234567", "12345678901"} {
		_, err := wire.ParseEndpoint([]byte(bad))
		require.Error(t, err)
	}
}
