//go:build linux

package wgdevice_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// socketAt is where the process of the host's interface is spoken to.
func socketAt(tb testing.TB, h *testnet.Host) string {
	tb.Helper()
	var s unix.Stat_t
	require.NoError(tb, unix.Fstat(int(h.NS()), &s))
	return fmt.Sprintf("%s/wg0.%d", sockets, s.Ino)
}

// A socket that was taken away comes back. What somebody puts in its place is
// told nothing.
func TestSocketTaken(t *testing.T) { apart(t, testSocketTaken) }

func testSocketTaken(t *testing.T, h *testnet.Host) {
	d := open(t, inside(h, process))
	want := gate(others(1)...)
	reconcile(t, d, want)
	path := socketAt(t, h)
	found := func() {
		t.Helper()
		testnet.Eventually(t, patience, func() error {
			other, err := wgdevice.Open(inside(h, process))
			if err != nil {
				return err
			}
			require.Empty(t, gateway.Diff(want, observe(t, other)))
			return other.Close()
		})
		is, err := os.Lstat(path)
		require.NoError(t, err)
		require.Equal(t, os.ModeSocket|0o600, is.Mode())
		is, err = os.Lstat(sockets)
		require.NoError(t, err)
		require.Equal(t, os.ModeDir|0o700, is.Mode())
	}
	found()
	for _, take := range []func() error{
		func() error { return os.Remove(path) },
		func() error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
	} {
		require.NoError(t, take())
		require.Empty(t, gateway.Diff(want, observe(t, d)), "who knew it does not need it")
		found()
	}

	require.NoError(t, os.Remove(path))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false) // by then it is not there any more
	heard := make(chan int, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			heard <- 0
			return
		}
		n, _ := io.Copy(io.Discard, c)
		heard <- int(n)
	}()
	_, err = wgdevice.Open(inside(h, process))
	require.ErrorIs(t, err, gateway.ErrForeign)
	found()
	require.NoError(t, l.Close())
	require.Zero(t, <-heard)
}

// Sockets that take private keys are not put where others can go.
func TestSocketDirectory(t *testing.T) { apart(t, testSocketDirectory) }

func testSocketDirectory(t *testing.T, h *testnet.Host) {
	open := func(dir string) error {
		c := inside(h, process)
		c.Sockets = dir
		d, err := wgdevice.Open(c)
		if err != nil {
			return err
		}
		err = d.Apply(t.Context(), gateway.Diff(gate(), gateway.State{}))
		return errors.Join(err, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}), d.Close())
	}
	wide := filepath.Join(t.TempDir(), "wide")
	require.NoError(t, os.Mkdir(wide, 0o755)) // that is the point
	err := open(wide)
	require.ErrorIs(t, err, syscall.EPERM)
	require.ErrorContains(t, err, "nobody else may enter")
	require.NoError(t, os.Symlink(t.TempDir(), wide+"2"))
	require.ErrorContains(t, open(wide+"2"), "is not a directory of user")
	require.ErrorContains(t, open("/"+strings.Repeat("long/", 30)), "too long for a socket")
	require.ErrorContains(t, open("here"), "no absolute path")
	require.NoError(t, open(filepath.Join(t.TempDir(), "new", "one")))

	c := inside(h, process)
	c.Process = []string{"gateway", "device"}
	_, err = wgdevice.Open(c)
	require.ErrorContains(t, err, "no absolute path of a program")
	for program, says := range map[string]string{"/bin/true": "is that a program that calls wgdevice.Serve?", "/nowhere": "no such file"} {
		c.Process = []string{program}
		d, err := wgdevice.Open(c)
		require.NoError(t, err)
		require.ErrorContains(t, d.Apply(t.Context(), gateway.Diff(gate(), gateway.State{})), says)
		require.NoError(t, d.Close())
	}
	noServers(t, h)
}
