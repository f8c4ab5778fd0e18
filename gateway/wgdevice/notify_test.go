//go:build linux

package wgdevice_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
)

func TestChanges(t *testing.T) { each(t, testChanges) }

func testChanges(t *testing.T, back wgdevice.Backend) {
	net := testnet.ForTest(t)
	h := net.Host("gw")
	d := open(t, inside(h, back))
	changes := d.Changes(t.Context())
	quiet := func() {
		for {
			select {
			case <-changes:
			case <-time.After(300 * time.Millisecond):
				return
			}
		}
	}
	heard := func(what string) {
		t.Helper()
		select {
		case <-changes:
		case <-time.After(patience):
			require.Fail(t, "not noticed", what)
		}
		quiet()
	}
	want := gate()
	reconcile(t, d, want)
	heard("made")
	for i, step := range [][]string{
		{"ip", "link", "set", "wg0", "down"},
		{"ip", "link", "set", "wg0", "up"},
		{"ip", "address", "add", "10.9.9.9/24", "dev", "wg0"},
		{"ip", "route", "add", "10.8.0.0/16", "dev", "wg0"},
		{"nft", "flush", "table", "inet", "holdfast-wg0"},
		{"sysctl", "-q", "-w", "net.ipv4.ip_forward=0"},
		{"sysctl", "-q", "-w", "net.ipv6.conf.all.forwarding=0"},
		{"ip", "link", "delete", "wg0"},
	} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			run(t, h, step...)
			heard(step[0])
		})
	}
	reconcile(t, d, want)
	heard("made again")
	run(t, h, "ip", "link", "set", "wg0", "mtu", "1300")
	heard("another index")

	run(t, h, "ip", "link", "add", "other", "type", "bridge")
	run(t, h, "ip", "link", "set", "other", "up")
	run(t, h, "ip", "address", "add", "10.7.7.7/24", "dev", "other")
	run(t, h, "nft", "add", "table", "inet", "other")
	select {
	case <-changes:
		require.Fail(t, "of others")
	case <-time.After(300 * time.Millisecond):
	}
}
