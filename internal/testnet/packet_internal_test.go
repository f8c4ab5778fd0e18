// An internal test: what a line of the timeline says is decided by functions
// that nobody else needs.

package testnet

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice/announce"
)

// udp4 is an IPv4 packet with a UDP payload.
func udp4(payload []byte) []byte {
	b := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0xc8, 0x6c, 0x1f, 0x90, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(payload)))
	return append(b, payload...)
}

// ip6 is an IPv6 packet.
func ip6(next byte, body []byte) []byte {
	src, dst := netip.MustParseAddr("2001:db8::1").As16(), netip.MustParseAddr("2001:db8::2").As16()
	b := []byte{0x60, 0, 0, 0, 0, byte(len(body)), next, 64}
	return append(append(append(b, src[:]...), dst[:]...), body...)
}

// message is a WireGuard message of a type and length, with ascending bytes.
func message(kind byte, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i)
	}
	copy(b, []byte{kind, 0, 0, 0})
	return b
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func TestDescribe(t *testing.T) {
	const ends = "192.0.2.1:51308 > 192.0.2.2:8080 UDP "
	device := [macLen]byte{2, 0, 0, 0, 0, 7}
	icmp := append([]byte{128, 0}, make([]byte, 6)...)
	for _, c := range []struct {
		name string
		kind uint16
		b    []byte
		want string
	}{
		{"initiation", etherIPv4, udp4(message(1, 148)), ends + "148 WireGuard initiation from 07060504"},
		{"response", etherIPv4, udp4(message(2, 92)), ends + "92 WireGuard response from 07060504 to 0b0a0908"},
		{"cookie", etherIPv4, udp4(message(3, 64)), ends + "64 WireGuard cookie to 07060504"},
		{"keepalive", etherIPv4, udp4(message(4, 32)), ends + "32 WireGuard keepalive to 07060504 #1084818905618843912"},
		{"data", etherIPv4, udp4(message(4, 96)), ends + "96 WireGuard data to 07060504 #1084818905618843912"},
		{"data, cut off", etherIPv4, udp4(message(4, 1440))[:snap], ends + "1440 WireGuard data to 07060504 #1084818905618843912"},
		{"an initiation of a wrong length", etherIPv4, udp4(message(1, 147)), ends + "147"},
		{"data of a wrong length", etherIPv4, udp4(message(4, 100)), ends + "100"},
		{"reserved bytes set", etherIPv4, udp4(append([]byte{1, 1}, message(0, 146)...)), ends + "148"},
		{"a short datagram", etherIPv4, udp4([]byte("hi")), ends + "2"},
		{"a probe", etherIPv4, udp4(append([]byte("prob\x00\x00\x00\x00\x00\x00\x00\x09"), make([]byte, 8)...)), ends + "20 probe #9"},
		{"UDP over IPv6", etherIPv6, ip6(17, unhex(t, "c86c 1f90 000a 0000 6869")), "[2001:db8::1]:51308 > [2001:db8::2]:8080 UDP 2"},
		{"TCP", etherIPv6, ip6(6, unhex(t, "c86c 0050 00000000 00000000 5012 ffff 0000 0000 686921")), "[2001:db8::1]:51308 > [2001:db8::2]:80 TCP 3 SYN ACK"},
		{"echo request", etherIPv6, ip6(protoICMP, icmp), "2001:db8::1 > 2001:db8::2 ICMPv6 echo request"},
		{"multicast report after options", etherIPv6, ip6(0, unhex(t, "3a00 0502 0000 0100 8f00 0000 0000 0000")), "2001:db8::1 > 2001:db8::2 ICMPv6 multicast report"},
		{"unreachable", etherIPv4, unhex(t, "45000018 00000000 40010000 c0000201 c0000202 0301 0000"), "192.0.2.1 > 192.0.2.2 ICMP unreachable, code 1"},
		{"a later fragment", etherIPv4, unhex(t, "45000018 00000002 40110000 c0000201 c0000202 00000000"), "192.0.2.1 > 192.0.2.2 fragment of protocol 17 at 16, 4 bytes"},
		{"a header longer than the packet", etherIPv4, unhex(t, "4f000018 00000000 40110000 c0000201 c0000202"), "192.0.2.1 > 192.0.2.2 IPv4, bad header"},
		{"another protocol", etherIPv4, unhex(t, "45000018 00000000 402f0000 c0000201 c0000202 00000000"), "192.0.2.1 > 192.0.2.2 protocol 47, 4 bytes"},
		{"ARP request", etherARP, unhex(t, "0001 0800 0604 0001 020000000007 c0000201 000000000000 c0000202"), "ARP who has 192.0.2.2? tell 192.0.2.1"},
		{"ARP reply", etherARP, unhex(t, "0001 0800 0604 0002 020000000007 c0000201 020000000008 c0000202"), "ARP 192.0.2.1 is at 02:00:00:00:00:07"},
		{"our announcement, IPv4", etherARP, announce.Frame(netip.MustParseAddr("192.0.2.9"), device, false)[etherLen:], "ARP 192.0.2.9 is at 02:00:00:00:00:07 (announced)"},
		{"our announcement, IPv6", etherIPv6, announce.Frame(netip.MustParseAddr("2001:db8::9"), device, false)[etherLen:], "2001:db8::9 > ff02::1 ICMPv6 2001:db8::9 is at 02:00:00:00:00:07 (announced)"},
		{"solicitation", etherIPv6, ip6(protoICMP, unhex(t, "8700 0000 00000000 20010db8000000000000000000000002")), "2001:db8::1 > 2001:db8::2 ICMPv6 who has 2001:db8::2?"},
		{"advertisement, answering", etherIPv6, ip6(protoICMP, unhex(t, "8800 0000 60000000 20010db8000000000000000000000002 0201 020000000007")), "2001:db8::1 > 2001:db8::2 ICMPv6 2001:db8::2 is at 02:00:00:00:00:07"},
		{"something else", 0x88cc, []byte{1}, "EtherType 0x88cc, 1 bytes"},
		{"nothing", etherIPv4, nil, "EtherType 0x0800, 0 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, describe(c.kind, c.b))
		})
	}
}

func FuzzDescribe(f *testing.F) {
	f.Add(uint16(etherIPv4), udp4(message(4, 96)))
	f.Add(uint16(etherIPv6), ip6(0, []byte{58, 0, 5, 2, 0, 0, 1, 0, 143, 0}))
	f.Add(uint16(etherIPv6), announce.Frame(netip.MustParseAddr("2001:db8::9"), [macLen]byte{}, true)[etherLen:])
	f.Add(uint16(etherARP), announce.Frame(netip.MustParseAddr("192.0.2.9"), [macLen]byte{}, true)[etherLen:])
	f.Fuzz(func(t *testing.T, kind uint16, b []byte) {
		text := describe(kind, b)
		if text == "" || strings.ContainsAny(text, "\n\x00") || len(text) > 250 {
			t.Errorf("describe(%#x, %x) = %q, want one line", kind, b, text)
		}
	})
}
