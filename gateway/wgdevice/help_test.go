//go:build linux

package wgdevice_test

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// patience bounds what a test waits for.
const patience = 20 * time.Second

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func list(s ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(s))
	for i, p := range s {
		out[i] = prefix(p)
	}
	return out
}

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// public makes a public key that is easy to tell from others.
func public(n int) (k wgkey.Public) {
	copy(k[:], fmt.Sprintf("peer %08d", n))
	return k
}

// inside is the Config for an interface in the host.
func inside(h *testnet.Host, back wgdevice.Backend) wgdevice.Config {
	c := wgdevice.Config{Name: "wg0", NetNS: fmt.Sprintf("/proc/self/fd/%d", int(h.NS())), Backend: back}
	if back == process {
		c.Backend, c.Process, c.Sockets = wgdevice.Userspace, command(), sockets
	}
	return c
}

// process stands for user space in a process of its own.
const process wgdevice.Backend = "process"

// told is what a device says of a backend.
func told(back wgdevice.Backend) string {
	if back == process {
		back = wgdevice.Userspace
	}
	return string(back)
}

// each runs the test with WireGuard in user space, in this process and in one of
// its own, and again with that of the kernel where there is one. In a virtual machine, where TestOnKernel runs all
// once more, that is all that is new.
func each(t *testing.T, test func(*testing.T, wgdevice.Backend)) {
	t.Helper()
	testnet.Need(t, testnet.Netns, testnet.TUN, testnet.Nftables)
	if vm.Inside() == "" {
		t.Run(string(wgdevice.Userspace), func(t *testing.T) { test(t, wgdevice.Userspace) })
		t.Run(string(process), func(t *testing.T) { test(t, process) })
	}
	if err := testnet.Check(testnet.KernelWireGuard); err != nil {
		t.Log("not repeated:", err)
		return
	}
	t.Run(string(wgdevice.Kernel), func(t *testing.T) { test(t, wgdevice.Kernel) })
}

// open opens the interface, and ends it with the test.
func open(tb testing.TB, c wgdevice.Config) *wgdevice.Device {
	tb.Helper()
	d, err := wgdevice.Open(c)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		_ = d.Close()
		last, err := wgdevice.Open(c)
		if err != nil {
			return // something of somebody else is there now
		}
		_ = last.Apply(context.Background(), gateway.Plan{{Verb: gateway.Destroy}})
		require.NoError(tb, last.Close())
	})
	return d
}

// observe is what the device has.
func observe(tb testing.TB, d *wgdevice.Device) gateway.State {
	tb.Helper()
	var s gateway.State
	require.NoError(tb, d.Observe(tb.Context(), &s))
	return s
}

// reconcile makes the device be as wanted, in one round, and returns the plan.
func reconcile(tb testing.TB, d *wgdevice.Device, want gateway.Config) gateway.Plan {
	tb.Helper()
	plan := gateway.Diff(want, observe(tb, d))
	require.NoError(tb, d.Apply(tb.Context(), plan))
	require.Empty(tb, gateway.Diff(want, observe(tb, d)), "a second round has something to do")
	return plan
}

// gate is what a small gateway wants to be.
func gate(peers ...gateway.Peer) gateway.Config {
	slices.SortFunc(peers, func(a, b gateway.Peer) int { return a.Key.Compare(b.Key) })
	return gateway.Config{
		Interface: gateway.Interface{
			Key:        wgkey.PrivateFrom([32]byte{1: 1}),
			Port:       51820,
			Addrs:      list("10.20.0.1/16", "fd20::1/64"),
			MTU:        1420,
			Masquerade: list("10.20.0.0/16", "fd20::/64"),
		},
		Peers: peers,
	}
}

// packages is where a program comes from.
var packages = map[string]string{"ip": "iproute2", "nft": "nftables", "sysctl": "procps", "sh": "dash"}

// run runs a program in the host and returns what it wrote. Without the program
// the test is skipped.
func run(tb testing.TB, h *testnet.Host, args ...string) string {
	tb.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		missing := &testnet.MissingError{What: "program " + testnet.Requirement(args[0]), Why: err, Fix: "apt-get install " + packages[args[0]]}
		if os.Getenv(testnet.RequireEnv) == "all" {
			require.NoError(tb, missing)
		}
		tb.Skip(missing)
	}
	var out []byte
	err := h.Do(func() (err error) {
		out, err = exec.CommandContext(tb.Context(), args[0], args[1:]...).CombinedOutput()
		return err
	})
	require.NoError(tb, err, "%v: %s", args, out)
	return string(out)
}

// move gives a single address to a link, such that it can be sent from at once, or
// takes it away.
func move(h *testnet.Host, link string, a netip.Addr, have bool) error {
	l, err := h.Netlink().LinkByName(link)
	if err != nil {
		return err
	}
	n := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
	if a.Is6() {
		n.Flags, n.ValidLft = unix.IFA_F_NODAD, math.MaxUint32 // and preferred for 0 s: nobody sends from it who does not ask to
	}
	if have {
		return h.Netlink().AddrReplace(l, n)
	}
	return h.Netlink().AddrDel(l, n)
}
