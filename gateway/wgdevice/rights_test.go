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
		for _, s := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
			if err := os.WriteFile(s, []byte("0"), 0); err != nil { // a new namespace may have the machine's
				return err
			}
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

// A family that is new here is forwarded as soon as there is an address of it.
func TestForwardingFollowsAddresses(t *testing.T) { each(t, testForwardingFollowsAddresses) }

func testForwardingFollowsAddresses(t *testing.T, back wgdevice.Backend) {
	h := testnet.ForTest(t).Host("gw")
	d := open(t, inside(h, back))
	want := gate()
	want.Interface.Addrs = list("10.20.0.1/16")
	reconcile(t, d, want)
	require.Equal(t, "0", strings.TrimSpace(run(t, h, "sysctl", "-n", "net.ipv6.conf.all.forwarding")), "nobody asked for IPv6")
	want.Interface.Addrs = list("10.20.0.1/16", "fd20::1/64")
	reconcile(t, d, want)
	require.Contains(t, run(t, h, "ip", "-6", "address", "show", "dev", "wg0"), "nodad", "an address has to be usable at once")
	require.NoError(t, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}))
	require.Equal(t, "1", strings.TrimSpace(run(t, h, "sysctl", "-n", "net.ipv4.ip_forward")), "others may need it")
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
