//go:build linux

package testnet_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// here is the network namespace of the calling thread.
func here() (string, error) { return os.Readlink("/proc/thread-self/ns/net") }

func TestDo(t *testing.T) {
	n := testnet.ForTest(t)
	h := n.Host("a")
	outside, err := here()
	require.NoError(t, err)

	t.Run("runs in the host", func(t *testing.T) {
		var inside string
		require.NoError(t, h.Do(func() (err error) { inside, err = here(); return err }))
		require.NotEqual(t, outside, inside)
		again, err := here()
		require.NoError(t, err)
		require.Equal(t, outside, again)
	})
	t.Run("returns the error as it is", func(t *testing.T) {
		want := errors.New("so it is")
		require.Same(t, want, h.Do(func() error { return want }))
	})
	t.Run("a panic goes through", func(t *testing.T) {
		var none map[string]int
		require.Panics(t, func() { _ = h.Do(func() error { none["help"] = 1; return nil }) })
	})
	t.Run("FailNow inside ends the caller", func(t *testing.T) {
		var survived bool
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = h.Do(func() error { (&testing.T{}).FailNow(); return nil })
			survived = true
		})
		wg.Wait()
		require.False(t, survived)
	})
	t.Run("no thread stays behind in a host", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for range 50 {
					if err := h.Do(func() error { return nil }); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		threads, err := filepath.Glob("/proc/self/task/*/ns/net")
		require.NoError(t, err)
		for _, thread := range threads {
			if ns, err := os.Readlink(thread); err == nil { // threads come and go
				require.Equal(t, outside, ns)
			}
		}
	})
}

func TestHostRefuses(t *testing.T) {
	n := testnet.ForTest(t)
	good := n.Host("good")
	lan := n.Switch("lan")
	require.NoError(t, lan.Attach(good, "eth0", prefix("192.0.2.1/24")))

	for name, want := range map[string]string{
		"":                 "want 1 to 15 of",
		"Gateway":          "want 1 to 15 of",
		"a-name-too-long-": "want 1 to 15 of",
		"good":             "is taken",
		"lan":              "is taken",
	} {
		n := testnet.ForTest(t)
		n.Host("good")
		n.Switch("lan")
		bad := n.Host(name)
		require.ErrorContains(t, n.Err(), want)
		// The one error comes out of everything, and nothing touches the
		// namespace of the test instead.
		require.ErrorContains(t, bad.Do(func() error { t.Error("ran"); return nil }), want)
		require.ErrorContains(t, lan.Attach(bad, "eth0"), want)
		require.ErrorContains(t, bad.Up("lo"), want)
		require.ErrorContains(t, bad.Route(testnet.Route{Via: addr("192.0.2.1")}), want)
		require.ErrorContains(t, bad.Capture(), want)
		_, err := bad.ListenUDP(netip.AddrPort{})
		require.ErrorContains(t, err, want)
		_, err = bad.Netlink().LinkList()
		require.Error(t, err)
		require.False(t, bad.NS().IsOpen())
		require.Contains(t, bad.Dump(), want)
	}

	for _, key := range []string{"kernel.hostname", "net/../kernel/hostname", "vm.swappiness"} {
		require.ErrorContains(t, good.Sysctl(key, "0"), "no parameter of a network namespace")
	}
	require.ErrorContains(t, good.Sysctl("net.ipv4.no_such_thing", "0"), "net.ipv4.no_such_thing")
	require.ErrorContains(t, good.Addr("eth9", prefix("192.0.2.5/24")), "eth9")
	require.ErrorContains(t, good.Route(testnet.Route{}), "neither a prefix nor a router")
	require.ErrorContains(t, lan.Cut(n.Host("stranger")), "not attached")
	require.ErrorContains(t, lan.Attach(good, "eth0"), "file exists")
	_, err := good.Probe(testnet.ProbeConfig{})
	require.ErrorContains(t, err, "ProbeConfig.To")
	_, err = testnet.New(cancelled(t), testnet.Config{})
	require.ErrorIs(t, err, context.Canceled)
}

func cancelled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestSockets(t *testing.T) {
	n := testnet.ForTest(t)
	a, b := n.Host("a"), n.Host("b")
	require.NoError(t, errors.Join(
		n.Link(a, "eth0", b, "eth0"),
		a.Addr("eth0", prefix("192.0.2.1/24"), prefix("2001:db8::1/64")),
		b.Addr("eth0", prefix("192.0.2.2/24"), prefix("2001:db8::2/64")),
	))
	for _, to := range []string{"192.0.2.2:80", "[2001:db8::2]:80"} {
		l, err := b.ListenTCP(at(to))
		require.NoError(t, err)
		c, err := a.DialTCP(t.Context(), netip.AddrPort{}, at(to))
		require.NoError(t, err)
		s, err := l.Accept()
		require.NoError(t, err)
		require.Equal(t, c.LocalAddr().String(), s.RemoteAddr().String())
		require.NoError(t, errors.Join(s.Close(), c.Close(), l.Close()))
		_, err = a.DialTCP(t.Context(), netip.AddrPort{}, at(to))
		require.ErrorContains(t, err, "refused")
	}
	_, err := a.ListenUDP(at("192.0.2.2:80"))
	require.ErrorContains(t, err, "host a", "an address of another host")
}

func TestCloseLeavesNothing(t *testing.T) {
	testnet.ForTest(t).Host("warm-up") // what the runtime opens once stays open
	files := openFiles(t)
	running := goleak.IgnoreCurrent()

	n, err := testnet.New(t.Context(), testnet.Config{Capture: true})
	require.NoError(t, err)
	a, b, lan := n.Host("a"), n.Host("b"), n.Switch("lan")
	n.Host("Wrong")
	require.NoError(t, errors.Join(
		lan.Attach(a, "eth0", prefix("192.0.2.1/24")),
		lan.Attach(b, "eth0", prefix("192.0.2.2/24")),
		a.Masquerade("eth0"),
		n.Floating(addr("192.0.2.10")).Move(b, "eth0"),
	))
	echo(t, b, "192.0.2.10:7")
	p, err := a.Probe(testnet.ProbeConfig{To: at("192.0.2.10:7")})
	require.NoError(t, err)
	held, err := a.ListenUDP(netip.AddrPort{})
	require.NoError(t, err)
	for range 200 { // those that callers close are not kept
		c, err := a.ListenUDP(netip.AddrPort{})
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
	nl := a.Netlink()
	require.NotEqual(t, files, openFiles(t), "or the comparison below says nothing")

	require.NoError(t, n.Close())
	require.NoError(t, n.Close(), "again")
	require.Equal(t, files, openFiles(t))
	goleak.VerifyNone(t, running)

	t.Run("and nothing works on another namespace afterwards", func(t *testing.T) {
		before := devices(t)
		_, err := nl.LinkList()
		require.Error(t, err)
		_, err = a.Netlink().LinkList()
		require.Error(t, err)
		_, err = held.WriteToUDPAddrPort(nil, at("192.0.2.2:9"))
		require.Error(t, err)
		require.ErrorIs(t, a.Do(func() error { return nil }), testnet.ErrClosed)
		require.ErrorIs(t, n.Host("late").Do(func() error { return nil }), testnet.ErrClosed)
		require.ErrorIs(t, n.Link(a, "x", b, "y"), testnet.ErrClosed)
		require.Error(t, lan.Cut(a))
		_, err = a.Echo(at("192.0.2.1:7"))
		require.ErrorIs(t, err, testnet.ErrClosed)
		_, err = p.WaitReply(t.Context(), time.Now())
		require.ErrorIs(t, err, testnet.ErrClosed)
		require.False(t, a.NS().IsOpen())
		require.Equal(t, before, devices(t))
		require.NotEmpty(t, n.Timeline())
		require.Contains(t, n.Dump(), "=== a")
	})
}

// openFiles are the kinds of open files of this process, with their number.
func openFiles(t *testing.T) map[string]int {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	digits := regexp.MustCompile(`\d+`)
	kinds := map[string]int{}
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil {
			kinds[digits.ReplaceAllString(to, "N")]++
		}
	}
	return kinds
}

func TestShell(t *testing.T) {
	n := testnet.ForTest(t)
	h := n.Host("a")
	var inside string
	require.NoError(t, h.Do(func() (err error) { inside, err = here(); return err }))
	var pid, fd int
	i := strings.Index(h.Shell(), "--net=")
	require.Positive(t, i, h.Shell())
	_, err := fmt.Sscanf(h.Shell()[i:], "--net=/proc/%d/fd/%d", &pid, &fd)
	require.NoError(t, err)
	to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	require.NoError(t, err)
	require.Equal(t, inside, to)
	require.Contains(t, h.String(), h.Shell())
}
