//go:build linux

package testnet_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// shows waits until the timeline has a line with all of the words.
func shows(t *testing.T, n *testnet.Net, words ...string) {
	t.Helper()
	testnet.Eventually(t, patience, func() error {
		for l := range strings.Lines(n.Timeline()) {
			all := true
			for _, w := range words {
				all = all && strings.Contains(l, w)
			}
			if all {
				return nil
			}
		}
		return errors.New("no line with all of " + strings.Join(words, ", "))
	})
}

func TestTimelineShowsWhatHappened(t *testing.T) {
	n := testnet.ForTest(t)
	a, b, lan := n.Host("a"), n.Host("b"), n.Switch("lan")
	require.NoError(t, errors.Join(
		lan.Attach(a, "eth0", prefix("192.0.2.1/24"), prefix("2001:db8::1/64")),
		lan.Attach(b, "eth0", prefix("192.0.2.2/24"), prefix("2001:db8::2/64")),
	))
	c, err := a.ListenUDP(at("192.0.2.1:51820"))
	require.NoError(t, err)
	initiation := make([]byte, 148)
	initiation[0], initiation[4] = 1, 0xcd
	_, err = c.WriteToUDPAddrPort(initiation, at("192.0.2.2:51820"))
	require.NoError(t, err)
	f := n.Floating(addr("192.0.2.10"), addr("2001:db8::10"))
	n.Markf("here it comes")
	require.NoError(t, f.Move(b, "eth0"))
	require.NoError(t, lan.Cut(b))

	const line = "192.0.2.1:51820 > 192.0.2.2:51820 UDP 148 WireGuard initiation from 000000cd"
	shows(t, n, "a eth0", " out ", line)
	shows(t, n, "b eth0", " in ", line)
	shows(t, n, "b eth0", " out ", "ARP 192.0.2.10 is at", "(announced)")
	shows(t, n, "a eth0", " in ", "ICMPv6 2001:db8::10 is at", "(announced)")
	shows(t, n, "-- here it comes")
	shows(t, n, "-- [192.0.2.10 2001:db8::10] moves to b")
	shows(t, n, "-- cut b at lan")

	text := n.Timeline()
	out, in := strings.Index(text, " out "+line), strings.Index(text, " in  "+line)
	require.Less(t, out, in, "what was sent is received later, whichever host was read first:\n%s", text)
	require.Less(t, strings.Index(text, "here it comes"), strings.Index(text, "(announced)"))

	t.Run("a network that was not asked to capture shows its marks only", func(t *testing.T) {
		q, err := testnet.New(t.Context(), testnet.Config{Packets: 2})
		require.NoError(t, err)
		defer func() { require.NoError(t, q.Close()) }()
		x, y := q.Host("x"), q.Host("y")
		require.NoError(t, q.Link(x, "eth0", y, "eth0"))
		for _, m := range []string{"first", "second", "third"} {
			q.Markf("%s", m)
		}
		require.NotContains(t, q.Timeline(), "first")
		require.Contains(t, q.Timeline(), "(1 older lines are gone)")
		require.Equal(t, 3, strings.Count(q.Timeline(), "\n"))
		require.NoError(t, errors.Join(x.Capture(), x.Capture()))
	})
}

func TestDump(t *testing.T) {
	testnet.Need(t, testnet.Nftables)
	n := testnet.ForTest(t)
	a, lan := n.Host("a"), n.Switch("lan")
	require.NoError(t, errors.Join(
		lan.Attach(a, "eth0", prefix("192.0.2.1/24"), prefix("2001:db8::1/64")),
		a.Route(testnet.Route{Via: addr("192.0.2.9")}),
		a.Route(testnet.Route{To: prefix("198.51.100.0/24"), Via: addr("192.0.2.8"), Src: addr("192.0.2.1"), Table: 77}),
		a.Masquerade("eth0"),
	))
	for _, nft := range []string{"with the nft program, if there is one", "without"} {
		t.Run(nft, func(t *testing.T) {
			if nft == "without" {
				t.Setenv("PATH", "/nonexistent")
			}
			text := n.Dump()
			for _, want := range []string{
				"=== a (nsenter ", "=== lan (nsenter ", "eth0 (veth) up", "192.0.2.1/24", "2001:db8::1/64",
				"via 192.0.2.9 dev eth0", "198.51.100.0/24 via 192.0.2.8 dev eth0 src 192.0.2.1 table 77",
				"testnet_nat", "postrouting", "br0 (bridge)",
			} {
				require.Contains(t, text, want)
			}
			require.NotContains(t, text, "error")
		})
	}
}

func TestForTestShowsAFailure(t *testing.T) {
	testnet.Need(t, testnet.Netns)
	f := &failing{fakeT: fakeT{T: t}}
	n := testnet.ForTest(f)
	n.Host("gw1")
	n.Markf("the moment")
	f.failed = true
	f.cleanup()
	require.Contains(t, f.logged, "=== gw1 (nsenter ")
	require.Contains(t, f.logged, "-- the moment")
	require.ErrorIs(t, n.Host("late").Do(func() error { return nil }), testnet.ErrClosed)

	t.Run("Eventually gives the last error", func(t *testing.T) {
		f := &fakeT{T: t}
		testnet.Eventually(f, 5*time.Millisecond, func() error { return context.Canceled })
		require.Contains(t, f.fatal, context.Canceled.Error())
	})
}

// failing is a test that fails when it is told to.
type failing struct {
	fakeT
	failed  bool
	logged  string
	cleanup func()
}

func (f *failing) Failed() bool      { return f.failed }
func (f *failing) Cleanup(fn func()) { f.cleanup = fn }
func (f *failing) Log(args ...any) {
	for _, a := range args {
		f.logged += fmt.Sprint(a)
	}
}

func TestProbeOutlivesErrors(t *testing.T) {
	n := testnet.ForTest(t)
	a, b := n.Host("a"), n.Host("b")
	require.NoError(t, errors.Join(
		n.Link(a, "eth0", b, "eth0"),
		a.Addr("eth0", prefix("192.0.2.1/24")),
		b.Addr("eth0", prefix("192.0.2.2/24")),
	))
	p, err := a.Probe(testnet.ProbeConfig{To: at("192.0.2.2:7"), From: netip.MustParseAddrPort("192.0.2.1:0"), Every: time.Millisecond})
	require.NoError(t, err)
	sent := func(more uint64) {
		t.Helper()
		from := p.Sent()
		testnet.Eventually(t, patience, func() error {
			if p.Sent() < from+more {
				return errors.New("it does not send")
			}
			return nil
		})
	}
	sent(20) // nobody listens: port unreachable
	shows(t, n, "ICMP unreachable, code 3")
	require.NoError(t, a.Down("eth0")) // no route: each send fails
	sent(20)
	require.NoError(t, a.Up("eth0"))
	require.Empty(t, p.Replies())

	echo(t, b, "192.0.2.2:7")
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := p.WaitReply(ctx, start)
	require.NoError(t, err)
	require.True(t, r.Sent.After(start))
	require.True(t, r.Received.After(r.Sent))
	require.GreaterOrEqual(t, p.Lost(), uint64(40))
	require.NoError(t, errors.Join(p.Close(), p.Close()))
	outage := p.Outage(start)
	require.Less(t, outage, patience)
	<-time.After(2 * outage) // time itself: it shall change nothing
	require.Equal(t, outage, p.Outage(start), "time stands still once it is closed")
}
