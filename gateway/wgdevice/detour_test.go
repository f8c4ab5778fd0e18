//go:build linux

package wgdevice_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// detourTable is that of port 51820.
const detourTable = "1751632492"

// passed are the detours that the machine has, as ip(8) tells them.
func passed(tb testing.TB, h *testnet.Host) (out []gateway.Detour) {
	tb.Helper()
	for _, family := range []string{"-4", "-6"} {
		for line := range strings.Lines(run(tb, h, "sh", "-c", "ip "+family+" route show table "+detourTable+" 2>/dev/null || true")) {
			f := strings.Fields(line)
			if !strings.Contains(f[0], "/") {
				a := netip.MustParseAddr(f[0])
				f[0] = netip.PrefixFrom(a, a.BitLen()).String()
			}
			require.Equal(tb, "via", f[1], line)
			out = append(out, gateway.Detour{To: prefix(f[0]), Via: netip.MustParseAddr(f[2])})
		}
	}
	return out
}

// neighbours are two gateways on one network, and a host of it.
type neighbours struct {
	*pair

	lan   *testnet.Switch
	other *testnet.Host
	host  *testnet.Host
}

func newNeighbours(t *testing.T, back wgdevice.Backend) *neighbours {
	t.Helper()
	p := newPair(t, back)
	n := &neighbours{pair: p, lan: p.net.Switch("lan"), other: p.net.Host("gw2"), host: p.net.Host("host")}
	require.NoError(t, errors.Join(
		n.lan.Attach(p.gw, "lan0", list("10.60.0.1/24", "fd60::1/64")...),
		n.lan.Attach(n.other, "lan0", list("10.60.0.2/24", "fd60::2/64")...),
		n.lan.Attach(n.host, "eth0", list("10.60.0.9/24", "fd60::9/64")...),
	))
	return n
}

// What is for a peer of another gateway goes there, from the network behind and from
// peers, but for those that are kept from each other; and all of it ends.
func TestDetoursLeadToTheSibling(t *testing.T) { each(t, testDetoursLeadToTheSibling) }

func testDetoursLeadToTheSibling(t *testing.T, back wgdevice.Backend) {
	n := newNeighbours(t, back)
	far := list("10.20.0.9/32", "fd20::9/128", "10.70.0.0/24")
	require.NoError(t, errors.Join( // the other gateway plays its peer
		n.other.Addr("lo", far[0], far[1]),
		n.other.Route(testnet.Route{To: prefix("10.20.0.0/16"), Via: netip.MustParseAddr("10.60.0.1")}),
		n.other.Route(testnet.Route{To: prefix("fd20::/64"), Via: netip.MustParseAddr("fd60::1")}),
		n.host.Route(testnet.Route{To: prefix("10.20.0.0/16"), Via: netip.MustParseAddr("10.60.0.1")}),
	))
	rules := ipOf(t, n.gw, "rule")
	face := n.wantGate.Interface
	want := []gateway.Detour{
		{To: far[0], Via: netip.MustParseAddr("10.60.0.2")}, {To: far[2], Via: netip.MustParseAddr("10.60.0.2")},
		{To: far[1], Via: netip.MustParseAddr("fd60::2")},
	}
	detour := func(d *wgdevice.Device, want []gateway.Detour) {
		t.Helper()
		// A neighbour that nobody has spoken to is looked for first.
		testnet.Eventually(t, patience, func() error { return d.Detour(t.Context(), face, want) })
		require.ElementsMatch(t, want, passed(t, n.gw))
	}
	open4, open6 := at("10.20.0.9:7"), at("[fd20::9]:7")
	require.NoError(t, passes(n.client, n.other, at("10.20.0.2:70"), open4, false))
	detour(n.gate, want)
	require.NoError(t, passes(n.client, n.other, at("10.20.0.2:71"), open4, true))
	require.NoError(t, passes(n.client, n.other, at("[fd20::2]:71"), open6, true))
	require.NoError(t, passes(n.host, n.other, netip.AddrPort{}, open4, true))

	face.Isolated = true
	detour(n.gate, want)
	require.NoError(t, passes(n.client, n.other, at("10.20.0.2:72"), open4, false))
	require.NoError(t, passes(n.client, n.other, at("[fd20::2]:72"), open6, false))
	require.NoError(t, passes(n.host, n.other, netip.AddrPort{}, open4, true))

	face.Isolated = false
	detour(n.gate, want[1:])
	require.NoError(t, passes(n.client, n.other, at("10.20.0.2:73"), open4, false))
	second := open(t, inside(n.gw, back)) // a process that finds what another one left
	detour(second, want[:1])
	detour(second, nil)
	require.Equal(t, rules, ipOf(t, n.gw, "rule"))
	require.NotContains(t, run(t, n.gw, "nft", "list", "tables"), "detours")

	detour(second, want)
	require.NoError(t, open(t, inside(n.gw, back)).Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}))
	require.Empty(t, passed(t, n.gw))
	require.Equal(t, rules, ipOf(t, n.gw, "rule"))
	require.NotContains(t, run(t, n.gw, "nft", "list", "tables"), "detours")
}

// Two gateways each of which believes that the other one carries a peer do not send its
// packets to and fro.
func TestDetoursDoNotLoop(t *testing.T) { each(t, testDetoursDoNotLoop) }

func testDetoursDoNotLoop(t *testing.T, back wgdevice.Backend) {
	n := newNeighbours(t, back)
	d := open(t, inside(n.other, back))
	reconcile(t, d, gate())
	for dev, via := range map[*wgdevice.Device]string{n.gate: "10.60.0.2", d: "10.60.0.1"} {
		testnet.Eventually(t, patience, func() error {
			return dev.Detour(t.Context(), n.wantGate.Interface, []gateway.Detour{{To: prefix("10.20.0.9/32"), Via: netip.MustParseAddr(via)}})
		})
	}
	require.NoError(t, n.host.Route(testnet.Route{To: prefix("10.20.0.0/16"), Via: netip.MustParseAddr("10.60.0.1")}))
	c, err := n.host.DialUDP(context.Background(), netip.AddrPort{}, at("10.20.0.9:7"))
	require.NoError(t, err)
	const sent = 5
	for range sent {
		_, err := c.Write([]byte("hello"))
		require.NoError(t, err)
	}
	require.NoError(t, c.Close())
	came := func(gw string) (in int) {
		for line := range strings.Lines(n.net.Timeline()) {
			if strings.Contains(line, " "+gw+" lan0 ") && strings.Contains(line, " in ") && strings.Contains(line, "> 10.20.0.9:7 ") {
				in++
			}
		}
		return in
	}
	testnet.Eventually(t, patience, func() error {
		if n := came("gw2"); n < sent {
			return fmt.Errorf("%d have arrived", n)
		}
		return nil
	})
	require.NoError(t, passes(n.host, n.gw, netip.AddrPort{}, at("10.60.0.1:9"), true)) // and whatever is under way has come
	require.Equal(t, sent, came("gw"), "it is sent back")
	require.Equal(t, sent, came("gw2"))
}
