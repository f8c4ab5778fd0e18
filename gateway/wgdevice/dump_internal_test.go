//go:build linux

package wgdevice

// Internal: messages of the kernel are made here byte by byte.

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const (
	dumpFamily = 33
	dumpSeq    = 7
)

// message is a message of the kernel about WireGuard.
func message(kind, flags uint16, seq uint32, parts ...[]byte) []byte {
	e := binary.NativeEndian
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	h := e.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(b)))
	h = e.AppendUint32(e.AppendUint16(e.AppendUint16(h, kind), flags), seq)
	b = append(e.AppendUint32(h, 0), b...)
	for len(b)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

func about(flags uint16, attrs ...*nl.RtAttr) []byte {
	parts := [][]byte{{unix.WG_CMD_GET_DEVICE, 1, 0, 0}}
	for _, a := range attrs {
		parts = append(parts, a.Serialize()) //nolint:misspell // a name of theirs
	}
	return message(dumpFamily, flags|unix.NLM_F_MULTI, dumpSeq, parts...)
}

func done(flags uint16, errno int32) []byte {
	return message(unix.NLMSG_DONE, flags, dumpSeq, binary.NativeEndian.AppendUint32(nil, uint32(errno)))
}

func attr(kind int, v []byte) *nl.RtAttr { return nl.NewRtAttr(kind, v) }

func nest(kind int, in ...*nl.RtAttr) *nl.RtAttr {
	a := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	for _, one := range in {
		a.AddChild(one)
	}
	return a
}

func ips(prefixes ...string) *nl.RtAttr {
	a := nest(unix.WGPEER_A_ALLOWEDIPS)
	for _, s := range prefixes {
		p := netip.MustParsePrefix(s)
		a.AddChild(nest(
			0,
			attr(unix.WGALLOWEDIP_A_CIDR_MASK, []byte{uint8(p.Bits())}),
			attr(unix.WGALLOWEDIP_A_FAMILY, nl.Uint16Attr(unix.AF_INET)),
			attr(unix.WGALLOWEDIP_A_IPADDR, p.Addr().AsSlice()),
		))
	}
	return a
}

func peerOf(k byte, in ...*nl.RtAttr) *nl.RtAttr {
	key := wgkey.Public{k}
	return nest(0, append([]*nl.RtAttr{attr(unix.WGPEER_A_PUBLIC_KEY, key[:])}, in...)...)
}

// sockaddr is what the kernel has for an address.
func sockaddr(a netip.AddrPort, scope uint32) *nl.RtAttr {
	e := binary.NativeEndian
	b := e.AppendUint16(nil, unix.AF_INET)
	if a.Addr().Is6() {
		b = e.AppendUint16(nil, unix.AF_INET6)
	}
	b = binary.BigEndian.AppendUint16(b, a.Port())
	if a.Addr().Is6() {
		b = e.AppendUint32(append(append(b, 0, 0, 0, 0), a.Addr().AsSlice()...), scope)
	} else {
		b = append(append(b, a.Addr().AsSlice()...), make([]byte, 8)...)
	}
	return attr(unix.WGPEER_A_ENDPOINT, b)
}

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func list(prefixes ...string) (out []netip.Prefix) {
	for _, s := range prefixes {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// someDump is a device with three peers, the second of them cut in two.
func someDump(key wgkey.Private, stamp time.Time) [][]byte {
	secret := key.Reveal()
	preshared := [32]byte{5}
	timespec := nl.Uint64Attr(uint64(stamp.Unix()))
	timespec = append(timespec, nl.Uint64Attr(uint64(stamp.Nanosecond()))...)
	return [][]byte{
		append(
			message(dumpFamily, 0, dumpSeq-1, []byte("an answer to somebody who did not wait for it")),
			about(
				0,
				attr(unix.WGDEVICE_A_LISTEN_PORT, nl.Uint16Attr(51820)),
				attr(unix.WGDEVICE_A_FWMARK, nl.Uint32Attr(9)),
				attr(unix.WGDEVICE_A_IFINDEX, nl.Uint32Attr(4)),
				attr(unix.WGDEVICE_A_IFNAME, []byte("wg0\x00")),
				attr(unix.WGDEVICE_A_PRIVATE_KEY, secret[:]),
				nest(
					unix.WGDEVICE_A_PEERS,
					peerOf(3, sockaddr(at("[fe80::7]:9"), 12), attr(unix.WGPEER_A_LAST_HANDSHAKE_TIME, make([]byte, 16))),
					peerOf(
						2, attr(unix.WGPEER_A_PRESHARED_KEY, preshared[:]),
						attr(unix.WGPEER_A_LAST_HANDSHAKE_TIME, timespec),
						attr(unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, nl.Uint16Attr(25)),
						attr(unix.WGPEER_A_TX_BYTES, nl.Uint64Attr(4)), attr(unix.WGPEER_A_RX_BYTES, nl.Uint64Attr(3)),
						attr(unix.WGPEER_A_PROTOCOL_VERSION, nl.Uint32Attr(1)),
						sockaddr(at("192.0.2.1:7"), 0), ips("10.0.0.9/32", "10.0.0.1/32"),
					),
				),
			)...,
		),
		about(0, nest(
			unix.WGDEVICE_A_PEERS,
			peerOf(2, ips("10.0.0.5/32", "fd00:1::/64")),
			peerOf(1, sockaddr(at("[2001:db8::1]:8"), 0), ips("fd00::/64")),
		)),
		done(0, 0),
	}
}

// take is what comes of datagrams.
func take(s *gateway.State, datagrams ...[]byte) (dump, error) {
	d := dump{family: dumpFamily, seq: dumpSeq, to: s}
	for _, b := range datagrams {
		if err := d.read(b); err != nil {
			return d, err
		}
	}
	return d, nil
}

// What the kernel says is taken over, also a peer that came in two parts.
func TestDump(t *testing.T) {
	key := wgkey.NewPrivate()
	stamp := time.Unix(1700000000, 5)
	s := gateway.State{Peers: []gateway.PeerState{{AllowedIPs: somePrefixes(4)}}}
	s.Peers = s.Peers[:0]
	d, err := take(&s, someDump(key, stamp)...)
	require.NoError(t, err)
	require.True(t, d.done)
	require.False(t, d.interrupted)
	s.Peers = tidy(s.Peers)
	require.Empty(t, same(gateway.State{
		Interface: gateway.Interface{Key: key, Port: 51820, Mark: 9},
		Peers: []gateway.PeerState{
			{Key: wgkey.Public{1}, AllowedIPs: list("fd00::/64"), Endpoint: at("[2001:db8::1]:8")},
			{
				Key: wgkey.Public{2}, Preshared: wgkey.PresharedFrom([32]byte{5}), Keepalive: 25 * time.Second,
				AllowedIPs: list("10.0.0.1/32", "10.0.0.5/32", "10.0.0.9/32", "fd00:1::/64"),
				Endpoint:   at("192.0.2.1:7"), Handshake: stamp, Rx: 3, Tx: 4,
			},
			{Key: wgkey.Public{3}, Endpoint: at("[fe80::7%12]:9")},
		},
	}, s))
}

// Whichever message says that the list was disturbed, it counts.
func TestDumpInterrupted(t *testing.T) {
	var s gateway.State
	peers := nest(unix.WGDEVICE_A_PEERS, peerOf(1))
	for _, all := range [][][]byte{
		{about(unix.NLM_F_DUMP_INTR, peers), about(0, peers), done(0, 0)},
		{about(0, peers), about(unix.NLM_F_DUMP_INTR, peers), done(0, 0)},
		{about(0, peers), done(unix.NLM_F_DUMP_INTR, 0)},
	} {
		d, err := take(&s, all...)
		require.NoError(t, err)
		require.True(t, d.done)
		require.True(t, d.interrupted)
	}
}

// Errors of the kernel come out; that nothing more comes is not taken for the end.
func TestDumpFails(t *testing.T) {
	var s gateway.State
	for _, m := range [][]byte{done(0, -int32(unix.ENODEV)), message(unix.NLMSG_ERROR, 0, dumpSeq, binary.NativeEndian.AppendUint32(nil, 1+^uint32(unix.ENODEV)), make([]byte, 16))} {
		d, err := take(&s, m)
		require.ErrorIs(t, err, unix.ENODEV)
		require.True(t, d.done)
	}
	d, err := take(&s, about(0))
	require.NoError(t, err)
	require.False(t, d.done)
}

// Whatever comes, it is read or refused, and a device that was read has peers
// and prefixes that are valid.
func FuzzDump(f *testing.F) {
	for _, b := range someDump(wgkey.PrivateFrom([32]byte{1}), time.Unix(5, 6)) {
		f.Add(b)
	}
	f.Add(done(unix.NLM_F_DUMP_INTR, -1))
	f.Add(about(0, nest(unix.WGDEVICE_A_PEERS, peerOf(1, ips("10.0.0.0/33"[:10])))))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s gateway.State
		if _, err := take(&s, b); err != nil {
			return
		}
		for _, p := range s.Peers {
			for _, a := range p.AllowedIPs {
				require.True(t, a.IsValid())
				require.Equal(t, a.Masked(), a)
			}
		}
	})
}

// A dump allocates nothing for a peer whose memory is there.
func TestDumpReusesMemory(t *testing.T) {
	var s gateway.State
	all := someDump(wgkey.PrivateFrom([32]byte{1}), time.Unix(5, 6))[1:]
	read := func() {
		s.Peers = s.Peers[:0]
		_, err := take(&s, all...)
		require.NoError(t, err)
	}
	read()
	require.Zero(t, testing.AllocsPerRun(100, read))
}
