//go:build linux

package wgdevice_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// proves P8: a gateway that is started anew, and a location that is edited,
// leave the session of a peer alone.
func TestSessionsOutliveTheDevice(t *testing.T) { each(t, testSessionsOutliveTheDevice) }

func testSessionsOutliveTheDevice(t *testing.T, back wgdevice.Backend) {
	p := newPair(t, back)
	p.talk(t)
	echo, err := p.gw.Echo(at("10.20.0.1:7"))
	require.NoError(t, err)
	probe, err := p.client.Probe(testnet.ProbeConfig{To: at("10.20.0.1:7"), Every: 2 * time.Millisecond})
	require.NoError(t, err)
	_, err = probe.WaitReply(t.Context(), time.Time{})
	require.NoError(t, err)

	self := p.wantGate.Peers[0]
	last := observe(t, p.gate)
	steps := []struct {
		name string
		do   func()
	}{
		{"reopened", func() {}},
		{"reopened again", func() {}},
		{"others are added", func() { p.wantGate.Peers = gate(append(others(1000), self)...).Peers }},
		{"others are removed", func() { p.wantGate.Peers = gate(append(others(10), self)...).Peers }},
		{"MTU", func() { p.wantGate.Interface.MTU = 1300 }},
		{"addresses", func() {
			p.wantGate.Interface.Addrs = list("10.20.0.1/16", "10.20.255.1/24", "fd20::1/64", "fd21::1/64")
		}},
		{"masquerade", func() { p.wantGate.Interface.Masquerade = list("10.20.0.0/17") }},
		{"mark", func() { p.wantGate.Interface.Mark = 77 }},
		{"no mark", func() { p.wantGate.Interface.Mark = 0 }},
		{"others get routes", func() {
			p.wantGate.Peers[0].AllowedIPs = append(p.wantGate.Peers[0].AllowedIPs, prefix("172.30.0.0/24"))
		}},
		{"everything is set once more", func() {
			plan := gateway.Plan{{Verb: gateway.Configure, Fields: gateway.FieldsAll, Interface: p.wantGate.Interface}}
			for _, peer := range p.wantGate.Peers {
				plan = append(plan, gateway.Step{Verb: gateway.Set, Peer: peer})
			}
			require.NoError(t, p.gate.Apply(t.Context(), plan))
		}},
	}
	began := time.Now()
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			step.do()
			reconcile(t, p.gate, p.wantGate)
			require.NoError(t, p.gate.Close())
			p.gate, err = wgdevice.Open(inside(p.gw, back))
			require.NoError(t, err)
			now := observe(t, p.gate)
			require.Empty(t, gateway.Diff(p.wantGate, now), "adopting needs no change")
			before, after := find(t, last, self.Key), find(t, now, self.Key)
			require.Equal(t, before.Handshake, after.Handshake, "the session was reset")
			require.GreaterOrEqual(t, after.Rx, before.Rx, "counters went back")
			require.GreaterOrEqual(t, after.Tx, before.Tx, "counters went back")
			require.Equal(t, before.Endpoint, after.Endpoint)
			last = now
		})
	}
	t.Logf("longest silence %v over %v", probe.Outage(began), time.Since(began))
	require.Less(t, probe.Outage(began), 5*time.Second, "WireGuard's own way back from a lost session takes 5 to 15 s")
	require.NoError(t, errors.Join(probe.Close(), echo.Close(), p.gate.Close()))
}

// others are n peers that nobody is behind.
func others(n int) []gateway.Peer {
	out := make([]gateway.Peer, n)
	for i := range out {
		out[i] = gateway.Peer{Key: public(i), AllowedIPs: list(fmt.Sprintf("10.20.%d.%d/32", 100+i/250, 1+i%250))}
	}
	return out
}

// find returns the peer with the key.
func find(tb testing.TB, s gateway.State, key wgkey.Public) gateway.PeerState {
	tb.Helper()
	for _, p := range s.Peers {
		if p.Key == key {
			return p
		}
	}
	require.Fail(tb, "the peer is not there")
	return gateway.PeerState{}
}

// Two handles on one interface see the same, and the interface ends once.
func TestTwoHandles(t *testing.T) { each(t, testTwoHandles) }

func testTwoHandles(t *testing.T, back wgdevice.Backend) {
	h := testnet.ForTest(t).Host("gw")
	a, b := open(t, inside(h, back)), open(t, inside(h, back))
	want := gate(others(3)...)
	reconcile(t, a, want)
	require.Empty(t, gateway.Diff(want, observe(t, b)))
	require.NoError(t, b.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}))
	require.False(t, observe(t, a).Exists)
	require.NoError(t, a.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}), "what has gone is gone")
	reconcile(t, a, want)
	require.True(t, observe(t, b).Exists)
}

// An interface that somebody gave another name is not there for us, and ends
// with the one that is made in its place.
func TestRenamed(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN, testnet.Nftables)
	h := testnet.ForTest(t).Host("gw")
	d := open(t, inside(h, wgdevice.Userspace))
	want := gate(others(1)...)
	for _, end := range []func(){
		func() { reconcile(t, d, want) },
		func() { require.NoError(t, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}})) },
	} {
		reconcile(t, d, want)
		run(t, h, "sh", "-ec", "ip link set wg0 down; ip link set wg0 name other")
		require.False(t, observe(t, d).Exists)
		end()
		require.NotContains(t, run(t, h, "ip", "link"), "other")
	}
}

// The same name in two namespaces is two interfaces.
func TestSameNameElsewhere(t *testing.T) { each(t, testSameNameElsewhere) }

func testSameNameElsewhere(t *testing.T, back wgdevice.Backend) {
	net := testnet.ForTest(t)
	a, b := open(t, inside(net.Host("a"), back)), open(t, inside(net.Host("b"), back))
	want := gate(others(2)...)
	reconcile(t, a, want)
	require.False(t, observe(t, b).Exists)
	reconcile(t, b, want)
	require.NoError(t, a.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}))
	require.Empty(t, gateway.Diff(want, observe(t, b)))
}

// With many peers, too, an interface ends soon and leaves nothing.
func TestDestroy(t *testing.T) { each(t, testDestroy) }

func testDestroy(t *testing.T, back wgdevice.Backend) {
	h := testnet.ForTest(t).Host("gw")
	d := open(t, inside(h, back))
	want := gate(others(1000)...)
	want.Peers[0].AllowedIPs = list("172.30.0.0/24")
	reconcile(t, d, want)
	require.Len(t, observe(t, d).Peers, 1000)

	began := time.Now()
	plan := gateway.Diff(gateway.Config{}, observe(t, d))
	require.NoError(t, d.Apply(t.Context(), plan))
	t.Logf("%d steps in %v", len(plan), time.Since(began))
	require.Equal(t, gateway.State{Backend: told(back)}, observe(t, d))
	require.NotContains(t, run(t, h, "ip", "link"), "wg0")
	require.NotContains(t, run(t, h, "ip", "route"), "172.30")
	require.NotContains(t, run(t, h, "nft", "list", "tables"), "holdfast")
	_, err := h.ListenUDP(at("0.0.0.0:51820"))
	require.NoError(t, err, "the port is free again")
}
