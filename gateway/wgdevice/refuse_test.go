//go:build linux

package wgdevice_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Whatever is wrong is named, with what to do.
func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		config wgdevice.Config
		says   string
	}{
		{wgdevice.Config{}, "missing: choose one"},
		{wgdevice.Config{Name: "sixteen-letters-"}, "longer than 15 bytes"},
		{wgdevice.Config{Name: "a b"}, `has the character ' '`},
		{wgdevice.Config{Name: "a/b"}, `has the character '/'`},
		{wgdevice.Config{Name: "wg%d"}, `has the character '%'`},
		{wgdevice.Config{Name: "wgä"}, `has the character 'ä'`},
		{wgdevice.Config{Name: "-wg0"}, "starts with a dash"},
		{wgdevice.Config{Name: ".."}, "reserved"},
		{wgdevice.Config{Name: "all"}, "reserved"},
		{wgdevice.Config{Name: "wg0", Backend: "fast"}, `backend "fast": want "kernel", "userspace" or nothing`},
		{wgdevice.Config{Name: "wg0", NetNS: "/run/netns/nowhere"}, "open network namespace"},
		{wgdevice.Config{Name: "wg0", NetNS: "/proc/self/status"}, "/proc/self/status is no network namespace"},
		{wgdevice.Config{Name: "wg0", NetNS: "/proc/self/ns/pid"}, "/proc/self/ns/pid is no network namespace"},
	} {
		d, err := wgdevice.Open(c.config)
		require.Nil(t, d)
		require.ErrorContains(t, err, c.says)
		require.ErrorContains(t, err, "wgdevice: ")
	}
	_, err := wgdevice.Open(wgdevice.Config{Name: "wg0", NetNS: "/run/netns/nowhere"})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// What is not ours is refused by everything, and stays as it is.
func TestForeign(t *testing.T) { each(t, testForeign) }

func testForeign(t *testing.T, back wgdevice.Backend) {
	for _, c := range []struct{ name, by, says string }{
		{"a bridge", "ip link add wg0 type bridge", "wg0 is a bridge device that somebody else made: choose another name, or delete it (ip link delete wg0)"},
		{"a cable", "ip link add wg0 type veth peer name wg1", "wg0 is a veth device"},
		{"a bridge that calls itself ours", "ip link add wg0 type bridge; ip link set wg0 alias holdfast", "wg0 is a bridge device"},
		{"a TUN device", "ip tuntap add wg0 mode tun", "wg0 is a tun device"},
		{"another process", "ip tuntap add wg0 mode tun; ip link set wg0 alias 'holdfast userspace 1'", "is WireGuard in user space of another process (process 1): end that one first"},
		{"nobody knows which process", "ip tuntap add wg0 mode tun; ip link set wg0 alias holdfast", "of another process: end that one first"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := testnet.ForTest(t).Host("gw")
			d := open(t, inside(h, back))
			run(t, h, "sh", "-ec", c.by)
			before := run(t, h, "ip", "-d", "address")

			_, err := wgdevice.Open(inside(h, back))
			require.ErrorIs(t, err, gateway.ErrForeign)
			require.ErrorContains(t, err, c.says)
			adopt := inside(h, back)
			adopt.Adopt = true
			_, err = wgdevice.Open(adopt)
			require.ErrorIs(t, err, gateway.ErrForeign, "only WireGuard can be adopted")

			var s gateway.State
			require.ErrorIs(t, d.Observe(t.Context(), &s), gateway.ErrForeign)
			require.False(t, s.Exists)
			for _, plan := range []gateway.Plan{
				gateway.Diff(gate(others(1)...), gateway.State{}),
				{{Verb: gateway.Destroy}},
				{{Verb: gateway.Set, Peer: others(1)[0]}},
			} {
				require.ErrorIs(t, d.Apply(t.Context(), plan), gateway.ErrForeign)
			}
			require.Equal(t, before, run(t, h, "ip", "-d", "address"))
			require.Empty(t, run(t, h, "nft", "list", "ruleset"))
			require.NoError(t, d.Close())
			run(t, h, "ip", "link", "delete", "wg0")
		})
	}
}

// A port that somebody has is named, and nothing is left of the interface; one
// that runs goes on with its port.
func TestPortInUse(t *testing.T) { each(t, testPortInUse) }

func testPortInUse(t *testing.T, back wgdevice.Backend) {
	p := newPair(t, back)
	p.talk(t)
	taken, err := p.gw.ListenUDP(at("0.0.0.0:4500"))
	require.NoError(t, err)
	check := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		require.ErrorContains(t, err, "UDP port 4500 is in use by another program")
		require.ErrorContains(t, err, "ss -lunp")
	}

	want := p.wantGate.Clone()
	want.Interface.Port = 4500
	plan := gateway.Diff(want, observe(t, p.gate))
	require.Len(t, plan, 1)
	check(p.gate.Apply(t.Context(), plan))
	require.Equal(t, uint16(51820), observe(t, p.gate).Interface.Port)
	p.talk(t)

	require.NoError(t, p.gate.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}))
	before := run(t, p.gw, "sh", "-c", "ip -d address; ip route; nft list ruleset")
	plan = gateway.Diff(want, observe(t, p.gate))
	err = p.gate.Apply(t.Context(), plan)
	check(err)
	failed := new(gateway.ApplyError)
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Failed, 1, "the steps after it were not tried")
	require.Equal(t, gateway.State{Backend: told(back)}, observe(t, p.gate))
	require.Equal(t, before, run(t, p.gw, "sh", "-c", "ip -d address; ip route; nft list ruleset"))

	require.NoError(t, taken.Close())
	reconcile(t, p.gate, want)
}

// The other backend is no reason to make a running interface anew.
func TestOtherBackend(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN, testnet.Nftables)
	h := testnet.ForTest(t).Host("gw")
	d := open(t, inside(h, wgdevice.Userspace))
	reconcile(t, d, gate())
	c := inside(h, wgdevice.Userspace)
	c.Backend = wgdevice.Kernel
	_, err := wgdevice.Open(c)
	require.ErrorContains(t, err, "runs on the userspace backend, and kernel was chosen")
	c.Backend = wgdevice.Auto
	auto, err := wgdevice.Open(c)
	require.NoError(t, err)
	require.Equal(t, wgdevice.Userspace, auto.Backend())
	require.NoError(t, auto.Close())
}

func TestNoKernelWireGuard(t *testing.T) {
	testnet.Need(t, testnet.Netns)
	if testnet.Check(testnet.KernelWireGuard) == nil {
		t.Log("this kernel has WireGuard: nothing to refuse")
		return
	}
	c := inside(testnet.ForTest(t).Host("gw"), wgdevice.Userspace)
	c.Backend = wgdevice.Kernel
	_, err := wgdevice.Open(c)
	require.ErrorIs(t, err, syscall.EOPNOTSUPP)
	require.ErrorContains(t, err, "this kernel has no WireGuard: load its module (modprobe wireguard), or choose the user-space backend")
}

// Without an interface there is nothing to set, and nothing left to take away.
func TestAbsent(t *testing.T) { each(t, testAbsent) }

func testAbsent(t *testing.T, back wgdevice.Backend) {
	d := open(t, inside(testnet.ForTest(t).Host("gw"), back))
	peer, route := others(1)[0], prefix("172.30.0.0/24")
	require.NoError(t, d.Apply(t.Context(), nil))
	require.NoError(t, d.Apply(t.Context(), gateway.Plan{
		{Verb: gateway.Remove, Peer: peer}, {Verb: gateway.Unroute, Route: route}, {Verb: gateway.Destroy},
	}))
	err := d.Apply(t.Context(), gateway.Plan{
		{Verb: gateway.Remove, Peer: peer}, {Verb: gateway.Set, Peer: peer}, {Verb: gateway.Route, Route: route}, {Verb: 99},
	})
	failed := new(gateway.ApplyError)
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Failed, 3)
	require.ErrorIs(t, failed.Failed[1], syscall.ENODEV)
	require.ErrorIs(t, failed.Failed[2], syscall.ENODEV)
	require.ErrorContains(t, failed.Failed[3], "verb 99")
}

func TestClosed(t *testing.T) { each(t, testClosed) }

func testClosed(t *testing.T, back wgdevice.Backend) {
	d := open(t, inside(testnet.ForTest(t).Host("gw"), back))
	require.NoError(t, d.Close())
	require.NoError(t, d.Close())
	require.ErrorIs(t, d.Observe(t.Context(), &gateway.State{}), os.ErrClosed)
	require.ErrorIs(t, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}), os.ErrClosed)
}

// A prefix that leads elsewhere is nobody's to take.
func TestRouteOfSomebodyElse(t *testing.T) { each(t, testRouteOfSomebodyElse) }

func testRouteOfSomebodyElse(t *testing.T, back wgdevice.Backend) {
	net := testnet.ForTest(t)
	h := net.Host("gw")
	require.NoError(t, net.Link(h, "eth0", net.Host("lan"), "eth0"))
	require.NoError(t, h.Addr("eth0", prefix("172.30.0.1/24")))
	run(t, h, "ip", "route", "add", "172.31.0.0/24", "dev", "eth0")
	run(t, h, "ip", "route", "add", "fd99::/64", "dev", "eth0")
	before := run(t, h, "sh", "-c", "ip route show dev eth0; ip -6 route show fd99::/64")
	d := open(t, inside(h, back))
	peer := others(1)[0]
	peer.AllowedIPs = list("172.29.0.0/24", "172.31.0.0/24", "fd99::/64")
	err := d.Apply(t.Context(), gateway.Diff(gate(peer), observe(t, d)))
	failed := new(gateway.ApplyError)
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Failed, 2)
	require.ErrorIs(t, err, syscall.EEXIST)
	require.ErrorContains(t, err, "route 172.31.0.0/24: somebody else's route leads there (ip route show 172.31.0.0/24)")
	require.Equal(t, list("172.29.0.0/24"), observe(t, d).Routes)
	require.NoError(t, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Unroute, Route: prefix("172.31.0.0/24")}}))
	require.NoError(t, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Unroute, Route: prefix("172.30.0.0/24")}}))
	require.Equal(t, before, run(t, h, "sh", "-c", "ip route show dev eth0; ip -6 route show fd99::/64"))
}

// Without IPv6 an interface that needs it is not half made.
func TestIPv6IsOff(t *testing.T) { each(t, testIPv6IsOff) }

func testIPv6IsOff(t *testing.T, back wgdevice.Backend) {
	h := testnet.ForTest(t).Host("gw")
	require.NoError(t, h.Sysctl("net.ipv6.conf.all.disable_ipv6", "1"))
	require.NoError(t, h.Sysctl("net.ipv6.conf.default.disable_ipv6", "1"))
	d := open(t, inside(h, back))
	want := gate()
	err := d.Apply(t.Context(), gateway.Diff(want, observe(t, d)))
	require.ErrorContains(t, err, "add address fd20::1/64: IPv6 may be switched off: allow it (sysctl net.ipv6.conf.all.disable_ipv6=0)")
	require.False(t, observe(t, d).Exists)
	require.NotContains(t, run(t, h, "ip", "link"), "wg0")
	require.Empty(t, run(t, h, "nft", "list", "ruleset"))
	want.Interface.Addrs, want.Interface.Masquerade = list("10.20.0.1/16"), list("10.20.0.0/16")
	reconcile(t, d, want)
}

// proves P15: no key is in what is logged or returned, whatever goes wrong.
func TestSecretsStaySecret(t *testing.T) { each(t, testSecretsStaySecret) }

func testSecretsStaySecret(t *testing.T, back wgdevice.Backend) {
	h := testnet.ForTest(t).Host("gw")
	var said bytes.Buffer
	c := inside(h, back)
	c.Log = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d := open(t, c)
	want := gate(others(3)...)
	want.Interface.Key, want.Peers[0].Preshared = wgkey.NewPrivate(), wgkey.NewPreshared()
	_, err := h.ListenUDP(at("0.0.0.0:4500"))
	require.NoError(t, err)
	note := func(err error) {
		if err != nil {
			fmt.Fprintf(&said, "%v %+v %#v\n", err, err, err)
		}
	}
	bad := want.Clone()
	bad.Interface.Port = 4500
	note(d.Apply(t.Context(), gateway.Diff(bad, gateway.State{})))
	reconcile(t, d, want)
	s := observe(t, d)
	fmt.Fprintf(&said, "%v %+v %#v\n", s, s, s)
	note(d.Apply(t.Context(), gateway.Diff(bad, s)))
	run(t, h, "ip", "link", "delete", "wg0")
	note(d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Set, Peer: want.Peers[0]}}))
	require.NotEmpty(t, said.String())
	for _, secret := range [][32]byte{want.Interface.Key.Reveal(), want.Peers[0].Preshared.Reveal()} {
		for _, form := range []string{"%x", "%X", "%v", "%s"} {
			require.NotContains(t, said.String(), fmt.Sprintf(form, secret))
		}
		require.NotContains(t, said.String(), base64.StdEncoding.EncodeToString(secret[:]))
	}
}
