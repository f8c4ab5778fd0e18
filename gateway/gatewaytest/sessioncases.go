package gatewaytest

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

// sessionCases need somebody who talks to the interface.
func sessionCases() []deviceCase {
	return []deviceCase{
		{"a handshake and bytes are seen", seesTraffic},
		{"set leaves session, endpoint and counters alone", setKeepsSession},
		{"changes of others leave a session alone", othersKeepSession},
		{"a new handle leaves sessions alone", adoptKeepsSession},
		{"a kick leaves session and counters alone", kickKeepsSession},
		{"removed and set again, a peer starts from nothing", removalWipes},
	}
}

// talker is PrivateKey(1), whose peer talks.
func talker(tb testing.TB, h Harness) (gateway.Device, gateway.Config, *gateway.Peer) {
	tb.Helper()
	d, c := h.Open(tb), Config(3)
	reach(tb, d, c)
	h.Talk(tb, PrivateKey(1))
	i := 0
	for c.Peers[i].Key != PrivateKey(1).Public() {
		i++
	}
	return d, c, &c.Peers[i]
}

func seesTraffic(tb testing.TB, h Harness) {
	began := time.Now()
	d, _, p := talker(tb, h)
	s := peerOf(tb, d, p.Key)
	require.WithinRange(tb, s.Handshake, began.Add(-time.Second), time.Now().Add(time.Second))
	require.Positive(tb, s.Rx)
	require.True(tb, s.Endpoint.IsValid(), "nobody knows where the peer is")
}

// kept requires a session to be the one that it was.
func kept(tb testing.TB, before, after gateway.PeerState) {
	tb.Helper()
	require.True(tb, before.Handshake.Equal(after.Handshake), "the session is another one, or gone")
	require.GreaterOrEqual(tb, after.Rx, before.Rx, "bytes went back")
	require.GreaterOrEqual(tb, after.Tx, before.Tx, "bytes went back")
	require.Equal(tb, before.Endpoint, after.Endpoint)
}

func setKeepsSession(tb testing.TB, h Harness) {
	d, c, p := talker(tb, h)
	before := peerOf(tb, d, p.Key)
	p.AllowedIPs = append(p.AllowedIPs, Prefixes("fd20::77:0/112")...)
	do(tb, d, set(*p))
	kept(tb, before, peerOf(tb, d, p.Key))
	p.AllowedIPs = p.AllowedIPs[1:]
	p.Keepalive = 25 * time.Second
	do(tb, d, set(*p))
	kept(tb, before, peerOf(tb, d, p.Key))
	do(tb, d, set(*p))
	kept(tb, before, peerOf(tb, d, p.Key))
	c.Peers = []gateway.Peer{*p}
	reach(tb, d, c.Canonical())
}

func othersKeepSession(tb testing.TB, h Harness) {
	d, c, p := talker(tb, h)
	before := peerOf(tb, d, p.Key)
	fresh := Config(200)
	for i := range fresh.Peers {
		if fresh.Peers[i].Key == p.Key {
			fresh.Peers[i] = *p
		}
	}
	reach(tb, d, fresh)
	kept(tb, before, peerOf(tb, d, p.Key))
	fresh.Interface.MTU, fresh.Interface.Mark, fresh.Interface.Masquerade = 1300, 0x99, nil
	fresh.Interface.Floating = floatingAddrs()
	fresh.Interface.Destinations, fresh.Interface.Isolated = Prefixes("10.60.0.0/16"), true
	reach(tb, d, fresh)
	kept(tb, before, peerOf(tb, d, p.Key))
	c.Peers = []gateway.Peer{*p}
	reach(tb, d, c)
	kept(tb, before, peerOf(tb, d, p.Key))
}

func adoptKeepsSession(tb testing.TB, h Harness) {
	d, c, p := talker(tb, h)
	before := peerOf(tb, d, p.Key)
	require.NoError(tb, d.Close())
	again := h.Open(tb)
	is(tb, again, c)
	kept(tb, before, peerOf(tb, again, p.Key))
}

func kickKeepsSession(tb testing.TB, h Harness) {
	d, c, p := talker(tb, h)
	before := peerOf(tb, d, p.Key)
	elsewhere := netip.MustParseAddrPort("192.0.2.77:77")
	do(tb, d, gateway.Step{Verb: gateway.Kick, Peer: gateway.Peer{Key: p.Key, Endpoint: elsewhere, Keepalive: p.Keepalive}})
	after := peerOf(tb, d, p.Key)
	require.Equal(tb, elsewhere, after.Endpoint)
	before.Endpoint = elsewhere
	kept(tb, before, after)
	is(tb, d, c)
}

func removalWipes(tb testing.TB, h Harness) {
	d, _, p := talker(tb, h)
	do(tb, d, remove(p.Key), set(*p))
	s := peerOf(tb, d, p.Key)
	require.True(tb, s.Handshake.IsZero(), "the session outlived the peer")
	require.Zero(tb, s.Rx, "bytes outlived the peer")
	require.False(tb, s.Endpoint.IsValid(), "the endpoint outlived the peer")
}
