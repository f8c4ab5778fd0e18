//go:build linux

package wgdevice

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// Answers leave from the address that was asked.
func TestBindAnswersFromWhereItWasAsked(t *testing.T) {
	a, c := cable(t)
	one, two := openParty(t, a, newBind(), 0), openParty(t, c, newBind(), 0)
	for _, asked := range []string{"192.0.2.1", "192.0.2.3", "2001:db8::1", "2001:db8::3", linkLocalOf(t, a) + "%eth0"} {
		addr := netip.MustParseAddr(asked)
		two.send(t, asked, netip.AddrPortFrom(addr, one.port).String())
		from := one.next(t, asked)
		require.Equal(t, addr.WithZone("").String(), from.SrcToString())
		require.Equal(t, addr.WithZone(""), from.SrcIP())
		for range 2 {
			one.answer(t, "answer", from)
			require.Equal(t, addr.WithZone(""), two.next(t, "answer").DstIP().WithZone(""))
		}
		two.send(t, "again", netip.AddrPortFrom(addr, one.port).String())
		require.Same(t, from, one.next(t, "again"), "it was made anew")
		from.ClearSrc()
		require.False(t, from.SrcIP().IsValid())
		require.Empty(t, from.SrcToString())
		one.answer(t, "answer from anywhere", from)
		two.next(t, "answer from anywhere")
		two.send(t, "again", netip.AddrPortFrom(addr, one.port).String())
		require.Equal(t, addr.WithZone(""), one.next(t, "again").SrcIP(), "it is not learned again")
	}
}

func linkLocalOf(t *testing.T, h *testnet.Host) (out string) {
	t.Helper()
	link, err := h.Netlink().LinkByName("eth0")
	require.NoError(t, err)
	testnet.Eventually(t, 10*time.Second, func() error {
		all, err := h.Netlink().AddrList(link, unix.AF_INET6)
		for _, a := range all {
			if a.IP.IsLinkLocalUnicast() && a.Flags&unix.IFA_F_TENTATIVE == 0 {
				out = a.IP.String()
				return nil
			}
		}
		return errors.Join(err, errors.New("there is no link-local address"))
	})
	return out
}

// A link-local peer has the number of the link as its zone.
func TestBindKeepsZones(t *testing.T) {
	a, c := cable(t)
	one, two := openParty(t, a, newBind(), 0), openParty(t, c, newBind(), 0)
	link, err := a.Netlink().LinkByName("eth0")
	require.NoError(t, err)
	want := fmt.Sprintf("[%s%%%d]:%d", linkLocalOf(t, c), link.Attrs().Index, two.port)
	ep, err := one.ParseEndpoint(fmt.Sprintf("[%s%%eth0]:%d", linkLocalOf(t, c), two.port))
	require.NoError(t, err)
	require.Equal(t, want, ep.DstToString())
	one.answer(t, "by name", ep)
	two.answer(t, "back", two.next(t, "by name"))
	require.Equal(t, want, one.next(t, "back").DstToString())
	one.send(t, "by number", want)
	two.next(t, "by number")

	_, err = one.ParseEndpoint("[fe80::1%nowhere]:7")
	require.ErrorIs(t, err, unix.ENODEV)
	_, err = newBind().ParseEndpoint("[fe80::1%eth0]:7")
	require.ErrorContains(t, err, "the zone has to be a number")
	_, err = one.ParseEndpoint("example.org:7")
	require.Error(t, err)
}

// A source that went unnoticed costs no packet, and is forgotten. One is not
// forgotten because there is no way to the peer for a while.
func TestBindSourceGone(t *testing.T) {
	a, c := cable(t)
	b := newBind()
	one, two := openParty(t, a, b, 0), openParty(t, c, newBind(), 0)
	for _, s := range []struct{ to, source, elsewhere string }{
		{"192.0.2.2", "192.0.2.77", "203.0.113.7"}, {"2001:db8::2", "2001:db8::77", "2001:db8:1::7"},
	} {
		e := newEndpoint(netip.AddrPortFrom(netip.MustParseAddr(s.to), two.port), 0, arrival{src: netip.MustParseAddr(s.source)})
		e.checked.Store(b.changes.Load())
		require.NoError(t, one.Send([][]byte{[]byte("one"), []byte("two")}, e))
		two.next(t, "one")
		two.next(t, "two")
		require.False(t, e.SrcIP().IsValid())

		ours := netip.MustParseAddr(s.source).Prev() // not there
		e = newEndpoint(netip.AddrPortFrom(netip.MustParseAddr(s.to), two.port), 0, arrival{src: ours})
		require.NoError(t, one.Send([][]byte{[]byte("three")}, e))
		two.next(t, "three")
		require.False(t, e.SrcIP().IsValid())
	}
	for _, s := range []struct{ to, source string }{{"203.0.113.7", "192.0.2.3"}, {"2001:db8:1::7", "2001:db8::3"}} {
		e := newEndpoint(netip.AddrPortFrom(netip.MustParseAddr(s.to), two.port), 0, arrival{src: netip.MustParseAddr(s.source)})
		require.ErrorIs(t, one.Send([][]byte{{1}}, e), unix.ENETUNREACH)
		require.True(t, e.SrcIP().IsValid())
	}
}

// The source is asked about after each change, and kept while it is right: an
// address that goes takes it away, and so does, by IPv4, a way that leads over
// another link.
func TestBindAsksAfterChanges(t *testing.T) {
	a, c := cable(t)
	b := newBind()
	one, two := openParty(t, a, b, 0), openParty(t, c, newBind(), 0)
	nl := a.Netlink()
	eth0, err := nl.LinkByName("eth0")
	require.NoError(t, err)
	for _, s := range []struct{ source, addr, other string }{
		{"192.0.2.3", "192.0.2.3/24", "192.0.2.9/24"}, {"2001:db8::3", "2001:db8::3/64", "2001:db8::9/64"},
	} {
		source := netip.MustParseAddr(s.source)
		two.send(t, "hello", netip.AddrPortFrom(source, one.port).String())
		from := one.next(t, "hello")
		wait := func(change func() error) {
			t.Helper()
			before := b.changes.Load()
			require.NoError(t, change())
			testnet.Eventually(t, 10*time.Second, func() error {
				if b.changes.Load() == before {
					return errors.New("nobody noticed")
				}
				return nil
			})
		}
		for range 3 {
			wait(func() error { return nl.AddrAdd(eth0, address(netip.MustParsePrefix(s.other))) })
			one.answer(t, "answer", from)
			require.Equal(t, source, two.next(t, "answer").DstIP())
			wait(func() error { return nl.AddrDel(eth0, address(netip.MustParsePrefix(s.other))) })
			one.answer(t, "answer", from)
			require.Equal(t, source, two.next(t, "answer").DstIP())
			require.Equal(t, source, from.SrcIP())
		}
		wait(func() error { return nl.AddrDel(eth0, address(netip.MustParsePrefix(s.addr))) })
		one.answer(t, "answer", from)
		require.NotEqual(t, source, two.next(t, "answer").DstIP())
		require.False(t, from.SrcIP().IsValid())
	}
	two.send(t, "hello", fmt.Sprintf("192.0.2.1:%d", one.port))
	from, _ := one.next(t, "hello").(*endpoint)
	require.Equal(t, uint32(eth0.Attrs().Index), from.link)
	elsewhere := newEndpoint(from.dst, 0, arrival{from.src, from.link + 1})
	one.answer(t, "answer", elsewhere)
	two.next(t, "answer")
	require.False(t, elsewhere.SrcIP().IsValid(), "the way there leads over another link")
	one.answer(t, "answer", from)
	two.next(t, "answer")
	require.True(t, from.SrcIP().IsValid())
}

// Names and control messages are what the kernel takes and gives.
func TestEndpoint(t *testing.T) {
	for _, s := range []string{"192.0.2.1:7", "[2001:db8::1]:65535", "[fe80::1%3]:51820"} {
		b := newBind()
		ep, err := b.ParseEndpoint(s)
		require.NoError(t, err)
		require.Equal(t, s, ep.DstToString())
		require.Equal(t, at(s).Addr(), ep.DstIP())
		require.False(t, ep.SrcIP().IsValid())
		require.Empty(t, ep.SrcToString())
		e, _ := ep.(*endpoint)
		dst, zone, ok := e.name.read()
		require.True(t, ok)
		require.Equal(t, at(s).Addr().WithZone(""), dst.Addr())
		require.Equal(t, at(s).Port(), dst.Port())
		require.Equal(t, at(s).Addr().Zone() == "3", zone == 3)
		other, err := b.ParseEndpoint(s[:len(s)-1] + "1")
		require.NoError(t, err)
		require.NotEqual(t, other.DstToBytes(), ep.DstToBytes())
	}
	for _, a := range []arrival{
		{}, {src: netip.MustParseAddr("192.0.2.1")}, {src: netip.MustParseAddr("2001:db8::1")}, {netip.MustParseAddr("fe80::1"), 7},
	} {
		at, pieces := readControl(a.control())
		require.Equal(t, a, at)
		require.Zero(t, pieces)
	}
	for _, bad := range [][]byte{nil, {1}, make([]byte, controlSize), unix.UnixRights(1), arrival{src: netip.IPv4Unspecified()}.control()} {
		at, pieces := readControl(bad)
		require.Equal(t, arrival{}, at)
		require.Zero(t, pieces)
	}
	_, _, ok := new(sockname).read()
	require.False(t, ok)
}
