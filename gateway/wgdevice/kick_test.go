//go:build linux

package wgdevice_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func TestKick(t *testing.T) { each(t, testKick) }

// A client that says nothing by itself has another session as soon as a gateway kicks
// it that knows of none, having been told of it only now.
func testKick(t *testing.T, back wgdevice.Backend) {
	p := newPair(t, back)
	p.talk(t)
	p.want.Peers[0].Keepalive = 0
	reconcile(t, p.end, p.want)
	client := p.wantGate.Peers[0]
	for _, where := range []string{"192.0.2.2:51821", "[2001:db8::2]:51821", "192.0.2.2:51821"} {
		// WireGuard takes one initiation of a peer in 20 ms, and each has to be newer
		// than the one before by a clock that is cut to some 17 ms.
		<-time.After(100 * time.Millisecond) // time itself: of that clock
		before := find(t, observe(t, p.end), p.want.Peers[0].Key).Handshake
		kick := gateway.Step{Verb: gateway.Kick, Peer: gateway.Peer{Key: client.Key, Endpoint: at(where)}}
		require.NoError(t, p.gate.Apply(t.Context(), gateway.Plan{
			{Verb: gateway.Remove, Peer: client}, {Verb: gateway.Set, Peer: client}, kick,
		}))
		// Both ends, since the client's has it only when the gateway has confirmed.
		require.Eventually(t, func() bool {
			return !find(t, observe(t, p.gate), client.Key).Handshake.IsZero() &&
				!find(t, observe(t, p.end), p.want.Peers[0].Key).Handshake.Equal(before)
		}, 4*time.Second, 5*time.Millisecond, "no session at %s before a client would try by itself", where)
		s := observe(t, p.gate)
		require.Empty(t, gateway.Diff(p.wantGate, s), "it left something behind")
		require.Equal(t, at(where), find(t, s, client.Key).Endpoint)
		require.Equal(t, endpointOf(p, where), find(t, observe(t, p.end), p.want.Peers[0].Key).Endpoint)
		p.talk(t)
	}
}

// endpointOf is where the gateway of a pair says something from.
func endpointOf(p *pair, to string) netip.AddrPort {
	from := "192.0.2.1"
	if at(to).Addr().Is6() {
		from = "2001:db8::1"
	}
	return netip.AddrPortFrom(netip.MustParseAddr(from), p.wantGate.Interface.Port)
}

// A hundred clients, and each has an endpoint of its own: none is left out between
// messages.
func TestKickMany(t *testing.T) { each(t, testKickMany) }

func testKickMany(t *testing.T, back wgdevice.Backend) {
	const many = 100
	net := testnet.ForTest(t)
	gw, out := net.Host("gw"), net.Host("out")
	require.NoError(t, net.Link(gw, "eth0", out, "eth0"))
	require.NoError(t, gw.Addr("eth0", prefix("192.0.2.1/24")))
	require.NoError(t, out.Addr("eth0", prefix("192.0.2.2/24")))
	d := open(t, inside(gw, back))
	var peers []gateway.Peer
	heard, plan := map[int]int{}, gateway.Plan{}
	for i := range many {
		key := wgkey.NewPrivate().Public()
		peers = append(peers, gateway.Peer{Key: key})
		plan = append(plan, gateway.Step{Verb: gateway.Kick, Peer: gateway.Peer{
			Key: key, Endpoint: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(10000+i)),
		}})
	}
	reconcile(t, d, gate(peers...))
	said := make(chan int, 10*many)
	for i := range many {
		c, err := out.ListenUDP(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(10000+i)))
		require.NoError(t, err)
		go func() {
			b := make([]byte, 2000)
			for {
				n, _, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				if n == 148 && b[0] == 1 { // an initiation
					said <- i
				}
			}
		}()
	}
	require.NoError(t, d.Apply(t.Context(), plan))
	late := time.After(4 * time.Second) // before anybody is tried again
	for len(heard) < many {
		select {
		case i := <-said:
			heard[i]++
		case <-late:
			require.FailNow(t, "not all were kicked", "%d of %d", len(heard), many)
		}
	}
	for i, n := range heard {
		require.Equal(t, 1, n, "peer %d was kicked again", i)
	}
}
