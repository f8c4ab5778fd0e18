//go:build linux

package wgdevice_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// fronted is a pair whose gateway has a server behind it, and addresses there that
// move.
type fronted struct {
	*pair

	lan   *testnet.Host
	inner []netip.Addr
}

func newFronted(t *testing.T, back wgdevice.Backend) *fronted {
	t.Helper()
	p := newPair(t, back)
	f := &fronted{pair: p, lan: p.net.Host("lan"), inner: addrs("10.60.0.10", "fd60::10")}
	require.NoError(t, errors.Join(
		p.net.Link(p.gw, "lan0", f.lan, "eth0"),
		p.gw.Addr("lan0", list("10.60.0.1/24", "fd60::1/64")...), f.lan.Addr("eth0", list("10.60.0.2/24", "fd60::2/64")...),
	))
	p.want.Peers[0].AllowedIPs = list("10.20.0.0/16", "10.60.0.0/24", "fd20::/64", "fd60::/64")
	reconcile(t, p.end, p.want)
	p.wantGate.Interface.Inner = f.inner
	reconcile(t, p.gate, p.wantGate)
	f.move(t, true)
	return f
}

// move puts the inner addresses onto the gateway, or takes them away.
func (f *fronted) move(t *testing.T, have bool) {
	t.Helper()
	for _, a := range f.inner {
		require.NoError(t, move(f.gw, "lan0", a, have))
	}
}

// conversation is a connection that the client began with the server.
type conversation struct{ client, server *net.TCPConn }

func (f *fronted) connect(t *testing.T, to string) conversation {
	t.Helper()
	l, err := f.lan.ListenTCP(at(to))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := f.client.DialTCP(ctx, netip.AddrPort{}, at(to))
	require.NoError(t, err)
	s, err := l.AcceptTCP()
	require.NoError(t, errors.Join(err, l.Close()))
	for _, end := range []*net.TCPConn{c, s} {
		require.NoError(t, errors.Join(end.SetKeepAlive(false), end.SetDeadline(time.Now().Add(patience))))
	}
	t.Cleanup(func() { _ = errors.Join(c.Close(), s.Close()) })
	return conversation{c, s}
}

// says writes a word at one end, and reads it at the other.
func says(t *testing.T, from, to *net.TCPConn, word string) {
	t.Helper()
	_, err := from.Write([]byte(word))
	require.NoError(t, err)
	hears(t, to, word)
}

func hears(t *testing.T, at *net.TCPConn, word string) {
	t.Helper()
	b := make([]byte, len(word))
	_, err := io.ReadFull(at, b)
	require.NoError(t, err)
	require.Equal(t, word, string(b))
}

// flows are the connections that the gateway tracks for an address.
func (f *fronted) flows(t *testing.T, a netip.Addr) (n int) {
	t.Helper()
	family := netlink.InetFamily(unix.AF_INET)
	if a.Is6() {
		family = unix.AF_INET6
	}
	require.NoError(t, f.gw.Do(func() error {
		all, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
		for _, one := range all {
			if one.Reverse.DstIP.Equal(a.AsSlice()) {
				n++
			}
		}
		return err
	}))
	return n
}

// acknowledged waits until neither end of c has anything under way.
func (c conversation) acknowledged(t *testing.T) {
	t.Helper()
	for _, end := range []*net.TCPConn{c.client, c.server} {
		raw, err := end.SyscallConn()
		require.NoError(t, err)
		testnet.Eventually(t, patience, func() error {
			var info *unix.TCPInfo
			var failed error
			err := raw.Control(func(fd uintptr) { info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
			if err := errors.Join(err, failed); err != nil || info.Unacked == 0 {
				return err
			}
			return errors.New("not all is acknowledged")
		})
	}
}

// replaced has the gateway know no connection, as one that has just taken over.
func (f *fronted) replaced(t *testing.T) {
	t.Helper()
	require.NoError(t, f.gw.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }))
}

// A connection goes on through a gateway that never saw it begin, with the address and
// the port that it had, whoever speaks first and whoever ends it.
func TestConnectionsArePickedUp(t *testing.T) { each(t, testConnectionsArePickedUp) }

func testConnectionsArePickedUp(t *testing.T, back wgdevice.Backend) {
	f := newFronted(t, back)
	for i, to := range []string{"10.60.0.2:80", "[fd60::2]:80"} {
		c := f.connect(t, to)
		seen, own := endOf(t, c.server.RemoteAddr()), endOf(t, c.client.LocalAddr())
		require.Equal(t, f.inner[i], seen.Addr().Unmap(), "the server sees another address")
		require.Equal(t, own.Port(), seen.Port())
		says(t, c.client, c.server, "hello")

		f.replaced(t)
		says(t, c.client, c.server, "still me")
		says(t, c.server, c.client, "still me too")

		// The server is first: it is not heard, nor refused, until the client says
		// something.
		c.acknowledged(t)
		f.replaced(t)
		_, err := c.server.Write([]byte("anybody"))
		require.NoError(t, err)
		require.NoError(t, c.client.SetReadDeadline(time.Now().Add(silence)))
		_, err = c.client.Read(make([]byte, 1))
		require.True(t, isTimeout(err), err)
		require.NoError(t, c.client.SetReadDeadline(time.Now().Add(patience)))
		require.Zero(t, f.flows(t, f.inner[i]), "a dropped segment is remembered")
		says(t, c.client, c.server, "me")
		hears(t, c.client, "anybody")

		// Who closes first, in a connection that nobody here knows, is heard.
		c.acknowledged(t)
		f.replaced(t)
		require.NoError(t, c.client.Close())
		_, err = c.server.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)

		c = f.connect(t, to)
		c.acknowledged(t)
		f.replaced(t)
		require.NoError(t, c.client.SetLinger(0))
		require.NoError(t, c.client.Close()) // with a reset
		_, err = c.server.Read(make([]byte, 1))
		require.ErrorIs(t, err, unix.ECONNRESET)
	}
}

func endOf(t *testing.T, a net.Addr) netip.AddrPort {
	t.Helper()
	tcp, ok := a.(*net.TCPAddr)
	require.True(t, ok)
	return tcp.AddrPort()
}

// Who sends something that belongs to nothing known is told nothing; who begins
// something is heard.
func TestUnknownSegmentsAreNotRefused(t *testing.T) { each(t, testUnknownSegmentsAreNotRefused) }

func testUnknownSegmentsAreNotRefused(t *testing.T, back wgdevice.Backend) {
	f := newFronted(t, back)
	for i, own := range []string{"10.60.0.1", "fd60::1"} {
		refused := func(to netip.Addr) error {
			c, err := f.lan.DialUDP(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(to, 9))
			require.NoError(t, err)
			defer func() { _ = c.Close() }()
			_, err = c.Write([]byte("?"))
			require.NoError(t, err)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(silence)))
			_, err = c.Read(make([]byte, 1))
			return err
		}
		require.ErrorIs(t, refused(netip.MustParseAddr(own)), unix.ECONNREFUSED, "of the machine's own address it is told")
		require.True(t, isTimeout(refused(f.inner[i])))

		// A stranger's connection to the machine, and one that nobody takes.
		to := netip.AddrPortFrom(f.inner[i], 8080)
		l, err := f.gw.ListenTCP(to)
		require.NoError(t, err)
		c, err := f.lan.DialTCP(t.Context(), netip.AddrPort{}, to)
		require.NoError(t, err)
		s, err := l.AcceptTCP()
		require.NoError(t, err)
		says(t, c, s, "hello")
		says(t, s, c, "you")
		require.NoError(t, errors.Join(c.Close(), s.Close(), l.Close()))
		_, err = f.lan.DialTCP(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(f.inner[i], 8081))
		require.ErrorIs(t, err, unix.ECONNREFUSED)
	}
	run(t, f.lan, "ip", "neigh", "flush", "dev", "eth0") // and neighbours find the address
	c := f.connect(t, "[fd60::2]:80")
	says(t, c.client, c.server, "hello")
}

// When the addresses leave, nothing is known of their connections any more, or they
// would hang when they come back: they have gone on elsewhere.
func TestConnectionsAreForgottenWithTheirAddress(t *testing.T) {
	each(t, testConnectionsAreForgottenWithTheirAddress)
}

func testConnectionsAreForgottenWithTheirAddress(t *testing.T, back wgdevice.Backend) {
	f := newFronted(t, back)
	f.wantGate.Interface.Floating, f.wantGate.Interface.Mark = addrs("192.0.2.10"), moves
	reconcile(t, f.gate, f.wantGate)
	forgotten := func(want bool) {
		t.Helper()
		testnet.Eventually(t, patience, func() error {
			if n := f.flows(t, f.inner[0]) + f.flows(t, f.inner[1]); (n == 0) != want {
				return fmt.Errorf("it knows %d of them", n)
			}
			return nil
		})
	}
	four, six := f.connect(t, "10.60.0.2:80"), f.connect(t, "[fd60::2]:80")
	mine, err := f.gw.ListenTCP(at("10.60.0.1:80"))
	require.NoError(t, err)
	other, err := f.lan.DialTCP(t.Context(), netip.AddrPort{}, at("10.60.0.1:80"))
	require.NoError(t, err)
	forgotten(false)
	f.move(t, false) // while nobody looks
	forgotten(false)
	ctx, stop := context.WithCancel(t.Context())
	f.gate.Own(ctx, f.wantGate.Interface)
	forgotten(true)
	require.Positive(t, f.flows(t, netip.MustParseAddr("10.60.0.2")), "others' connections are none of ours")

	f.move(t, true)
	says(t, four.client, four.server, "hello")
	says(t, six.client, six.server, "hello")
	says(t, four.server, four.client, "hello")
	says(t, six.server, six.client, "hello")
	forgotten(false)
	f.move(t, false)
	forgotten(true)
	stop()
	f.move(t, true)
	says(t, four.client, four.server, "again")
	require.NoError(t, errors.Join(mine.Close(), other.Close()))
}

// What keeps connections from being picked up is told.
func TestStrictTrackingIsAProblem(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN, testnet.Nftables)
	f := newFronted(t, wgdevice.Userspace)
	require.Empty(t, observe(t, f.gate).Problems)
	require.NoError(t, f.gw.Sysctl("net.netfilter.nf_conntrack_tcp_loose", "0"))
	problems := observe(t, f.gate).Problems
	require.Len(t, problems, 1)
	require.Contains(t, problems[0], "nf_conntrack_tcp_loose is 0")
	f.wantGate.Interface.Inner = nil
	reconcile(t, f.gate, f.wantGate)
	require.Empty(t, observe(t, f.gate).Problems)
}
