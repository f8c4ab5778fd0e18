//go:build linux

package wgdevice_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func TestContract(t *testing.T) { each(t, testContract) }

func testContract(t *testing.T, back wgdevice.Backend) {
	gatewaytest.RunDevice(t, func(tb testing.TB) gatewaytest.Harness {
		tb.Helper()
		return newBench(tb, back).harness()
	})
}

// bench is a host for the device under test, and one for a peer.
type bench struct {
	back   wgdevice.Backend
	net    *testnet.Net
	gw, pc *testnet.Host
	early  *wgdevice.Device // opened before somebody else took the name
}

func newBench(tb testing.TB, back wgdevice.Backend) *bench {
	tb.Helper()
	net := testnet.ForTest(tb)
	b := &bench{back: back, net: net, gw: net.Host("gw"), pc: net.Host("pc")}
	require.NoError(tb, errors.Join(
		net.Link(b.gw, "eth0", b.pc, "eth0"), b.gw.Addr("eth0", prefix("100.64.0.1/30")), b.pc.Addr("eth0", prefix("100.64.0.2/30")),
	))
	return b
}

func (b *bench) harness() gatewaytest.Harness {
	return gatewaytest.Harness{
		Open: b.open,
		Talk: b.talk,
		TakePort: func(tb testing.TB, port uint16) {
			tb.Helper()
			_, err := b.gw.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), port))
			require.NoError(tb, err)
		},
		Foreign: func(tb testing.TB) {
			tb.Helper()
			b.early = open(tb, inside(b.gw, b.back))
			run(tb, b.gw, "ip", "link", "add", "wg0", "type", "bridge")
		},
		Detours:  func(tb testing.TB) []gateway.Detour { tb.Helper(); return passed(tb, b.gw) },
		Hang:     func(tb testing.TB, f gateway.Flow) { tb.Helper(); require.NoError(tb, hang(b.gw, f)) },
		Siblings: []netip.Addr{netip.MustParseAddr("100.64.0.2")},
		Own: func(tb testing.TB, a netip.Addr, have bool) {
			tb.Helper()
			require.NoError(tb, move(b.gw, "eth0", a, have))
		},
	}
}

func (b *bench) open(tb testing.TB) gateway.Device {
	tb.Helper()
	if b.early != nil {
		return b.early
	}
	return open(tb, inside(b.gw, b.back))
}

// talk is the peer, who comes, talks and goes.
func (b *bench) talk(tb testing.TB, peer wgkey.Private) {
	tb.Helper()
	gate := open(tb, inside(b.gw, b.back))
	s := observe(tb, gate)
	self := find(tb, s, peer.Public())
	pc := open(tb, inside(b.pc, b.back))
	require.NoError(tb, pc.Apply(tb.Context(), gateway.Plan{
		{Verb: gateway.Configure, Fields: gateway.FieldsAll, Interface: gateway.Interface{Key: peer, Port: 7777, MTU: 1420, Addrs: self.AllowedIPs}},
		{Verb: gateway.Set, Peer: gateway.Peer{
			Key: s.Interface.Key.Public(), Preshared: self.Preshared, AllowedIPs: list("10.20.0.1/32"),
			Endpoint: netip.AddrPortFrom(netip.MustParseAddr("100.64.0.1"), s.Interface.Port),
		}},
		{Verb: gateway.Route, Route: prefix("10.20.0.1/32")},
	}))
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	echo, err := b.gw.Echo(at("10.20.0.1:7"))
	require.NoError(tb, err)
	probe, err := b.pc.Probe(testnet.ProbeConfig{To: at("10.20.0.1:7")})
	require.NoError(tb, err)
	_, err = probe.WaitReply(ctx, time.Time{})
	require.NoError(tb, errors.Join(err, probe.Close(), echo.Close()))
	require.NoError(tb, errors.Join(pc.Apply(tb.Context(), gateway.Plan{{Verb: gateway.Destroy}}), pc.Close(), gate.Close()))
}
