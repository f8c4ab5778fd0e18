//go:build linux

package wgdevice_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
)

// What somebody does by hand is seen, one round repairs it, and a second round
// has nothing to do.
func TestDrift(t *testing.T) { each(t, testDrift) }

func testDrift(t *testing.T, back wgdevice.Backend) {
	p := newPair(t, back)
	p.wantGate.Peers[0].AllowedIPs = list("10.20.0.2/32", "172.30.0.0/24", "fd20::2/128", "fd99::/64")
	reconcile(t, p.gate, p.wantGate)
	p.talk(t)
	before := observe(t, p.gate)

	const table = "inet holdfast-wg0"
	rule := func(chain string) string { return "nft flush chain " + table + " " + chain }
	for _, c := range []struct {
		name, by string
		repaired gateway.Fields
	}{
		{"link down", "ip link set wg0 down", gateway.FieldUp | gateway.FieldAddrs},
		{"another MTU", "ip link set wg0 mtu 1400", gateway.FieldMTU},
		{"an address is gone", "ip address delete 10.20.0.1/16 dev wg0", gateway.FieldAddrs},
		{"all addresses are gone", "ip address flush dev wg0", gateway.FieldAddrs},
		{"an address too many", "ip address add 10.99.0.1/24 dev wg0", gateway.FieldAddrs},
		{"an address of IPv6 too many", "ip address add fd20::2/96 dev wg0", gateway.FieldAddrs},
		{"a route is gone", "ip route delete 172.30.0.0/24", 0},
		{"a route of IPv6 is gone", "ip route delete fd99::/64", 0},
		{"a route of ours too many", "ip route add 172.31.0.0/24 dev wg0 proto 104", 0},
		{"IPv4 is not forwarded", "sysctl -q -w net.ipv4.ip_forward=0", gateway.FieldForwarding},
		{"IPv6 is not forwarded", "sysctl -q -w net.ipv6.conf.all.forwarding=0", gateway.FieldForwarding},
		{"all tables are flushed", "nft flush ruleset", gateway.FieldFilter},
		{"our table is flushed", "nft flush table " + table, gateway.FieldFilter},
		{"our table is gone", "nft delete table " + table, gateway.FieldFilter},
		{"our table sleeps", "nft add table " + table + " { flags dormant; }", gateway.FieldFilter},
		{"no masquerading", rule("postrouting"), gateway.FieldFilter},
		{"no clamp", rule("forward"), gateway.FieldFilter},
		{"a rule before ours", "nft insert rule " + table + " postrouting counter accept", gateway.FieldFilter},
		{"a rule after ours", "nft add rule " + table + " forward drop", gateway.FieldFilter},
		{"a chain too many", "nft add chain " + table + " extra", gateway.FieldFilter},
		{"a set too many", "nft add set " + table + " extra { type ipv4_addr; }", gateway.FieldFilter},
		{"another policy", "nft add chain " + table + " forward { policy drop; }", gateway.FieldFilter},
		{"interface deleted", "ip link delete wg0", gateway.FieldsAll},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, p.gw, strings.Fields(c.by)...)
			plan := reconcile(t, p.gate, p.wantGate)
			var fields gateway.Fields
			for _, s := range plan {
				fields |= s.Fields
			}
			require.Equal(t, c.repaired, fields)
			require.NotEmpty(t, plan)
			if c.repaired == gateway.FieldsAll {
				return
			}
			after := observe(t, p.gate)
			require.Equal(t, before.Peers[0].Handshake, after.Peers[0].Handshake, "the session was reset")
			require.GreaterOrEqual(t, after.Peers[0].Rx, before.Peers[0].Rx)
		})
	}
	// The client does not know that the gateway's end is a new one, and would
	// find out after 15 s.
	peer := p.want.Peers[0]
	require.NoError(t, p.end.Apply(t.Context(), gateway.Plan{{Verb: gateway.Remove, Peer: peer}, {Verb: gateway.Set, Peer: peer}}))
	p.talk(t)
	// The neighbours' things are nobody's drift.
	for _, by := range []string{
		"ip route add 172.31.0.0/24 dev wg0", "nft add table inet other", "ip link add br0 type bridge",
	} {
		run(t, p.gw, strings.Fields(by)...)
		require.Empty(t, gateway.Diff(p.wantGate, observe(t, p.gate)), by)
	}
	require.Contains(t, run(t, p.gw, "ip", "route"), "172.31.0.0/24 dev wg0")
}
