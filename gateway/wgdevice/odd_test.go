//go:build linux

package wgdevice_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
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

// lines are those of a text that are not empty.
func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}

// The module may come later, or go and come again: what is open goes on.
func TestModuleComesLate(t *testing.T) { onKernel(t, testModuleComesLate) }

func testModuleComesLate(t *testing.T, _ *testnet.Host, c wgdevice.Config) {
	if vm.Inside() == "" {
		t.Log("nothing to test: modules are taken out only where nobody else needs them")
		return
	}
	d := open(t, c)
	reconcile(t, d, gate(others(2)...))
	require.NoError(t, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}))
	// Interfaces of tests before this one go when their namespaces do.
	testnet.Eventually(t, patience, func() error { return unix.DeleteModule("wireguard", 0) })

	const helper = "/proc/sys/kernel/modprobe"
	before, err := os.ReadFile(helper)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.WriteFile(helper, before, 0)) })
	require.NoError(t, os.WriteFile(helper, []byte("/nowhere"), 0))
	_, err = wgdevice.Open(c)
	require.ErrorIs(t, err, unix.EOPNOTSUPP)
	require.ErrorContains(t, err, "modprobe wireguard")
	var failed *gateway.ApplyError
	require.ErrorAs(t, d.Apply(t.Context(), gateway.Diff(gate(), gateway.State{})), &failed)
	require.ErrorContains(t, failed, "modprobe wireguard")
	require.False(t, observe(t, d).Exists)

	require.NoError(t, os.WriteFile(helper, before, 0))
	reconcile(t, d, gate(others(3)...))
}

// A peer may come from a link-local address: its zone is the number of the link.
func TestZone(t *testing.T) { onKernel(t, testZone) }

func testZone(t *testing.T, _ *testnet.Host, _ wgdevice.Config) {
	b := newBench(t, wgdevice.Kernel)
	gw, pc := b.gw, b.pc
	d := open(t, inside(gw, wgdevice.Kernel))
	secret := wgkey.NewPrivate()
	want := gate(gateway.Peer{Key: secret.Public(), AllowedIPs: list("10.20.0.9/32")})
	reconcile(t, d, want)

	key := want.Interface.Key
	run(t, pc, "sh", "-ec", fmt.Sprintf(`
		ip link add wg0 type wireguard
		echo %s | wg set wg0 private-key /dev/stdin peer %s allowed-ips 10.20.0.1/32 endpoint '[%s%%eth0]:51820' persistent-keepalive 1
		ip address add 10.20.0.9/16 dev wg0
		ip link set wg0 up`, secret.RevealText(), key.Public(), linkLocal(t, gw)))
	link, err := gw.Netlink().LinkByName("eth0")
	require.NoError(t, err)
	var s gateway.State
	testnet.Eventually(t, patience, func() error {
		s = observe(t, d)
		if find(t, s, secret.Public()).Handshake.IsZero() {
			return errors.New("no handshake")
		}
		return nil
	})
	end := find(t, s, secret.Public()).Endpoint
	require.Equal(t, linkLocal(t, pc)+fmt.Sprintf("%%%d", link.Attrs().Index), end.Addr().String())
	require.Empty(t, gateway.Diff(want, s))
}

// linkLocal is the link-local address of the host's eth0, when it may be used.
func linkLocal(t *testing.T, h *testnet.Host) string {
	t.Helper()
	var out string
	testnet.Eventually(t, patience, func() error {
		link, err := h.Netlink().LinkByName("eth0")
		if err != nil {
			return err
		}
		all, err := h.Netlink().AddrList(link, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		for _, a := range all {
			if a.IP.IsLinkLocalUnicast() && a.Flags&unix.IFA_F_TENTATIVE == 0 {
				out = a.IP.String()
				return nil
			}
		}
		return errors.New("there is no link-local address")
	})
	return out
}

// An interface that somebody moves to another namespace is not there any more,
// and another one takes its place. One that comes back is ours as before.
func TestMovedAway(t *testing.T) { onKernel(t, testMovedAway) }

func testMovedAway(t *testing.T, _ *testnet.Host, _ wgdevice.Config) {
	b := newBench(t, wgdevice.Kernel)
	d := open(t, inside(b.gw, wgdevice.Kernel))
	want := gate(others(3)...)
	move := func(from, to *testnet.Host) {
		link, err := from.Netlink().LinkByName("wg0")
		require.NoError(t, err)
		require.NoError(t, from.Netlink().LinkSetNsFd(link, int(to.NS())))
	}
	reconcile(t, d, want)
	run(t, b.gw, "wg", "set", "wg0", "peer", want.Peers[0].Key.String(), "endpoint", "192.0.2.7:7") // tells this device from another
	move(b.gw, b.pc)
	require.False(t, observe(t, d).Exists)
	move(b.pc, b.gw)
	reconcile(t, d, want)
	require.True(t, find(t, observe(t, d), want.Peers[0].Key).Endpoint.IsValid(), "it was made anew")

	move(b.gw, b.pc)
	reconcile(t, d, want)
	require.False(t, find(t, observe(t, d), want.Peers[0].Key).Endpoint.IsValid())
	run(t, b.pc, "ip", "link", "show", "wg0") // nobody's business but theirs who moved it
}

// The interface goes while we work on it, again and again: every error says so,
// and when that ends, all is as wanted.
func TestDeletedUnderUs(t *testing.T) { onKernel(t, testDeletedUnderUs) }

func testDeletedUnderUs(t *testing.T, h *testnet.Host, c wgdevice.Config) {
	d := open(t, c)
	want := crowd(200)
	var vandal sync.WaitGroup
	stop := make(chan struct{})
	var gone int
	vandal.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(i%20) * 5 * time.Millisecond):
			}
			if link, err := h.Netlink().LinkByName("wg0"); err == nil {
				if err := h.Netlink().LinkDel(link); err == nil {
					gone++
				}
			}
		}
	})
	var failed int
	for range 40 {
		var s gateway.State
		err := d.Observe(t.Context(), &s)
		if err == nil {
			err = d.Apply(t.Context(), gateway.Diff(want, s))
		}
		if err != nil {
			require.True(t, errors.Is(err, unix.ENODEV) || isGone(err), "%v", err)
			failed++
		}
	}
	close(stop)
	vandal.Wait()
	t.Logf("deleted %d times, %d of 40 rounds failed for it", gone, failed)
	require.NotZero(t, gone)
	reconcile(t, d, want)
}

// isGone says whether the error names an interface that has gone.
func isGone(err error) bool {
	failed, ok := errors.AsType[*gateway.ApplyError](err)
	if !ok {
		return false
	}
	for _, err := range failed.Failed {
		if !errors.Is(err, unix.ENODEV) {
			return false
		}
	}
	return true
}
