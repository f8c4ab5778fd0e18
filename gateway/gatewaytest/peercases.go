package gatewaytest

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

func peerCases() []deviceCase {
	return []deviceCase{
		{"a prefix moves to the last claimer", prefixMoves},
		{"set replaces the allowed IPs", setReplaces},
		{"set changes the keepalive and the preshared key", setChanges},
		{"an endpoint is taken when the peer is added, and only then", endpointOnce},
		{"a kick moves the endpoint, and nothing else", kickMoves},
		{"removed and set in one plan, a peer is another one", removedAndSet},
		{"what is removed is gone", removes},
		{"many peers and many prefixes at once", manyPeers},
	}
}

func prefixMoves(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := Config(3)
	reach(tb, d, c)
	// A claim in the same plan, and one in a later plan.
	shared := netip.MustParsePrefix("192.0.2.0/24")
	for i := range c.Peers[:2] {
		c.Peers[i].AllowedIPs = append(c.Peers[i].AllowedIPs, shared)
	}
	do(tb, d, set(c.Peers[0]), set(c.Peers[1]))
	require.NotContains(tb, peerOf(tb, d, c.Peers[0].Key).AllowedIPs, shared, "two peers have one prefix")
	require.Contains(tb, peerOf(tb, d, c.Peers[1].Key).AllowedIPs, shared, "the last claimer does not have it")
	do(tb, d, set(c.Peers[0]))
	require.Contains(tb, peerOf(tb, d, c.Peers[0].Key).AllowedIPs, shared)
	require.NotContains(tb, peerOf(tb, d, c.Peers[1].Key).AllowedIPs, shared)
	require.Len(tb, peerOf(tb, d, c.Peers[1].Key).AllowedIPs, 2, "it lost more than that")
}

func setReplaces(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := Config(2)
	reach(tb, d, c)
	p := &c.Peers[0]
	for _, allowed := range [][]netip.Prefix{
		p.AllowedIPs[:1], p.AllowedIPs[1:], Prefixes("10.20.77.0/24", "fd20::77:0/112"), nil, p.AllowedIPs,
	} {
		p.AllowedIPs = allowed
		do(tb, d, set(*p))
		is(tb, d, c)
	}
}

func setChanges(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := Config(2)
	reach(tb, d, c)
	p := &c.Peers[0]
	for _, k := range []time.Duration{25 * time.Second, 65535 * time.Second, time.Second, 0} {
		p.Keepalive = k
		do(tb, d, set(*p))
		is(tb, d, c)
	}
	for _, n := range []int{1, 2} {
		p.Preshared = PresharedKey(n)
		do(tb, d, set(*p))
		is(tb, d, c)
	}
	p.Preshared = c.Peers[1].Preshared // none
	do(tb, d, set(*p))
	is(tb, d, c)
}

func endpointOnce(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := Config(3)
	first := []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.9:51820"), netip.MustParseAddrPort("[2001:db8::9]:7"), {},
	}
	for i, e := range first {
		c.Peers[i].Endpoint = e
	}
	reach(tb, d, c)
	for i, e := range first {
		require.Equal(tb, e, peerOf(tb, d, c.Peers[i].Key).Endpoint)
	}
	for i := range first {
		c.Peers[i].Endpoint = netip.MustParseAddrPort("198.51.100.1:1")
		do(tb, d, set(c.Peers[i]))
	}
	for i, e := range first {
		require.Equal(tb, e, peerOf(tb, d, c.Peers[i].Key).Endpoint, "a peer was sent elsewhere")
	}
	do(tb, d, remove(c.Peers[0].Key), set(c.Peers[0]))
	require.Equal(tb, c.Peers[0].Endpoint, peerOf(tb, d, c.Peers[0].Key).Endpoint)
	c.Peers[1].Endpoint = netip.AddrPort{}
	do(tb, d, remove(c.Peers[1].Key), set(c.Peers[1]))
	require.Equal(tb, netip.AddrPort{}, peerOf(tb, d, c.Peers[1].Key).Endpoint, "an endpoint outlived its peer")
}

func kickMoves(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := Config(80) // more than one message
	c.Peers[3].Keepalive = 7 * time.Second
	reach(tb, d, c)
	at := func(i int) netip.AddrPort { // where nothing is
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 9)
	}
	kick := func(i int) gateway.Step {
		return gateway.Step{Verb: gateway.Kick, Peer: gateway.Peer{Key: c.Peers[i].Key, Endpoint: at(i), Keepalive: c.Peers[i].Keepalive}}
	}
	var p gateway.Plan
	for i := range 70 {
		p = append(p, kick(i))
	}
	do(tb, d, p...)
	is(tb, d, c)
	for i := range c.Peers {
		want := netip.AddrPort{}
		if i < 70 {
			want = at(i)
		}
		require.Equal(tb, want, peerOf(tb, d, c.Peers[i].Key).Endpoint)
	}

	// In the order of the plan, and never one who is not there.
	fresh := Peer(99)
	stranger := gateway.Step{Verb: gateway.Kick, Peer: gateway.Peer{Key: PrivateKey(98).Public(), Endpoint: at(1)}}
	do(tb, d, remove(c.Peers[0].Key), kick(0), set(fresh), gateway.Step{Verb: gateway.Kick, Peer: gateway.Peer{Key: fresh.Key, Endpoint: at(9)}}, stranger)
	c.Peers = append(c.Peers[1:], fresh)
	is(tb, d, c.Canonical())
	require.Equal(tb, at(9), peerOf(tb, d, fresh.Key).Endpoint)

	nowhere := kick(1)
	nowhere.Peer.Endpoint = netip.AddrPort{}
	var failed *gateway.ApplyError
	require.ErrorAs(tb, d.Apply(tb.Context(), gateway.Plan{kick(2), nowhere, kick(4)}), &failed, "it went nowhere, and nobody says so")
	require.Len(tb, failed.Failed, 1)
	require.Error(tb, failed.Failed[1])
	is(tb, d, c.Canonical())
}

func removedAndSet(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := Config(100)
	reach(tb, d, c)
	var p gateway.Plan
	for i := range c.Peers {
		c.Peers[i].Preshared = PresharedKey(i)
		p = append(p, remove(c.Peers[i].Key))
	}
	for _, peer := range c.Peers {
		p = append(p, set(peer))
	}
	do(tb, d, p...)
	is(tb, d, c)
}

func removes(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := Config(100)
	reach(tb, d, c)
	var p gateway.Plan
	for i := range c.Peers[:50] {
		p = append(p, remove(c.Peers[2*i].Key))
	}
	do(tb, d, p...)
	kept := c
	kept.Peers = nil
	for i := range c.Peers[:50] {
		kept.Peers = append(kept.Peers, c.Peers[2*i+1])
	}
	is(tb, d, kept)
	do(tb, d, p...) // once more: they are gone already
	is(tb, d, kept)
	kept.Peers = nil
	reach(tb, d, kept) // all the rest at once
}

func manyPeers(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := Config(300)
	for i := range 400 {
		a := netip.AddrFrom4([4]byte{10, 20, 200 + byte(i>>8), byte(i)})
		c.Peers[7].AllowedIPs = append(c.Peers[7].AllowedIPs, netip.PrefixFrom(a, 32))
	}
	c = c.Canonical()
	reach(tb, d, c)
	for i := range c.Peers {
		c.Peers[i].Keepalive = 25 * time.Second
	}
	reach(tb, d, c)
}
