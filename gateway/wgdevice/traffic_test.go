//go:build linux

package wgdevice_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// pair is a gateway and a client with a tunnel between them.
type pair struct {
	net            *testnet.Net
	gw, client     *testnet.Host
	gate, end      *wgdevice.Device
	wantGate, want gateway.Config
}

// newPair makes a pair with a cable between the two.
func newPair(t *testing.T, back wgdevice.Backend) *pair {
	t.Helper()
	return newPairAt(t, back, "192.0.2.1:51820")
}

// newPairAt makes a pair whose client goes to the gateway at an address; with
// more of those, the gateway has them on the cable.
func newPairAt(t *testing.T, back wgdevice.Backend, where string, more ...string) *pair {
	t.Helper()
	p := plainPair(t, back, where, more...)
	reconcile(t, p.gate, p.wantGate)
	reconcile(t, p.end, p.want)
	return p
}

// plainPair is a pair whose interfaces are not made yet.
func plainPair(t *testing.T, back wgdevice.Backend, where string, more ...string) *pair {
	t.Helper()
	net := testnet.ForTest(t)
	p := &pair{net: net, gw: net.Host("gw"), client: net.Host("client")}
	require.NoError(t, errors.Join(
		net.Link(p.gw, "eth0", p.client, "eth0"),
		p.gw.Addr("eth0", list(append([]string{"192.0.2.1/24", "2001:db8::1/64"}, more...)...)...),
		p.client.Addr("eth0", list("192.0.2.2/24", "2001:db8::2/64")...),
	))
	key, preshared := wgkey.NewPrivate(), wgkey.NewPreshared()
	p.wantGate = gate(gateway.Peer{Key: key.Public(), Preshared: preshared, AllowedIPs: list("10.20.0.2/32", "fd20::2/128")})
	p.want = gateway.Config{
		Interface: gateway.Interface{Key: key, Port: 51821, MTU: 1420, Addrs: list("10.20.0.2/32", "fd20::2/128")},
		Peers: []gateway.Peer{{
			Key: p.wantGate.Interface.Key.Public(), Preshared: preshared, AllowedIPs: list("10.20.0.0/16", "fd20::/64"),
			Keepalive: 25 * time.Second, Endpoint: at(where),
		}},
	}
	p.gate, p.end = open(t, inside(p.gw, back)), open(t, inside(p.client, back))
	return p
}

// talk sends through the tunnel, in both families, until an answer comes.
func (p *pair) talk(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, to := range []string{"10.20.0.1:7", "[fd20::1]:7"} {
		echo, err := p.gw.Echo(at(to))
		require.NoError(t, err)
		probe, err := p.client.Probe(testnet.ProbeConfig{To: at(to)})
		require.NoError(t, err)
		_, err = probe.WaitReply(ctx, time.Time{})
		require.NoError(t, err, to)
		require.NoError(t, errors.Join(probe.Close(), echo.Close()))
	}
}

func TestTraffic(t *testing.T) { each(t, testTraffic) }

func testTraffic(t *testing.T, back wgdevice.Backend) {
	p := newPair(t, back)
	p.talk(t)
	s := observe(t, p.gate)
	require.Len(t, s.Peers, 1)
	require.WithinDuration(t, time.Now(), s.Peers[0].Handshake, patience)
	require.Equal(t, at("192.0.2.2:51821"), s.Peers[0].Endpoint)
	require.Positive(t, s.Peers[0].Rx)
	require.Positive(t, s.Peers[0].Tx)
}
