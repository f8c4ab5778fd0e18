//go:build linux

package wgdevice_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// onKernel runs the test on a kernel that has WireGuard: the tier with the
// virtual machine is there for machines that do not.
func onKernel(t *testing.T, test func(t *testing.T, h *testnet.Host, c wgdevice.Config)) {
	t.Helper()
	testnet.Need(t, testnet.Netns, testnet.Nftables)
	if err := testnet.Check(testnet.KernelWireGuard); err != nil {
		t.Log("nothing to test:", err)
		return
	}
	h := testnet.ForTest(t).Host("gw")
	test(t, h, inside(h, wgdevice.Kernel))
}

// A WireGuard interface that somebody else made is left alone, until we are
// allowed to take it, or show that we know its key.
func TestStranger(t *testing.T) { onKernel(t, testStranger) }

func testStranger(t *testing.T, h *testnet.Host, c wgdevice.Config) {
	want := gate(others(3)...)
	key := want.Interface.Key.RevealText()
	for _, by := range []string{
		"ip link add wg0 type wireguard",
		"ip link add wg0 type wireguard; ip link set wg0 alias mine; echo " + key + " | wg set wg0 private-key /dev/stdin listen-port 7",
	} {
		d := open(t, c)
		run(t, h, "sh", "-ec", by)
		before := run(t, h, "sh", "-c", "ip -d link show wg0; wg showconf wg0")
		other := want.Clone()
		other.Interface.Key = wgkey.NewPrivate()
		var s gateway.State
		require.ErrorIs(t, d.Observe(t.Context(), &s), gateway.ErrForeign)
		require.ErrorIs(t, d.Apply(t.Context(), gateway.Diff(other, s)), gateway.ErrForeign)
		require.ErrorContains(t, d.Observe(t.Context(), &s), "allow to adopt it")
		require.Equal(t, before, run(t, h, "sh", "-c", "ip -d link show wg0; wg showconf wg0"))

		taker := c
		taker.Adopt = true
		if strings.Contains(by, key) {
			taker = c
			require.NoError(t, d.Apply(t.Context(), gateway.Diff(want, gateway.State{})))
		}
		adopter, err := wgdevice.Open(taker)
		require.NoError(t, err)
		reconcile(t, adopter, want)
		require.Contains(t, run(t, h, "ip", "link", "show", "wg0"), "alias holdfast kernel")
		require.NoError(t, adopter.Close())
		require.NotEmpty(t, observe(t, d).Peers, "now it is ours for all")
		require.NoError(t, errors.Join(d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}), d.Close()))
	}
}

// A process that is killed before it could mark its interface finds it again.
func TestHalfMade(t *testing.T) { onKernel(t, testHalfMade) }

func testHalfMade(t *testing.T, h *testnet.Host, c wgdevice.Config) {
	d := open(t, c)
	run(t, h, "ip", "link", "add", "wg0", "group", "1751544692", "type", "wireguard")
	require.True(t, observe(t, d).Exists)
	reconcile(t, d, gate(others(2)...))
	out := run(t, h, "ip", "link", "show", "wg0")
	require.Contains(t, out, "alias holdfast kernel")
	require.Contains(t, out, "group default")
}

// What somebody does to the kernel's WireGuard by hand is repaired.
func TestDriftOfWireGuard(t *testing.T) { onKernel(t, testDriftOfWireGuard) }

func testDriftOfWireGuard(t *testing.T, h *testnet.Host, c wgdevice.Config) {
	d := open(t, c)
	want := gate(others(3)...)
	reconcile(t, d, want)
	first, second := want.Peers[0].Key.String(), want.Peers[1].Key.String()
	for _, by := range []string{
		"wg set wg0 peer " + first + " remove",
		"wg set wg0 peer " + public(77).String() + " allowed-ips 10.20.7.7/32",
		"wg set wg0 peer " + first + " allowed-ips 10.20.8.8/32",
		"wg set wg0 peer " + first + " persistent-keepalive 11",
		"wg genpsk | wg set wg0 peer " + first + " preshared-key /dev/stdin",
		"wg set wg0 peer " + first + " allowed-ips " + want.Peers[1].AllowedIPs[0].String(), // taken from the second
		"wg set wg0 peer " + second + " allowed-ips ''",
		"wg set wg0 listen-port 4444",
		"wg set wg0 fwmark 9",
		"wg genkey | wg set wg0 private-key /dev/stdin",
		"wg setconf wg0 /dev/null",
		"ip link set wg0 alias 'the office'",
	} {
		t.Log(by)
		run(t, h, "sh", "-ec", by)
		if plan := reconcile(t, d, want); !strings.Contains(by, "alias") {
			require.NotEmpty(t, plan, by)
		}
	}
	require.NoError(t, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Remove, Peer: gateway.Peer{Key: public(99)}}}))
	require.Contains(t, run(t, h, "ip", "link", "show", "wg0"), "alias holdfast kernel")
}
