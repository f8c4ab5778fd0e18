//go:build linux

package wgdevice

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// party is a Bind that is open in a host, and what it receives.
type party struct {
	conn.Bind

	port uint16
	got  chan packet
	done sync.WaitGroup
}

// packet is what came, and from where.
type packet struct {
	text string
	from conn.Endpoint
}

// openParty opens the bind in the host, and closes it with the test.
func openParty(tb testing.TB, h *testnet.Host, b conn.Bind, port uint16) *party {
	tb.Helper()
	e := &party{Bind: b, got: make(chan packet, 1000)}
	var receive []conn.ReceiveFunc
	require.NoError(tb, h.Do(func() (err error) {
		receive, e.port, err = b.Open(port)
		return err
	}))
	for _, f := range receive {
		e.done.Go(func() { e.take(tb, f) })
	}
	tb.Cleanup(e.end)
	return e
}

func (e *party) end() {
	_ = e.Close()
	e.done.Wait()
}

func (e *party) take(tb testing.TB, receive conn.ReceiveFunc) {
	tb.Helper()
	buffers, sizes, from := room(batchSize), make([]int, batchSize), make([]conn.Endpoint, batchSize)
	for {
		n, err := receive(buffers, sizes, from)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			tb.Error(err)
			return
		}
		for i := range n {
			select {
			case e.got <- packet{string(buffers[i][:sizes[i]]), from[i]}:
			default: // more than anybody waits for
			}
		}
	}
}

func room(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = make([]byte, 2048)
	}
	return out
}

// send sends a packet to an address.
func (e *party) send(tb testing.TB, text, to string) {
	tb.Helper()
	ep, err := e.ParseEndpoint(to)
	require.NoError(tb, err)
	require.NoError(tb, e.Send([][]byte{[]byte(text)}, ep))
}

// next waits for a packet, which has to have that text.
func (e *party) next(tb testing.TB, text string) conn.Endpoint {
	tb.Helper()
	select {
	case p := <-e.got:
		require.Equal(tb, text, p.text)
		return p.from
	case <-time.After(10 * time.Second):
		require.Fail(tb, "nothing came", text)
		return nil
	}
}

// answer answers a packet.
func (e *party) answer(tb testing.TB, text string, to conn.Endpoint) {
	tb.Helper()
	require.NoError(tb, e.Send([][]byte{[]byte(text)}, to))
}

// cable is two hosts with a link: a has 1 and 3, c has 2, and 4 by IPv6.
func cable(tb testing.TB) (a, c *testnet.Host) {
	tb.Helper()
	testnet.Need(tb, testnet.Netns)
	n := testnet.ForTest(tb)
	a, c = n.Host("a"), n.Host("c")
	require.NoError(tb, errors.Join(
		n.Link(a, "eth0", c, "eth0"),
		a.Addr("eth0", list("192.0.2.1/24", "192.0.2.3/24", "2001:db8::1/64", "2001:db8::3/64")...),
		c.Addr("eth0", list("192.0.2.2/24", "2001:db8::2/64", "2001:db8::4/64")...),
	))
	return a, c
}

// Packets of both families arrive, in whatever order they are sent.
func TestBindSendsToTheRightFamily(t *testing.T) {
	a, c := cable(t)
	one, two := openParty(t, a, newBind(), 0), openParty(t, c, newBind(), 0)
	for range 20 {
		for _, to := range []string{"192.0.2.2", "2001:db8::2", "::ffff:192.0.2.2", "2001:db8::4"} {
			addr := netip.MustParseAddr(to)
			one.send(t, to, netip.AddrPortFrom(addr, two.port).String())
			from := two.next(t, to)
			require.Equal(t, addr.Unmap(), from.SrcIP(), "it came in elsewhere")
			require.Equal(t, one.port, netip.MustParseAddrPort(from.DstToString()).Port())
			two.answer(t, "answer", from)
			require.Equal(t, addr.Unmap(), one.next(t, "answer").DstIP())
		}
	}
}

// Packets arrive as they were sent, and in order, whatever their sizes: more than
// fit into one call of the kernel, and too large ones for the link in between.
func TestBindSendsMany(t *testing.T) {
	a, c := cable(t)
	b := newBind()
	one, two := openParty(t, a, b, 0), openParty(t, c, newBind(), 0)
	sizes := func(size func(i int) int) (all [][]byte) {
		for i := range 2*batchSize + 7 {
			p := fmt.Appendf(nil, "%d ", i)
			all = append(all, append(p, make([]byte, max(1, size(i)-len(p)))...))
		}
		return all
	}
	for _, cuts := range []bool{true, false} {
		for _, to := range []string{"192.0.2.2", "2001:db8::2"} {
			ep, err := one.ParseEndpoint(netip.AddrPortFrom(netip.MustParseAddr(to), two.port).String())
			require.NoError(t, err)
			one.answer(t, "the neighbour is known then", ep)
			two.next(t, "the neighbour is known then")
			for _, s := range b.ports.Load().all() {
				s.cuts.Store(cuts && s.cuts.Load())
			}
			for name, all := range map[string][][]byte{
				"equal":     sizes(func(int) int { return 1400 }),
				"small":     sizes(func(int) int { return 20 }),
				"growing":   sizes(func(i int) int { return 20 + i }),
				"shrinking": sizes(func(i int) int { return 500 - i }),
				"sawtooth":  sizes(func(i int) int { return 100 + 50*(i%7/6) }),
				"large":     sizes(func(i int) int { return 1400 + 600*(i%50/40) }),
			} {
				require.NoError(t, one.Send(all, ep), name)
				for _, p := range all {
					two.next(t, string(p))
				}
			}
		}
	}
}

// As many packets go to the kernel as one as it can cut again.
func TestJoint(t *testing.T) {
	for _, c := range []struct {
		sizes []int
		want  int
	}{
		{[]int{5}, 1},
		{[]int{5, 5, 5}, 3},
		{[]int{5, 5, 4, 5}, 3},
		{[]int{5, 5, 6}, 2},
		{[]int{5, 6}, 1},
		{[]int{5, 0, 5}, 1},
		{[]int{0, 0}, 1},
		{slices.Repeat([]int{1}, 100), 64},
		{slices.Repeat([]int{1420}, 100), 46},
		{append(slices.Repeat([]int{1420}, 46), 100), 47},
		{[]int{65507, 1}, 1},
		{[]int{65506, 1}, 2},
	} {
		packets := make([][]byte, len(c.sizes))
		for i, n := range c.sizes {
			packets[i] = make([]byte, n)
		}
		require.Equal(t, c.want, joint(packets), c.sizes)
	}
	for _, from := range []arrival{{src: netip.MustParseAddr("2001:db8::1")}, {src: netip.MustParseAddr("192.0.2.1")}, {}} {
		var b [controlSize]byte
		n := putPieces(b[:], 1420)
		n += copy(b[n:], from.control())
		h, data, _, err := unix.ParseOneSocketControlMessage(b[:n])
		require.NoError(t, err)
		require.Equal(t, []int32{unix.SOL_UDP, unix.UDP_SEGMENT}, []int32{h.Level, h.Type})
		require.Equal(t, uint16(1420), binary.NativeEndian.Uint16(data))
		at, _ := readControl(b[:n])
		require.Equal(t, from, at)
	}
}

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

// A port that somebody has in one family is taken, and nothing stays open.
func TestBindPortTaken(t *testing.T) {
	a, _ := cable(t)
	for _, by := range []string{"0.0.0.0:4500", "192.0.2.3:4500", "[::]:4500", "[2001:db8::3]:4500"} {
		taken, err := a.ListenUDP(at(by))
		require.NoError(t, err)
		b := newBind()
		require.NoError(t, a.Do(func() error {
			_, _, err := b.Open(4500)
			require.ErrorIs(t, err, unix.EADDRINUSE)
			return nil
		}))
		require.NoError(t, taken.Close())
		e := openParty(t, a, b, 4500)
		require.Equal(t, uint16(4500), e.port)
		_, _, err = b.Open(4501)
		require.ErrorIs(t, err, conn.ErrBindAlreadyOpen)
		e.end()
	}
}

// Any port is one that is free in both families.
func TestBindAnyPort(t *testing.T) {
	a, _ := cable(t)
	b := newBind()
	tries := 0
	b.listen = func(family int, port uint16) (*udpSocket, error) {
		if family == unix.AF_INET6 {
			require.NotZero(t, port)
			if tries++; tries <= 3 {
				return nil, fmt.Errorf("taken meanwhile: %w", unix.EADDRINUSE)
			}
		}
		return listenUDP(family, port)
	}
	e := openParty(t, a, b, 0)
	require.Equal(t, 4, tries)
	p := b.ports.Load()
	require.Equal(t, e.port, p.ip4.port)
	require.Equal(t, e.port, p.ip6.port)
	e.end()
	tries = -1000
	require.NoError(t, a.Do(func() error {
		_, _, err := b.Open(0)
		require.ErrorIs(t, err, unix.EADDRINUSE)
		return nil
	}))
}

// One family is enough, whichever it is.
func TestBindOneFamily(t *testing.T) {
	a, c := cable(t)
	for _, without := range []int{unix.AF_INET, unix.AF_INET6} {
		b := newBind()
		b.listen = func(family int, port uint16) (*udpSocket, error) {
			if family == without {
				return nil, fmt.Errorf("open: %w", unix.EAFNOSUPPORT)
			}
			return listenUDP(family, port)
		}
		one, two := openParty(t, a, b, 0), openParty(t, c, newBind(), 0)
		has, lacks := "192.0.2.2", "2001:db8::2"
		if without == unix.AF_INET {
			has, lacks = lacks, has
		}
		one.send(t, "hello", netip.AddrPortFrom(netip.MustParseAddr(has), two.port).String())
		two.next(t, "hello")
		ep, err := one.ParseEndpoint(netip.AddrPortFrom(netip.MustParseAddr(lacks), two.port).String())
		require.NoError(t, err)
		require.ErrorIs(t, one.Send([][]byte{{1}}, ep), unix.EAFNOSUPPORT)
	}
	b := newBind()
	b.listen = func(int, uint16) (*udpSocket, error) { return nil, unix.EAFNOSUPPORT }
	_, _, err := b.Open(0)
	require.ErrorIs(t, err, unix.EAFNOSUPPORT)
}

// IPv6 that is switched off takes nothing from IPv4.
func TestBindWithoutIPv6(t *testing.T) {
	a, c := cable(t)
	require.NoError(t, a.Sysctl("net.ipv6.conf.all.disable_ipv6", "1"))
	one, two := openParty(t, a, newBind(), 0), openParty(t, c, newBind(), 0)
	one.send(t, "hello", fmt.Sprintf("192.0.2.2:%d", two.port))
	two.answer(t, "hello, too", two.next(t, "hello"))
	one.next(t, "hello, too")
	ep, err := one.ParseEndpoint(fmt.Sprintf("[2001:db8::2]:%d", two.port))
	require.NoError(t, err)
	require.Error(t, one.Send([][]byte{{1}}, ep))
}

// The mark is on both sockets.
func TestBindMark(t *testing.T) {
	a, _ := cable(t)
	b := newBind()
	require.NoError(t, b.SetMark(7))
	e := openParty(t, a, b, 0)
	for _, mark := range []uint32{1, 0xffffffff, 0} {
		require.NoError(t, b.SetMark(mark))
		for _, s := range b.ports.Load().all() {
			require.NoError(t, s.raw.Control(func(fd uintptr) {
				have, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK)
				require.NoError(t, err)
				require.Equal(t, mark, uint32(have))
			}))
		}
	}
	e.end()
	require.NoError(t, b.SetMark(7))
}

// Close ends those who wait, again and again; what is closed sends nothing.
func TestBindClose(t *testing.T) {
	a, c := cable(t)
	b, two := newBind(), openParty(t, c, newBind(), 0)
	ep, err := b.ParseEndpoint(fmt.Sprintf("192.0.2.2:%d", two.port))
	require.NoError(t, err)
	for range 5 {
		one := openParty(t, a, b, 7000)
		one.answer(t, "hello", ep)
		two.answer(t, "hello, too", two.next(t, "hello"))
		one.next(t, "hello, too")
		require.NoError(t, one.Close())
		one.done.Wait()
		require.ErrorIs(t, b.Send([][]byte{{1}}, ep), net.ErrClosed)
	}
	require.NoError(t, b.Close())
	require.ErrorIs(t, b.Send([][]byte{{1}}, &conn.StdNetEndpoint{}), conn.ErrWrongEndpointType)
}

// The bind is opened, closed and marked while others send and receive.
func TestBindConcurrent(t *testing.T) {
	a, c := cable(t)
	b, two := newBind(), openParty(t, c, newBind(), 0)
	var senders sync.WaitGroup
	stop := make(chan struct{})
	for _, to := range []string{"192.0.2.2", "2001:db8::2"} {
		ep, err := b.ParseEndpoint(netip.AddrPortFrom(netip.MustParseAddr(to), two.port).String())
		require.NoError(t, err)
		senders.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = b.Send([][]byte{[]byte("hello")}, ep)
				}
			}
		})
	}
	senders.Go(func() {
		for {
			select {
			case <-stop:
				return
			case p := <-two.got:
				_ = two.Send([][]byte{[]byte(p.text)}, p.from)
			}
		}
	})
	for i := range 20 {
		one := openParty(t, a, b, 7000)
		from := (<-one.got).from
		senders.Go(func() {
			for range 50 {
				_ = b.Send([][]byte{[]byte("again")}, from)
			}
			from.ClearSrc()
		})
		for range 50 {
			require.NoError(t, b.SetMark(uint32(i)))
		}
		require.NoError(t, one.Close())
		one.done.Wait()
	}
	close(stop)
	senders.Wait()
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
