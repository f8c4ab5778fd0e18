//go:build linux

package wgdevice_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
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
	require.Equal(t, gateway.State{Backend: string(back)}, observe(t, p.gate))
	require.Equal(t, before, run(t, p.gw, "sh", "-c", "ip -d address; ip route; nft list ruleset"))

	require.NoError(t, taken.Close())
	reconcile(t, p.gate, want)
}

// onThread runs f on a thread that nothing else ever runs on, after it has left
// what prepare makes it leave: the thread ends with f.
func onThread(t *testing.T, prepare func() error, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := prepare()
		if err == nil {
			f()
		}
		done <- err
	}()
	require.NoError(t, <-done)
}

// keepOnly leaves the thread only these capabilities.
func keepOnly(capabilities ...int) error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	for _, c := range capabilities {
		sets[c/32].Effective |= 1 << (c % 32)
		sets[c/32].Permitted |= 1 << (c % 32)
	}
	return unix.Capset(&head, &sets[0])
}

func TestMissingRights(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN)
	for _, backend := range []wgdevice.Backend{wgdevice.Auto, wgdevice.Kernel, wgdevice.Userspace} {
		var err error
		onThread(t, func() error { return keepOnly() }, func() {
			_, err = wgdevice.Open(wgdevice.Config{Name: "hfnorights", Backend: backend})
		})
		require.ErrorIs(t, err, syscall.EPERM)
		require.ErrorContains(t, err, "run as root, or with CAP_NET_ADMIN")
	}
	h := testnet.ForTest(t).Host("gw")
	c := inside(h, wgdevice.Userspace)
	var err error
	onThread(t, func() error { return keepOnly(unix.CAP_NET_ADMIN) }, func() { _, err = wgdevice.Open(c) })
	if err != nil { // the thread that enters may be another, with all rights
		require.ErrorIs(t, err, syscall.EPERM)
		require.ErrorContains(t, err, "CAP_SYS_ADMIN")
	}
}

// In its own namespace a gateway can do with CAP_NET_ADMIN.
func TestOneRightIsEnough(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN, testnet.Nftables)
	prepare := func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return keepOnly(unix.CAP_NET_ADMIN)
	}
	var errs []error
	onThread(t, prepare, func() {
		d, err := wgdevice.Open(wgdevice.Config{Name: "wg0", Backend: wgdevice.Userspace})
		if errs = append(errs, err); err != nil {
			return
		}
		want := gate(others(2)...)
		var s gateway.State
		errs = append(errs, d.Observe(t.Context(), &s), d.Apply(t.Context(), gateway.Diff(want, s)), d.Observe(t.Context(), &s))
		if left := gateway.Diff(want, s); len(left) != 0 {
			errs = append(errs, fmt.Errorf("left to do: %v, problems %v", left, s.Problems))
		}
		errs = append(errs, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}), d.Close())
	})
	for _, err := range errs {
		require.NoError(t, err)
	}
}

// hide puts an empty directory over /dev for the thread, or makes /proc/sys
// read-only.
func hide(what string) func() error {
	return func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		if what == "/dev" {
			return unix.Mount("none", "/dev", "tmpfs", 0, "")
		}
		if err := unix.Mount(what, what, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		return unix.Mount("", what, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	}
}

func TestNoTUN(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN)
	var err error
	onThread(t, hide("/dev"), func() {
		_, err = wgdevice.Open(wgdevice.Config{Name: "wg0", Backend: wgdevice.Userspace})
	})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "WireGuard in user space needs /dev/net/tun, and there is none")
	require.ErrorContains(t, err, "modprobe tun")
}

// Where forwarding cannot be switched on, the interface is made, and says so.
func TestReadOnlySysctl(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN, testnet.Nftables)
	var errs []error
	var s gateway.State
	onThread(t, hide("/proc/sys"), func() {
		d, err := wgdevice.Open(wgdevice.Config{Name: "wg0", Backend: wgdevice.Userspace})
		if errs = append(errs, err); err != nil {
			return
		}
		errs = append(errs, d.Apply(t.Context(), gateway.Diff(gate(), gateway.State{})), d.Observe(t.Context(), &s),
			d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}), d.Close())
	})
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.True(t, s.Exists && s.Up && s.Filtered)
	require.False(t, s.Forwarding)
	require.Len(t, s.Problems, 2)
	require.Contains(t, s.Problems[0], "packets are not forwarded: net.ipv4.ip_forward may not be changed here")
	require.Contains(t, s.Problems[1], "sysctl -w net.ipv6.conf.all.forwarding=1")
}

// A machine that learned its way to the internet from a router keeps it.
func TestForwardingKeepsTheDefaultRoute(t *testing.T) { each(t, testForwardingKeepsTheDefaultRoute) }

func testForwardingKeepsTheDefaultRoute(t *testing.T, back wgdevice.Backend) {
	net := testnet.ForTest(t)
	h := net.Host("gw")
	require.NoError(t, net.Link(h, "eth0", net.Host("router"), "eth0"))
	require.NoError(t, h.Sysctl("net.ipv6.conf.eth0.accept_ra", "1"))
	run(t, h, "ip", "-6", "route", "add", "default", "dev", "eth0", "proto", "ra")
	d := open(t, inside(h, back))
	want := gate()
	require.NoError(t, d.Apply(t.Context(), gateway.Diff(want, observe(t, d))))
	s := observe(t, d)
	require.False(t, s.Forwarding)
	require.Len(t, s.Problems, 1)
	require.Contains(t, s.Problems[0], "would lose the default route that it learned from a router on eth0: set net.ipv6.conf.eth0.accept_ra=2")
	require.Equal(t, gateway.FieldForwarding, gateway.Diff(want, s)[0].Fields)
	require.Equal(t, "1", strings.TrimSpace(run(t, h, "sysctl", "-n", "net.ipv4.ip_forward")))

	require.NoError(t, h.Sysctl("net.ipv6.conf.eth0.accept_ra", "2"))
	reconcile(t, d, want)
	require.Empty(t, observe(t, d).Problems)
	require.Contains(t, run(t, h, "ip", "-6", "route"), "default dev eth0 proto ra")
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
