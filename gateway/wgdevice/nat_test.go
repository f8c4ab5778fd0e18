//go:build linux

package wgdevice_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// synSeen is what a host saw of the begin of a TCP connection.
type synSeen struct {
	from netip.Addr
	mss  uint16
}

// captureSYN returns what the first SYN to the port that arrives at the host
// looks like.
func captureSYN(t *testing.T, h *testnet.Host, port uint16) <-chan synSeen {
	t.Helper()
	var fd int
	require.NoError(t, h.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		return err
	}))
	require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)}))
	out := make(chan synSeen, 1)
	go func() {
		defer func() { _ = unix.Close(fd); close(out) }()
		b := make([]byte, 1<<16)
		for {
			n, from, err := unix.Recvfrom(fd, b, 0)
			if err != nil {
				return
			}
			if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype == unix.PACKET_OUTGOING {
				continue
			}
			if s, ok := parseSYN(b[:n], port); ok {
				out <- s
				return
			}
		}
	}()
	return out
}

func htons(n uint16) uint16 { return n<<8 | n>>8 }

// parseSYN reads an IP packet that is a SYN to the port.
func parseSYN(b []byte, port uint16) (s synSeen, ok bool) {
	var tcp []byte
	switch {
	case len(b) >= 40 && b[0]>>4 == 4 && b[9] == unix.IPPROTO_TCP:
		s.from, _ = netip.AddrFromSlice(b[12:16])
		tcp = b[int(b[0]&15)*4:]
	case len(b) >= 60 && b[0]>>4 == 6 && b[6] == unix.IPPROTO_TCP:
		s.from, _ = netip.AddrFromSlice(b[8:24])
		tcp = b[40:]
	default:
		return s, false
	}
	if len(tcp) < 20 || tcp[13]&0x12 != 2 || binary.BigEndian.Uint16(tcp[2:]) != port {
		return s, false
	}
	for o := tcp[20:min(len(tcp), int(tcp[12]>>4)*4)]; len(o) >= 2; {
		switch {
		case o[0] == 1:
			o = o[1:]
			continue
		case o[0] == 2 && len(o) >= 4:
			s.mss = binary.BigEndian.Uint16(o[2:])
			return s, true
		case o[1] < 2 || int(o[1]) > len(o):
			return s, true
		}
		o = o[o[1]:]
	}
	return s, true
}

// A host behind the gateway sees the gateway's address, and a size that fits
// through the tunnel; without masquerading it sees the client's.
func TestMasqueradeAndClamp(t *testing.T) { each(t, testMasqueradeAndClamp) }

func testMasqueradeAndClamp(t *testing.T, back wgdevice.Backend) {
	p := newPair(t, back)
	lan := p.net.Host("lan")
	require.NoError(t, errors.Join(
		p.net.Link(p.gw, "lan0", lan, "eth0"),
		p.gw.Addr("lan0", list("10.60.0.1/24", "fd60::1/64")...),
		lan.Addr("eth0", list("10.60.0.2/24", "fd60::2/64")...),
		lan.Route(testnet.Route{To: prefix("10.20.0.0/16"), Via: netip.MustParseAddr("10.60.0.1")}),
		lan.Route(testnet.Route{To: prefix("fd20::/64"), Via: netip.MustParseAddr("fd60::1")}),
	))
	p.want.Peers[0].AllowedIPs = list("10.20.0.0/16", "10.60.0.0/24", "fd20::/64", "fd60::/64")
	reconcile(t, p.end, p.want)
	connect := func(from, to *testnet.Host, address string) (synSeen, synSeen) {
		t.Helper()
		target := at(address)
		l, err := to.ListenTCP(target)
		require.NoError(t, err)
		far := captureSYN(t, to, target.Port())
		near := captureSYN(t, p.gw, target.Port())
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, err := from.DialTCP(ctx, netip.AddrPort{}, target)
		require.NoError(t, err)
		require.NoError(t, errors.Join(c.Close(), l.Close()))
		return <-near, <-far
	}
	const v4, v6 = 40, 60 // headers of IP and TCP
	for _, mtu := range []int{1280, 1420} {
		p.wantGate.Interface.MTU = mtu
		p.wantGate.Interface.Masquerade = list("10.20.0.0/16", "fd20::/64")
		reconcile(t, p.gate, p.wantGate)
		_, seen := connect(p.client, lan, "10.60.0.2:80")
		require.Equal(t, synSeen{netip.MustParseAddr("10.60.0.1"), uint16(mtu - v4)}, seen)
		_, seen = connect(p.client, lan, "[fd60::2]:80")
		require.Equal(t, synSeen{netip.MustParseAddr("fd60::1"), uint16(mtu - v6)}, seen)

		p.wantGate.Interface.Inner = addrs("10.60.0.10", "fd60::10")
		reconcile(t, p.gate, p.wantGate)
		for i, to := range []string{"10.60.0.2:80", "[fd60::2]:80"} {
			require.NoError(t, move(p.gw, "lan0", p.wantGate.Interface.Inner[i], true))
			_, seen = connect(p.client, lan, to)
			require.Equal(t, synSeen{p.wantGate.Interface.Inner[i], uint16(mtu - []int{v4, v6}[i])}, seen)
		}
		p.wantGate.Interface.Inner = nil

		p.wantGate.Interface.Masquerade = nil
		reconcile(t, p.gate, p.wantGate)
		_, seen = connect(p.client, lan, "10.60.0.2:80")
		require.Equal(t, synSeen{netip.MustParseAddr("10.20.0.2"), uint16(mtu - v4)}, seen)
		_, seen = connect(p.client, lan, "[fd60::2]:80")
		require.Equal(t, synSeen{netip.MustParseAddr("fd20::2"), uint16(mtu - v6)}, seen)

		// The other direction; what enters the gateway is still as long as the
		// network behind it takes.
		near, seen := connect(lan, p.client, "10.20.0.2:81")
		require.Equal(t, uint16(1460), near.mss)
		require.Equal(t, synSeen{netip.MustParseAddr("10.60.0.2"), uint16(mtu - v4)}, seen)
		_, seen = connect(lan, p.client, "[fd20::2]:81")
		require.Equal(t, synSeen{netip.MustParseAddr("fd60::2"), uint16(mtu - v6)}, seen)
	}
	require.Contains(t, run(t, p.gw, "nft", "list", "table", "inet", "holdfast-wg0"), "tcp option maxseg size set rt mtu")
}

// What nft(8) makes of our table.
func TestTableAsOthersReadIt(t *testing.T) { each(t, testTableAsOthersReadIt) }

func testTableAsOthersReadIt(t *testing.T, back wgdevice.Backend) {
	h := testnet.ForTest(t).Host("gw")
	d := open(t, inside(h, back))
	want := gate()
	want.Interface.Masquerade = list("10.20.0.0/15", "10.24.0.0/16", "fd20::/64")
	reconcile(t, d, want)
	listing := run(t, h, "nft", "list", "ruleset")
	for _, line := range []string{
		"table inet holdfast-wg0 {",
		"type nat hook postrouting priority srcnat; policy accept;",
		`ip saddr 10.20.0.0/15 oifname != "wg0" masquerade comment "masquerade 10.20.0.0/15"`,
		`ip saddr 10.24.0.0/16 oifname != "wg0" masquerade comment "masquerade 10.24.0.0/16"`,
		`ip6 saddr fd20::/64 oifname != "wg0" masquerade comment "masquerade fd20::/64"`,
		"type filter hook forward priority mangle; policy accept;",
		`iifname "wg0" tcp flags`, `oifname "wg0" tcp flags`,
		`tcp option maxseg size set rt mtu comment "MSS fits the path"`,
	} {
		require.Contains(t, listing, line)
	}
	require.NoError(t, d.Apply(t.Context(), nil))
	require.Equal(t, listing, run(t, h, "nft", "list", "ruleset"))
}
