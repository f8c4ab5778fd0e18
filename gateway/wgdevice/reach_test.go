//go:build linux

package wgdevice_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// silence is how long nothing has to come where nothing may come. Each way is
// tried open as well, where it takes some milliseconds.
const silence = 250 * time.Millisecond

// town is a pair with a second client, who has a network behind him, and with
// networks behind the gateway: a host in one, and a router in another, with a
// host behind that.
type town struct {
	*pair

	second, lan, router, far *testnet.Host
	other                    *wgdevice.Device
	echo                     uint16 // the first port of the ways that were tried last
}

func newTown(t *testing.T, back wgdevice.Backend) *town {
	t.Helper()
	p := newPair(t, back)
	w := &town{pair: p, second: p.net.Host("second"), lan: p.net.Host("lan"), router: p.net.Host("router"), far: p.net.Host("far")}
	v4, v6 := prefix("10.20.0.0/16"), prefix("fd20::/64")
	route := func(h *testnet.Host, via string, to ...netip.Prefix) error {
		var errs []error
		for _, p := range to {
			errs = append(errs, h.Route(testnet.Route{To: p, Via: netip.MustParseAddr(via)}))
		}
		return errors.Join(errs...)
	}
	require.NoError(t, errors.Join(
		p.net.Link(p.gw, "eth1", w.second, "eth0"),
		p.gw.Addr("eth1", prefix("198.51.100.1/24")), w.second.Addr("eth0", prefix("198.51.100.2/24")),
		w.second.Addr("lo", list("10.70.0.2/32", "fd70::2/128")...),
		p.net.Link(p.gw, "lan0", w.lan, "eth0"),
		p.gw.Addr("lan0", list("10.60.0.1/24", "fd60::1/64")...), w.lan.Addr("eth0", list("10.60.0.2/24", "fd60::2/64")...),
		route(w.lan, "10.60.0.1", v4), route(w.lan, "fd60::1", v6),
		p.net.Link(p.gw, "lan1", w.router, "eth0"),
		p.gw.Addr("lan1", list("10.61.0.1/24", "fd61::1/64")...), w.router.Addr("eth0", list("10.61.0.2/24", "fd61::2/64")...),
		p.net.Link(w.router, "eth1", w.far, "eth0"), w.router.Forward(),
		w.router.Addr("eth1", list("10.62.0.1/24", "fd62::1/64")...), w.far.Addr("eth0", list("10.62.0.2/24", "fd62::2/64")...),
		route(p.gw, "10.61.0.2", prefix("10.62.0.0/24")), route(p.gw, "fd61::2", prefix("fd62::/64")),
		route(w.router, "10.61.0.1", v4), route(w.router, "fd61::1", v6),
		route(w.far, "10.62.0.1", prefix("10.0.0.0/8")), route(w.far, "fd62::1", prefix("fd00::/8")),
	))
	for _, end := range []*testnet.Host{w.router, w.far} {
		link, err := end.Netlink().LinkByName(map[*testnet.Host]string{w.router: "eth1", w.far: "eth0"}[end])
		require.NoError(t, err)
		require.NoError(t, end.Netlink().LinkSetMTU(link, narrow))
	}
	all := list("10.0.0.0/8", "fd00::/8")
	p.want.Peers[0].AllowedIPs = all
	reconcile(t, p.end, p.want)

	key := wgkey.NewPrivate()
	p.wantGate = gate(p.wantGate.Peers[0], gateway.Peer{
		Key: key.Public(), AllowedIPs: list("10.20.0.3/32", "10.70.0.0/24", "fd20::3/128", "fd70::/64"),
	})
	reconcile(t, p.gate, p.wantGate) // before somebody knocks in vain, and waits 5 s
	w.other = open(t, inside(w.second, back))
	reconcile(t, w.other, gateway.Config{
		Interface: gateway.Interface{Key: key, Port: 51822, MTU: 1420, Addrs: list("10.20.0.3/32", "fd20::3/128")},
		Peers: []gateway.Peer{{
			Key: p.wantGate.Interface.Key.Public(), AllowedIPs: all, Keepalive: time.Second, Endpoint: at("198.51.100.1:51820"),
		}},
	})
	return w
}

// narrow is the MTU between the router and the far host.
const narrow = 1280

// way is from one host to an address of another.
type way struct {
	name     string
	from, to *testnet.Host
	src, dst string // the last part of addresses in 10. and fd
}

func (w *town) ways() []way {
	return []way{
		{"to a destination", w.client, w.lan, "20.0.2", "60.0.2"},
		{"to a destination behind a router", w.client, w.far, "20.0.2", "62.0.2"},
		{"to no destination", w.client, w.router, "20.0.2", "61.0.2"},
		{"from a destination", w.lan, w.client, "60.0.2", "20.0.2"},
		{"from no destination", w.router, w.client, "61.0.2", "20.0.2"},
		{"to a peer", w.client, w.second, "20.0.2", "20.0.3"},
		{"from a peer", w.second, w.client, "20.0.3", "20.0.2"},
		{"to what is behind a peer", w.client, w.second, "20.0.2", "70.0.2"},
		{"from what is behind a peer", w.second, w.client, "70.0.2", "20.0.2"},
		{"to the gateway", w.client, w.gw, "20.0.2", "20.0.1"},
		{"to an address of the gateway that is a destination", w.client, w.gw, "20.0.2", "60.0.1"},
		{"to an address of the gateway that is none", w.client, w.gw, "20.0.2", "61.0.1"},
		{"to an address of the gateway out there", w.client, w.gw, "20.0.2", "66.0.1"},
	}
}

// both makes two addresses of a short one: 10.60.0.2 and fd60::2.
func both(short string) (v4, v6 netip.Addr) {
	network, host, _ := strings.Cut(short, ".0.")
	return netip.MustParseAddr("10." + short), netip.MustParseAddr("fd" + network + "::" + host)
}

// passes says what is wrong if what is sent should arrive, and be answered, or
// if nothing should arrive.
func passes(from, to *testnet.Host, src, dst netip.AddrPort, want bool) error {
	l, err := to.ListenUDP(dst)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	c, err := from.DialUDP(context.Background(), src, dst)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	limit := silence
	if want {
		limit = patience
	}
	if err := errors.Join(l.SetReadDeadline(time.Now().Add(limit)), c.SetReadDeadline(time.Now().Add(limit))); err != nil {
		return err
	}
	came, answered := make(chan bool, 1), make(chan bool, 1)
	go func() {
		var b [64]byte
		n, back, err := l.ReadFromUDPAddrPort(b[:])
		came <- err == nil
		for ; err == nil; n, back, err = l.ReadFromUDPAddrPort(b[:]) {
			_, _ = l.WriteToUDPAddrPort(b[:n], back)
		}
	}()
	go func() {
		var b [64]byte
		_, err := c.Read(b[:])
		for err != nil && !isTimeout(err) && !errors.Is(err, net.ErrClosed) { // of ICMP
			_, err = c.Read(b[:])
		}
		answered <- err == nil
	}()
	for {
		_, _ = c.Write([]byte("hello"))
		select {
		case yes := <-answered:
			switch arrived := <-came; {
			case want && !arrived:
				return fmt.Errorf("nothing comes from %v to %v", src.Addr(), dst)
			case want && !yes:
				return fmt.Errorf("no answer comes from %v to %v", dst, src.Addr())
			case !want && arrived:
				return fmt.Errorf("what %v sends comes to %v", src.Addr(), dst)
			}
			return nil
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// try goes all ways at once, in both families; closed says which ones are.
func (w *town) try(t *testing.T, closed func(name string, v6 bool) bool) {
	t.Helper()
	// Each time other ports: what was sent before may still be in a queue of WireGuard.
	w.echo += 32
	var wg sync.WaitGroup
	wrong := make([]error, 2*len(w.ways()))
	for i, y := range w.ways() {
		src4, src6 := both(y.src)
		dst4, dst6 := both(y.dst)
		for n, ends := range [][2]netip.Addr{{src4, dst4}, {src6, dst6}} {
			wg.Go(func() {
				src, dst := netip.AddrPortFrom(ends[0], 0), netip.AddrPortFrom(ends[1], w.echo+uint16(i))
				if err := passes(y.from, y.to, src, dst, !closed(y.name, n == 1)); err != nil {
					wrong[2*i+n] = fmt.Errorf("%s: %w", y.name, err)
				}
			})
		}
	}
	wg.Wait()
	require.NoError(t, errors.Join(wrong...))
}

// Peers reach what they may reach, and are reached from there, in both families
// and with both ways to see them from behind.
//
// proves P8: no session is touched when that changes.
func TestReach(t *testing.T) { each(t, testReach) }

func testReach(t *testing.T, back wgdevice.Backend) {
	w := newTown(t, back)
	require.NoError(t, w.gw.Addr("eth0", list("10.66.0.1/32", "fd66::1/128")...))
	own := func(name string) bool {
		return strings.HasSuffix(name, "that is none") || strings.HasSuffix(name, "out there")
	}
	beyond := func(name string) bool { return strings.HasSuffix(name, "no destination") || own(name) }
	peers := func(name string) bool { return strings.HasSuffix(name, " a peer") }
	some := list("10.60.0.0/24", "10.62.0.0/24", "fd60::/64", "fd62::/64")
	w.try(t, func(string, bool) bool { return false })
	before := observe(t, w.gate)
	for _, c := range []struct {
		name         string
		destinations []netip.Prefix
		isolated     bool
		masquerade   []netip.Prefix
		closed       func(name string, v6 bool) bool
	}{
		{"isolated", nil, true, nil, func(name string, _ bool) bool { return peers(name) }},
		{"destinations", some, false, nil, func(name string, _ bool) bool { return beyond(name) }},
		{"destinations, masqueraded", some, false, list("10.20.0.0/16", "fd20::/64"), func(name string, _ bool) bool { return beyond(name) }},
		{"destinations and isolated", some, true, nil, func(name string, _ bool) bool { return beyond(name) || peers(name) }},
		{"all of IPv4, and isolated", list("0.0.0.0/0"), true, nil, func(name string, v6 bool) bool {
			return peers(name) || v6 && name != "to the gateway"
		}},
		{"open again", nil, false, nil, func(string, bool) bool { return false }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.wantGate.Interface.Destinations, w.wantGate.Interface.Isolated = c.destinations, c.isolated
			w.wantGate.Interface.Masquerade = c.masquerade
			plan := reconcile(t, w.gate, w.wantGate)
			require.Len(t, plan, 1)
			require.Equal(t, gateway.FieldFilter, plan[0].Fields)
			w.try(t, c.closed)
		})
	}
	after := observe(t, w.gate)
	for i := range before.Peers {
		require.Equal(t, before.Peers[i].Handshake, after.Peers[i].Handshake, "a session was reset")
		require.Greater(t, after.Peers[i].Rx, before.Peers[i].Rx)
	}
	require.NotContains(t, run(t, w.gw, "nft", "list", "ruleset"), "reach", "something is left of what is not asked for")
}

// A router that is no destination may say that a packet is too long for the way
// to one.
func TestErrorsPass(t *testing.T) { each(t, testErrorsPass) }

func testErrorsPass(t *testing.T, back wgdevice.Backend) {
	w := newTown(t, back)
	w.wantGate.Interface.Destinations, w.wantGate.Interface.Isolated = list("10.62.0.0/24", "fd62::/64"), true
	for _, masquerade := range [][]netip.Prefix{w.wantGate.Interface.Masquerade, nil} {
		w.wantGate.Interface.Masquerade = masquerade
		reconcile(t, w.gate, w.wantGate)
		run(t, w.client, "ip", "route", "flush", "cache")
		run(t, w.client, "ip", "-6", "route", "flush", "cache")
		for _, to := range []string{"10.62.0.2:9", "[fd62::2]:9"} {
			c, err := w.client.DialUDP(t.Context(), netip.AddrPort{}, at(to))
			require.NoError(t, err)
			raw, err := c.SyscallConn()
			require.NoError(t, err)
			var failed error
			require.NoError(t, raw.Control(func(fd uintptr) {
				if at(to).Addr().Is4() {
					failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
				} else {
					failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
				}
			}))
			require.NoError(t, failed)
			testnet.Eventually(t, patience, func() error {
				if _, err := c.Write(make([]byte, narrow+20)); !errors.Is(err, syscall.EMSGSIZE) {
					return errors.New("nobody said that it is too long")
				}
				return nil
			})
			require.NoError(t, c.Close())
		}
		// This machine hears that nobody listens, whichever address it spoke from.
		for src, dst := range map[string]string{"10.61.0.1:0": "10.20.0.2:9", "[fd61::1]:0": "[fd20::2]:9"} {
			c, err := w.gw.DialUDP(t.Context(), at(src), at(dst))
			require.NoError(t, err)
			testnet.Eventually(t, patience, func() error {
				if _, err := c.Write([]byte("hello")); !errors.Is(err, syscall.ECONNREFUSED) {
					return errors.New("nobody said that nobody listens")
				}
				return nil
			})
			require.NoError(t, c.Close())
		}
	}
}

// A connection goes on through a gateway that has never seen it, whoever made it.
func TestReachKnowsNoConnections(t *testing.T) { each(t, testReachKnowsNoConnections) }

func testReachKnowsNoConnections(t *testing.T, back wgdevice.Backend) {
	w := newTown(t, back)
	w.wantGate.Interface.Destinations, w.wantGate.Interface.Masquerade = list("10.60.0.0/24", "fd60::/64"), nil
	reconcile(t, w.gate, w.wantGate)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, ends := range []struct {
		from, to *testnet.Host
		at       string
	}{
		{w.client, w.lan, "10.60.0.2:80"}, {w.lan, w.client, "10.20.0.2:80"},
		{w.client, w.lan, "[fd60::2]:80"}, {w.lan, w.client, "[fd20::2]:80"},
	} {
		l, err := ends.to.ListenTCP(at(ends.at))
		require.NoError(t, err)
		near, err := ends.from.DialTCP(ctx, netip.AddrPort{}, at(ends.at))
		require.NoError(t, err)
		far, err := l.AcceptTCP()
		require.NoError(t, err)
		for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
			require.NoError(t, w.gw.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }))
			_, err = way[0].Write([]byte("hello"))
			require.NoError(t, err)
			require.NoError(t, way[1].SetReadDeadline(time.Now().Add(patience)))
			_, err = way[1].Read(make([]byte, 9))
			require.NoError(t, err, "nothing comes to %v", ends.at)
		}
		require.NoError(t, errors.Join(near.Close(), far.Close(), l.Close()))
	}
}

// From one restriction to another there is no moment without one.
func TestReachHasNoGap(t *testing.T) { each(t, testReachHasNoGap) }

func testReachHasNoGap(t *testing.T, back wgdevice.Backend) {
	w := newTown(t, back)
	src, dst := at("10.20.0.2:0"), at("10.61.0.2:7")
	require.NoError(t, passes(w.client, w.router, src, dst, true))
	w.wantGate.Interface.Destinations = list("10.60.0.0/24")
	reconcile(t, w.gate, w.wantGate)
	require.NoError(t, passes(w.client, w.router, src, dst, false))

	l, err := w.router.ListenUDP(dst)
	require.NoError(t, err)
	c, err := w.client.DialUDP(t.Context(), src, dst)
	require.NoError(t, err)
	done := make(chan int)
	stop := make(chan struct{})
	go func() {
		tick := time.NewTicker(200 * time.Microsecond) // leaves time for the others
		defer tick.Stop()
		for sent := 0; ; sent++ {
			select {
			case <-stop:
				done <- sent
				return
			case <-tick.C:
				_, _ = c.Write([]byte("hello"))
			}
		}
	}()
	const changes = 40
	for i := range changes {
		w.wantGate.Interface.Isolated = i%2 == 0
		w.wantGate.Interface.Destinations = [][]netip.Prefix{list("10.60.0.0/24"), list("10.60.0.0/24", "10.62.0.0/24")}[i%2]
		plan := reconcile(t, w.gate, w.wantGate)
		require.Len(t, plan, 1)
	}
	close(stop)
	sent := <-done
	require.NoError(t, l.SetReadDeadline(time.Now().Add(silence)))
	_, err = l.Read(make([]byte, 9))
	require.True(t, isTimeout(err), "something came through: %v", err)
	t.Logf("%d datagrams kept out while the filter changed %d times", sent, changes)
	require.Greater(t, sent, changes)
}

// What somebody does to these chains is seen and repaired.
func TestDriftOfReach(t *testing.T) { each(t, testDriftOfReach) }

func testDriftOfReach(t *testing.T, back wgdevice.Backend) {
	h := testnet.ForTest(t).Host("gw")
	d := open(t, inside(h, back))
	want := gate(others(2)...)
	want.Interface.Destinations, want.Interface.Isolated = list("0.0.0.0/0", "10.60.0.0/22", "192.0.2.53/32", "fd60::/63"), true
	reconcile(t, d, want)
	listing := run(t, h, "nft", "list", "ruleset")
	for _, line := range []string{
		"type filter hook forward priority filter; policy accept;", "type filter hook input priority filter; policy accept;",
		`iifname "wg0" oifname "wg0" drop comment "peers are isolated"`,
		`iifname "wg0" jump destinations`, `oifname "wg0" jump sources`, `iifname "wg0" drop comment "nothing else"`,
		`iifname "wg0" fib daddr . iif type local accept comment "own addresses"`,
		`meta nfproto ipv4 accept comment "to 0.0.0.0/0"`,
		`ip daddr 10.60.0.0/22 accept comment "to 10.60.0.0/22"`, `ip6 saddr fd60::/63 accept comment "from fd60::/63"`,
		`ct state related accept comment "errors about packets of peers"`, `icmpv6 type 130-136 accept comment "neighbours"`,
	} {
		require.Contains(t, listing, line)
	}
	const table = "inet holdfast-wg0"
	for _, by := range []string{
		"nft flush chain " + table + " reach",
		"nft flush chain " + table + " reach-host",
		"nft flush chain " + table + " destinations",
		"nft flush chain " + table + " sources",
		"nft insert rule " + table + " reach accept",
		"nft insert rule " + table + " reach-host accept",
		"nft add rule " + table + " destinations ip daddr 198.51.100.0/24 accept comment \"to 198.51.100.0/24\"",
		"nft add rule " + table + " sources accept",
		"nft add chain " + table + " reach { policy drop; }",
		"nft delete table " + table,
	} {
		run(t, h, "sh", "-c", "exec "+strings.NewReplacer("{", "'{", "}", "}'", `"`, `'"'`).Replace(by))
		plan := reconcile(t, d, want)
		require.Len(t, plan, 1, by)
		require.Equal(t, gateway.FieldFilter, plan[0].Fields, by)
		require.Equal(t, listing, run(t, h, "nft", "list", "ruleset"), by)
	}
}
