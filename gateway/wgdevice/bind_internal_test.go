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
