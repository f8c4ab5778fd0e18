//go:build linux

package vm_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
)

const thisPackage = "github.com/holdfastvpn/holdfast/internal/testnet/vm"

// inside runs the calling test in a machine with that clock, where it then is
// called with true.
func inside(t *testing.T, c vm.Config) bool {
	t.Helper()
	if vm.Inside() != "" {
		return true
	}
	boots(t)
	start := time.Now()
	vm.GoTest(t, c, thisPackage, "-test.run=^"+t.Name()+"$")
	t.Log("all of it:", time.Since(start))
	return false
}

func TestVirtualMachine(t *testing.T) {
	if !inside(t, vm.Config{Tools: []string{"nft", "ip", "sh"}}) {
		return
	}
	require.Equal(t, vm.Virtual, vm.Inside())
	require.Equal(t, 1, runtime.NumCPU())
	t.Run("the kernel has what the lab needs", func(t *testing.T) {
		require.True(t, vm.Native())
		require.NoError(t, testnet.Check(testnet.Netns, testnet.TUN, testnet.Nftables, testnet.KernelWireGuard))
	})
	t.Run("idle time is skipped, and exact", func(t *testing.T) {
		start := time.Now()
		<-time.After(10 * time.Minute) // time itself: the virtual clock
		require.InDelta(t, 600, time.Since(start).Seconds(), 0.01)
	})
	t.Run("delays of netem are exact", delays)
	t.Run("tools of the other machine work", func(t *testing.T) {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "ip link add wg7 type wireguard; ip -br link show wg7; nft add table inet seven; nft list tables").CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "wg7")
		require.Contains(t, string(out), "table inet seven")
	})
	t.Run("testdata is there", func(t *testing.T) {
		require.DirExists(t, "testdata")
	})
	t.Run("the kernel loads modules when it needs them", func(t *testing.T) {
		require.NoDirExists(t, "/sys/module/sch_tbf")
		n := testnet.ForTest(t)
		h := n.Host("a")
		require.NoError(t, h.Do(tbf))
		require.DirExists(t, "/sys/module/sch_tbf")
	})
}

func TestWallMachine(t *testing.T) {
	if !inside(t, vm.Config{Clock: vm.Wall}) {
		return
	}
	require.Equal(t, vm.Wall, vm.Inside())
	require.Equal(t, 2, runtime.NumCPU())
	require.NoError(t, testnet.Check(testnet.Netns, testnet.TUN, testnet.Nftables, testnet.KernelWireGuard))
	start := time.Now()
	<-time.After(time.Second) // time itself: the clock of the machine
	require.Greater(t, time.Since(start), time.Second)
	_, err := os.Stat("/dev/shm")
	require.NoError(t, err)
}

// delays has a delay of 30 ms on either end of a cable, and measures the round
// trip.
func delays(t *testing.T) {
	n := testnet.ForTest(t)
	a, b := n.Host("a"), n.Host("b")
	require.NoError(t, n.Link(a, "eth0", b, "eth0"))
	require.NoError(t, a.Addr("eth0", netip.MustParsePrefix("192.0.2.1/24")))
	require.NoError(t, b.Addr("eth0", netip.MustParsePrefix("192.0.2.2/24")))
	for _, h := range []*testnet.Host{a, b} {
		nl := h.Netlink()
		l, err := nl.LinkByName("eth0")
		require.NoError(t, err)
		require.NoError(t, nl.QdiscAdd(netlink.NewNetem(
			netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)},
			netlink.NetemQdiscAttrs{Latency: uint32(30 * time.Millisecond / time.Microsecond)},
		)))
	}
	to := netip.MustParseAddrPort("192.0.2.2:7")
	_, err := b.Echo(to)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := a.Probe(testnet.ProbeConfig{To: to, Every: 100 * time.Millisecond})
	require.NoError(t, err)
	first, err := p.WaitReply(ctx, time.Time{}) // before it, one end asks who has the address
	require.NoError(t, err)
	r, err := p.WaitReply(ctx, first.Received)
	require.NoError(t, err)
	require.InDelta(t, 60, r.Received.Sub(r.Sent).Seconds()*1000, 1)
}

// tbf gives lo of the calling thread a discipline whose module is not loaded.
func tbf() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	return netlink.QdiscAdd(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: lo.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)},
		Rate:       1 << 20, Limit: 1 << 20, Buffer: 1 << 16,
	})
}
