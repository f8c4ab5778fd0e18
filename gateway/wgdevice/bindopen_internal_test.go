//go:build linux

package wgdevice

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

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
