//go:build linux

package wgdevice_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// moves is the mark of gateways in these tests.
const moves = 0x68660007

func addrs(s ...string) []netip.Addr {
	out := make([]netip.Addr, len(s))
	for i, a := range s {
		out[i] = netip.MustParseAddr(a)
	}
	return out
}

// waitOwned reads the channel until it tells want.
func waitOwned(tb testing.TB, from <-chan []netip.Addr, want ...netip.Addr) {
	tb.Helper()
	late := time.After(patience)
	var now []netip.Addr
	for {
		select {
		case now = <-from:
			if slices.Equal(now, want) {
				return
			}
		case <-late:
			require.FailNow(tb, "nobody told", "want %v, told last %v", want, now)
		}
	}
}

// sourceTo is the address that the host sends from to somewhere, with a mark.
func sourceTo(tb testing.TB, h *testnet.Host, to string, mark uint32) netip.Addr {
	tb.Helper()
	list, err := h.Netlink().RouteGetWithOptions(netip.MustParseAddr(to).AsSlice(), &netlink.RouteGetOptions{Mark: mark})
	require.NoError(tb, err)
	require.NotEmpty(tb, list)
	a, ok := netip.AddrFromSlice(list[0].Src)
	require.True(tb, ok)
	return a.Unmap()
}

// A gateway for which the floating address is one of several, and a secondary one,
// takes a client over from there and not from its own address, and does so again
// when the address has gone and come back. P13 needs that.
func TestKicksComeFromTheFloatingAddress(t *testing.T) {
	for _, c := range []struct{ name, own, float, client string }{
		{"IPv4", "192.0.2.1", "192.0.2.10", "192.0.2.2"},
		{"IPv6", "2001:db8::1", "2001:db8::10", "2001:db8::2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, back wgdevice.Backend) { testKicksFrom(t, back, c.own, c.float, c.client) })
		})
	}
}

func testKicksFrom(t *testing.T, back wgdevice.Backend, own, float, at string) {
	p := plainPair(t, back, "192.0.2.1:51820")
	a := netip.MustParseAddr(float)
	client := p.wantGate.Peers[0]
	p.wantGate.Interface.Mark, p.wantGate.Interface.Floating = moves, []netip.Addr{a}
	p.wantGate.Peers = nil
	reconcile(t, p.gate, p.wantGate)
	peer := &p.want.Peers[0]
	peer.Keepalive, peer.Endpoint = 0, netip.AddrPortFrom(a, p.wantGate.Interface.Port)
	reconcile(t, p.end, p.want)

	kick := func() {
		t.Helper()
		<-time.After(50 * time.Millisecond) // time itself: whoever is spoken to takes 50 handshakes a second from one peer
		before := find(t, observe(t, p.end), peer.Key).Handshake
		where := netip.AddrPortFrom(netip.MustParseAddr(at), p.want.Interface.Port)
		require.NoError(t, p.gate.Apply(t.Context(), gateway.Plan{
			{Verb: gateway.Remove, Peer: client}, {Verb: gateway.Set, Peer: client},
			{Verb: gateway.Kick, Peer: gateway.Peer{Key: client.Key, Endpoint: where}},
		}))
		require.Eventually(t, func() bool {
			return !find(t, observe(t, p.gate), client.Key).Handshake.IsZero() &&
				!find(t, observe(t, p.end), peer.Key).Handshake.Equal(before)
		}, 4*time.Second, 5*time.Millisecond, "no session before a client would try by itself")
	}
	endpoint := func() netip.Addr { return find(t, observe(t, p.end), peer.Key).Endpoint.Addr() }

	owned := p.gate.Own(t.Context(), p.wantGate.Interface)
	waitOwned(t, owned)
	require.NoError(t, p.gw.Capture())
	p.net.Markf("from here on")
	var latest time.Duration
	for range 3 {
		began := time.Now()
		require.NoError(t, move(p.gw, "eth0", a, true))
		waitOwned(t, owned, a)
		latest = max(latest, time.Since(began))
		require.Equal(t, a, sourceTo(t, p.gw, at, moves))
		require.Equal(t, netip.MustParseAddr(own), sourceTo(t, p.gw, at, 0), "what others send is not ours to change")
		kick()
		p.talk(t)
		require.Equal(t, a, endpoint(), "the client was taken elsewhere")
		require.NoError(t, p.gate.Apply(t.Context(), gateway.Plan{{Verb: gateway.Remove, Peer: client}}))
		require.NoError(t, move(p.gw, "eth0", a, false))
		waitOwned(t, owned)
		require.Equal(t, netip.MustParseAddr(own), sourceTo(t, p.gw, at, moves), "as if we were not there")
	}
	t.Logf("told at most %v after the address was asked for", latest)
	sent := netip.AddrPortFrom(a, p.wantGate.Interface.Port).String() + " > "
	wrong := netip.AddrPortFrom(netip.MustParseAddr(own), p.wantGate.Interface.Port).String() + " > "
	_, seen, _ := strings.Cut(p.net.Timeline(), "from here on")
	require.NotContains(t, seen, wrong)
	kicks := 0
	for line := range strings.Lines(seen) {
		if strings.Contains(line, " gw eth0 ") && strings.Contains(line, " out "+sent) && strings.Contains(line, "WireGuard initiation") {
			kicks++
		}
	}
	require.Equal(t, 3, kicks, seen)

	// Somebody who has a session when the address comes.
	kick()
	p.talk(t)
	require.Equal(t, netip.MustParseAddr(own), endpoint())
	require.NoError(t, move(p.gw, "eth0", a, true))
	waitOwned(t, owned, a)
	if back != wgdevice.Kernel { // WireGuard in user space keeps to the address that it was spoken to at
		kick()
	}
	echo, err := p.client.Echo(netip.MustParseAddrPort("10.20.0.2:7"))
	require.NoError(t, err)
	probe, err := p.gw.Probe(testnet.ProbeConfig{To: netip.MustParseAddrPort("10.20.0.2:7")})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = probe.WaitReply(ctx, time.Time{})
	require.NoError(t, err)
	require.NoError(t, errors.Join(probe.Close(), echo.Close()))
	require.Equal(t, a, endpoint(), "it is sent to from where it was before")
}

// street is a gateway with two ways out.
func street(t *testing.T, back wgdevice.Backend) (*testnet.Host, *wgdevice.Device) {
	t.Helper()
	net := testnet.ForTest(t)
	gw, one, two := net.Host("gw"), net.Host("one"), net.Host("two")
	require.NoError(t, errors.Join(
		net.Link(gw, "eth0", one, "eth0"), net.Link(gw, "eth1", two, "eth0"),
		gw.Addr("eth0", list("192.0.2.1/24", "2001:db8::1/64")...), gw.Addr("eth1", list("198.51.100.1/24", "2001:db8:1::1/64")...),
	))
	return gw, open(t, inside(gw, back))
}

// ipOf is what ip(8) says, a line each, in order, for both families.
func ipOf(t *testing.T, h *testnet.Host, args ...string) (lines []string) {
	t.Helper()
	for _, family := range []string{"-4", "-6"} {
		out := run(t, h, "sh", "-c", "ip -o "+family+" "+strings.Join(args, " ")+" 2>/dev/null || true")
		for line := range strings.Lines(out) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
	}
	return lines
}

// The table has what main has, and follows it; what is not ours stays as it was.
func TestTableFollowsMain(t *testing.T) { each(t, testTableFollowsMain) }

func testTableFollowsMain(t *testing.T, back wgdevice.Backend) {
	gw, d := street(t, back)
	run(t, gw, "sh", "-ec", `
		ip rule add fwmark 0x9 lookup 900 priority 10400
		ip rule add fwmark 0x68660007 lookup 901 priority 20000
		ip route add 203.0.113.0/24 via 198.51.100.3 table 900
		ip route add default via 192.0.2.254
		ip route add default via 198.51.100.254 metric 100
		ip route add 203.0.113.0/24 nexthop via 192.0.2.3 weight 2 nexthop via 198.51.100.3 weight 1
		ip route add 203.0.113.128/25 via 100.64.9.9 dev eth1 onlink mtu 1400
		ip route add blackhole 203.0.113.77
		ip -6 route add default via 2001:db8::fe
		ip -6 route add 2001:db8:77::/48 metric 7 nexthop via 2001:db8::3 nexthop via 2001:db8:1::3
	`)
	rules, others := ipOf(t, gw, "rule"), ipOf(t, gw, "route", "show", "table", "900")
	tableOf := func() []string { return ipOf(t, gw, "route", "show", "table", fmt.Sprint(moves)) }
	want := gate(gateway.Peer{Key: public(1), AllowedIPs: list("172.30.0.0/24", "fd30::/64")})
	want.Interface.Mark = moves
	want.Interface.Floating = addrs("192.0.2.10", "192.0.2.11", "2001:db8::10")
	reconcile(t, d, want)
	records := tableOf()
	require.Len(t, records, 3)
	for _, line := range records {
		require.Contains(t, line, "throw ", "without an address the next table is asked")
	}
	require.Len(t, ipOf(t, gw, "rule"), len(rules)+2, "a rule of each family")
	for _, to := range []string{"203.0.113.5", "192.0.2.10", "10.9.9.9"} {
		require.Equal(t, sourceTo(t, gw, to, 0), sourceTo(t, gw, to, moves))
	}

	owned := d.Own(t.Context(), want.Interface)
	waitOwned(t, owned)
	require.NoError(t, move(gw, "eth1", want.Interface.Floating[1], true))
	waitOwned(t, owned, want.Interface.Floating[1])
	require.NoError(t, errors.Join(
		move(gw, "eth0", want.Interface.Floating[0], true), move(gw, "eth0", want.Interface.Floating[2], true),
	))
	waitOwned(t, owned, want.Interface.Floating...)
	var text []string
	for _, line := range tableOf() {
		if !strings.Contains(line, "throw ") {
			text = append(text, line)
		}
	}
	all := strings.Join(text, "\n")
	for _, part := range []string{
		"default via 192.0.2.254 dev eth0 proto 104 src 192.0.2.10",
		"default via 198.51.100.254 dev eth1 proto 104 src 192.0.2.10 metric 100",
		"203.0.113.128/25 via 100.64.9.9 dev eth1 proto 104 src 192.0.2.10 onlink mtu 1400",
		"nexthop via 192.0.2.3 dev eth0 weight 2", "nexthop via 198.51.100.3 dev eth1 weight 1",
		"192.0.2.0/24 dev eth0 proto 104 scope link src 192.0.2.10", "198.51.100.0/24 dev eth1 proto 104 scope link src 192.0.2.10",
		"2001:db8::/64 dev eth0 proto 104 src 2001:db8::10", "default via 2001:db8::fe dev eth0 proto 104 src 2001:db8::10",
		"2001:db8:77::/48 proto 104 src 2001:db8::10 metric 7",
	} {
		require.Contains(t, all, part)
	}
	for _, part := range []string{"wg0", "blackhole", "10.20.", "172.30.", "fd30:", "192.0.2.11"} {
		require.NotContains(t, all, part)
	}
	for line := range strings.Lines(all) {
		if strings.HasPrefix(line, "fe80:") {
			require.NotContains(t, line, "src")
		}
	}
	require.Equal(t, addrs("192.0.2.10")[0], sourceTo(t, gw, "203.0.113.130", moves))
	require.Equal(t, addrs("2001:db8::10")[0], sourceTo(t, gw, "2001:db8:77::1", moves))
	require.Empty(t, gateway.Diff(want, observe(t, d)))

	// Routes change and are followed, the first address goes, a link goes down.
	for _, step := range []struct {
		do, to, from string
	}{
		{"ip route replace default via 198.51.100.253", "203.1.1.1", "192.0.2.10"},
		{"ip route add 203.2.0.0/16 via 192.0.2.7", "203.2.0.1", "192.0.2.10"},
		{"ip -6 route add 2001:db8:88::/48 via 2001:db8:1::7", "2001:db8:88::1", "2001:db8::10"},
		{"ip addr del 192.0.2.10/32 dev eth0", "203.2.0.1", "192.0.2.11"},
		{"ip link set eth0 down", "203.1.1.1", "192.0.2.11"},
		{"ip link set eth0 up", "203.1.1.1", "192.0.2.11"},
	} {
		run(t, gw, "sh", "-ec", step.do)
		testnet.Eventually(t, patience, func() error {
			if diff := gateway.Diff(want, observe(t, d)); len(diff) > 0 {
				return fmt.Errorf("after %s: %v", step.do, diff)
			}
			if from := sourceTo(t, gw, step.to, moves); from != netip.MustParseAddr(step.from) {
				return fmt.Errorf("after %s: from %v, want %s", step.do, from, step.from)
			}
			return nil
		})
	}
	run(t, gw, "sh", "-ec", "ip addr del 192.0.2.11/32 dev eth1")

	// And nothing of ours stays.
	require.NoError(t, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}))
	require.Empty(t, tableOf())
	require.ElementsMatch(t, rules, ipOf(t, gw, "rule"))
	require.Equal(t, others, ipOf(t, gw, "route", "show", "table", "900"))
	for _, line := range ipOf(t, gw, "route") {
		require.NotContains(t, line, "proto 104")
	}
	run(t, gw, "ip", "link", "set", "eth1", "down") // whoever is told goes on, and makes nothing again
	run(t, gw, "ip", "link", "set", "eth1", "up")
	require.NoError(t, move(gw, "eth1", want.Interface.Floating[1], true))
	waitOwned(t, owned, want.Interface.Floating[1])
	require.Empty(t, tableOf())
}

// Rules and tables that somebody takes away are found to be gone, and made again.
func TestSourceDrift(t *testing.T) { each(t, testSourceDrift) }

func testSourceDrift(t *testing.T, back wgdevice.Backend) {
	gw, d := street(t, back)
	want := gate()
	want.Interface.Mark, want.Interface.Floating = moves, addrs("192.0.2.10", "2001:db8::10")
	reconcile(t, d, want)
	for _, a := range want.Interface.Floating {
		require.NoError(t, move(gw, "eth0", a, true))
	}
	changes := d.Changes(t.Context())
	for _, told := range []bool{false, true} {
		if told { // and somebody who keeps the tables does not hide it
			waitOwned(t, d.Own(t.Context(), want.Interface), want.Interface.Floating...)
		}
		for _, c := range []struct {
			strange string
			fields  gateway.Fields
		}{
			{"ip rule del priority 10400", gateway.FieldSource},
			{"ip -6 rule del priority 10400", gateway.FieldSource},
			{"ip route flush table 1751515143", gateway.FieldSource},
			{"ip -6 route flush table 1751515143", gateway.FieldSource},
			{"ip route del throw 192.0.2.10 table 1751515143", gateway.FieldSource},
			{"ip route del 192.0.2.0/24 table 1751515143", gateway.FieldSource},
			{"ip -6 route del 2001:db8::/64 table 1751515143", gateway.FieldSource},
			{"ip rule add fwmark 0x68660007 iif lo lookup 1751515143 priority 10400 protocol 104", gateway.FieldSource},
		} {
			reconcile(t, d, want)
			quiet(changes)
			run(t, gw, "sh", "-ec", c.strange)
			plan := gateway.Diff(want, observe(t, d))
			require.Len(t, plan, 1, c.strange)
			require.Equal(t, c.fields, plan[0].Fields, c.strange)
			if strings.Contains(c.strange, "rule") {
				select {
				case <-changes:
				case <-time.After(patience):
					require.Fail(t, "nobody noticed", c.strange)
				}
			}
			reconcile(t, d, want)
			require.Equal(t, want.Interface.Floating[0], sourceTo(t, gw, "192.0.2.2", moves), c.strange)
			require.Equal(t, want.Interface.Floating[1], sourceTo(t, gw, "2001:db8::2", moves), c.strange)
		}
	}
}

// While an address comes or goes, nobody who looks takes what is not done yet for
// drift.
func TestAnAddressIsNoDrift(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN, testnet.Nftables)
	gw, d := street(t, wgdevice.Userspace)
	want := gate()
	want.Interface.Mark, want.Interface.Floating = moves, addrs("192.0.2.10", "2001:db8::10")
	reconcile(t, d, want)
	waitOwned(t, d.Own(t.Context(), want.Interface))
	for i := range 60 {
		require.NoError(t, move(gw, "eth0", want.Interface.Floating[i/2%2], i%2 == 0))
		require.Empty(t, gateway.Diff(want, observe(t, d)))
	}
}

// quiet takes what is in the channel.
func quiet(changes <-chan struct{}) {
	for {
		select {
		case <-changes:
		case <-time.After(50 * time.Millisecond):
			return
		}
	}
}

// A mark takes everything along, also when somebody else has set another one.
func TestMarkMoves(t *testing.T) { each(t, testMarkMoves) }

func testMarkMoves(t *testing.T, back wgdevice.Backend) {
	gw, d := street(t, back)
	want := gate()
	want.Interface.Mark, want.Interface.Floating = moves, addrs("192.0.2.10", "2001:db8::10")
	reconcile(t, d, want)
	for _, a := range want.Interface.Floating {
		require.NoError(t, move(gw, "eth0", a, true))
	}
	for _, mark := range []uint32{77, 300, moves} {
		want.Interface.Mark = mark
		reconcile(t, d, want)
		require.Equal(t, addrs("192.0.2.10")[0], sourceTo(t, gw, "192.0.2.2", mark))
		require.Len(t, ipOf(t, gw, "rule", "list", "priority", "10400"), 2)
	}
	stranger := want.Interface // who knows nothing of floating addresses
	stranger.Mark = 78
	require.NoError(t, open(t, inside(gw, back)).Apply(t.Context(), gateway.Plan{{Verb: gateway.Configure, Fields: gateway.FieldMark, Interface: stranger}}))
	require.Equal(t, want.Interface.Floating, observe(t, d).Interface.Floating)
	reconcile(t, d, want)
	require.Len(t, ipOf(t, gw, "rule", "list", "priority", "10400"), 2)
	require.Empty(t, ipOf(t, gw, "route", "show", "table", "78"))

	for mark, why := range map[uint32]string{
		254: "the kernel's own", 255: "the kernel's own", 253: "the kernel's own", 900: "somebody else",
	} {
		run(t, gw, "sh", "-c", "ip route replace blackhole 203.0.113.0/24 table 900")
		bad := want.Clone()
		bad.Interface.Mark = mark
		require.ErrorContains(t, d.Apply(t.Context(), gateway.Diff(bad, observe(t, d))), why)
		require.Empty(t, gateway.Diff(want, observe(t, d)), "what was good was given up for it")
		reconcile(t, d, want)
	}
	require.Len(t, ipOf(t, gw, "route", "show", "table", "900"), 1)
	require.Equal(t, addrs("192.0.2.10")[0], sourceTo(t, gw, "192.0.2.2", moves))

	// Who ends the interface need not have seen it before.
	require.NoError(t, open(t, inside(gw, back)).Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}))
	require.Empty(t, ipOf(t, gw, "rule", "list", "priority", "10400"))
	require.Empty(t, ipOf(t, gw, "route", "show", "table", fmt.Sprint(moves)))
}

// An address of IPv6 is not told while the kernel looks whether somebody else has
// it, and never when somebody has.
func TestTentativeAddresses(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN, testnet.Nftables)
	net := testnet.ForTest(t)
	gw, other := net.Host("gw"), net.Host("other")
	require.NoError(t, errors.Join(net.Link(gw, "eth0", other, "eth0"), gw.Addr("eth0", prefix("2001:db8::1/64"))))
	require.NoError(t, errors.Join(gw.Sysctl("net.ipv6.conf.eth0.accept_dad", "1"), gw.Sysctl("net.ipv6.conf.eth0.dad_transmits", "1")))
	free, taken := addrs("2001:db8::10")[0], addrs("2001:db8::11")[0]
	require.NoError(t, move(other, "eth0", taken, true))
	d := open(t, inside(gw, wgdevice.Userspace))
	want := gate()
	want.Interface.Mark, want.Interface.Floating = moves, []netip.Addr{free, taken}
	reconcile(t, d, want)
	owned := d.Own(t.Context(), want.Interface)
	waitOwned(t, owned)
	run(t, gw, "sh", "-ec", "ip addr add 2001:db8::11/128 dev eth0; ip addr add 2001:db8::10/128 dev eth0")
	flags := func(a netip.Addr) int {
		l, err := gw.Netlink().LinkByName("eth0")
		require.NoError(t, err)
		have, err := gw.Netlink().AddrList(l, netlink.FAMILY_V6)
		require.NoError(t, err)
		for _, h := range have {
			if b, ok := netip.AddrFromSlice(h.IP); ok && a == b {
				return h.Flags
			}
		}
		require.Fail(t, "the address is not there")
		return 0
	}
	require.NotZero(t, flags(free)&unix.IFA_F_TENTATIVE, "the test has nothing to see: it is not tentative")
	require.Empty(t, observe(t, d).Owned)
	waitOwned(t, owned, free)
	require.Zero(t, flags(free)&unix.IFA_F_TENTATIVE)
	require.Equal(t, free, sourceTo(t, gw, "2001:db8::2", moves))
	testnet.Eventually(t, patience, func() error {
		if flags(taken)&unix.IFA_F_DADFAILED == 0 {
			return errors.New("nobody noticed that somebody has the address")
		}
		return nil
	})
	require.Equal(t, []netip.Addr{free}, observe(t, d).Owned)
	require.Empty(t, gateway.Diff(want, observe(t, d)))
	select {
	case now := <-owned:
		require.Equal(t, []netip.Addr{free}, now)
	default:
	}
}
