//go:build linux

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/cmd/internal/daemon"
	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// TestMain is the gateway itself where a test starts this program as one.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "device") {
		main()
		return
	}
	testnet.Main(m)
}

// What the gateway starts for an interface in user space is this program, and
// serves it.
func TestDeviceCommand(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN, testnet.Nftables)
	for _, format := range []string{"text", "json"} {
		o := &options{Common: daemon.Common{LogLevel: slog.LevelWarn, LogFormat: format}}
		command, err := deviceCommand(o)
		require.NoError(t, err)
		c := wgdevice.Config{
			Name: "hf-office", NetNS: fmt.Sprintf("/proc/self/fd/%d", int(testnet.ForTest(t).Host("gw").NS())),
			Backend: wgdevice.Userspace, Process: command, Sockets: t.TempDir() + "/sockets",
		}
		d, err := wgdevice.Open(c)
		require.NoError(t, err)
		want := gateway.Config{Interface: gateway.Interface{Key: wgkey.NewPrivate(), Port: 51820, MTU: 1420}}
		require.NoError(t, d.Apply(t.Context(), gateway.Diff(want, gateway.State{})))
		require.NoError(t, d.Close())

		d, err = wgdevice.Open(c)
		require.NoError(t, err)
		var s gateway.State
		require.NoError(t, d.Observe(t.Context(), &s))
		require.Empty(t, gateway.Diff(want, s))
		require.NoError(t, errors.Join(d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}), d.Close()))
	}
}
