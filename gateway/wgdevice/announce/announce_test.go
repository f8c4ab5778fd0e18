package announce_test

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice/announce"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func TestFrame(t *testing.T) {
	const header = 14 // of Ethernet
	device := [announce.MACLen]byte{2, 0, 0, 0, 0, 7}
	t.Run("the ARP form that Linux takes at once", func(t *testing.T) {
		require.Equal(t, unhex(t, "ffffffffffff 020000000007 0806 0001 0800 0604 0002 020000000007 c0000209 020000000007 c0000209"),
			announce.Frame(netip.MustParseAddr("192.0.2.9"), device, false))
	})
	t.Run("the neighbour advertisement", func(t *testing.T) {
		for router, flags := range map[bool]byte{false: 0x20, true: 0xa0} {
			b := announce.Frame(netip.MustParseAddr("2001:db8::9"), device, router)
			require.Equal(t, unhex(t, "333300000001 020000000007 86dd"), b[:header])
			ip, icmp := b[header:header+40], b[header+40:]
			require.Equal(t, byte(255), ip[7], "a hop limit that no router has touched")
			require.Equal(t, flags, icmp[4])
			pseudo := append(append([]byte{}, ip[8:40]...), 0, 0, 0, byte(len(icmp)), 0, 0, 0, 58)
			require.Equal(t, uint16(0xffff), sum(append(pseudo, icmp...)), "the checksum is wrong")
		}
	})
}

// sum is the ones' complement sum of the Internet protocols (RFC 1071); the length of b
// is even.
func sum(b []byte) uint16 {
	total := uint32(0)
	for i := 0; i < len(b); i += 2 {
		total += uint32(b[i])<<8 + uint32(b[i+1])
	}
	for total > 0xffff {
		total = total&0xffff + total>>16
	}
	return uint16(total)
}
