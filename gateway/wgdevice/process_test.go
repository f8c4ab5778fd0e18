//go:build linux

package wgdevice_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// sockets is where the processes of these tests are spoken to.
const sockets = "/tmp/holdfast-wgdevice-test"

// What this program is, by its first argument, when a test starts it.
const (
	serveArg = "wgdevice-serve" // what Config.Process starts
	holdArg  = "wgdevice-hold"  // a gateway (see hold)
)

// command is a Config.Process: this program.
func command() []string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return []string{self, serveArg}
}

// main runs the tests, or is one of the programs that they start.
func main(m *testing.M) {
	switch {
	case len(os.Args) == 3 && os.Args[1] == serveArg:
		if err := serve(os.Args[2]); err != nil {
			say(err)
			os.Exit(1)
		}
	case len(os.Args) == 3 && os.Args[1] == holdArg:
		hold(os.Args[2])
	default:
		testnet.Main(m)
	}
}

// say writes a line for the test that started this program.
func say(what any) {
	if _, err := fmt.Fprintln(os.Stdout, what); err != nil {
		os.Exit(1) // nobody is there to hear
	}
}

func serve(name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return wgdevice.Serve(ctx, name, nil)
}

// servers are the processes of interfaces in the host's namespace.
func servers(tb testing.TB, h *testnet.Host) (pids []int) {
	tb.Helper()
	var at, is unix.Stat_t
	require.NoError(tb, unix.Fstat(int(h.NS()), &at))
	all, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(tb, err)
	for _, dir := range all {
		line, err := os.ReadFile(dir + "/cmdline")
		if err != nil || !strings.Contains(string(line), "\x00"+serveArg+"\x00") {
			continue
		}
		if unix.Stat(dir+"/ns/net", &is) == nil && is.Dev == at.Dev && is.Ino == at.Ino {
			pid, err := strconv.Atoi(filepath.Base(dir))
			require.NoError(tb, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

// server is the process of the one interface there; one that has just given it up
// may take a moment to end.
func server(tb testing.TB, h *testnet.Host) (pid int) {
	tb.Helper()
	testnet.Eventually(tb, patience, func() error {
		pids := servers(tb, h)
		if len(pids) != 1 {
			return fmt.Errorf("there are %v", pids)
		}
		pid = pids[0]
		return nil
	})
	return pid
}

// noServers waits until all of them have ended.
func noServers(tb testing.TB, h *testnet.Host) {
	tb.Helper()
	testnet.Eventually(tb, patience, func() error {
		if pids := servers(tb, h); len(pids) > 0 {
			return fmt.Errorf("still there: %v", pids)
		}
		return nil
	})
}

// apart runs a test of processes of their own. They are not for the machine with
// WireGuard in its kernel.
func apart(t *testing.T, test func(t *testing.T, h *testnet.Host)) {
	t.Helper()
	testnet.Need(t, testnet.Netns, testnet.TUN, testnet.Nftables)
	if vm.Inside() != "" {
		t.Log("nothing to test: this is about user space")
		return
	}
	test(t, testnet.ForTest(t).Host("gw"))
}

// A process that is killed takes its interface with it. That is noticed, and
// another takes its place, in spite of the socket that was left.
func TestServerKilled(t *testing.T) { apart(t, testServerKilled) }

func testServerKilled(t *testing.T, h *testnet.Host) {
	d := open(t, inside(h, process))
	want := gate(others(3)...)
	for range 5 {
		reconcile(t, d, want)
		pid, changes := server(t, h), d.Changes(t.Context())
		require.NoError(t, unix.Kill(pid, unix.SIGKILL))
		select {
		case <-changes:
		case <-time.After(patience):
			require.Fail(t, "not noticed")
		}
		require.FileExists(t, socketAt(t, h))
		testnet.Eventually(t, patience, func() error {
			var s gateway.State
			if err := d.Observe(t.Context(), &s); err != nil {
				return err
			}
			if s.Exists {
				return errors.New("it is still there")
			}
			return nil
		})
		reconcile(t, d, want) // at once: the port is free
		require.NotEqual(t, pid, server(t, h))
	}
}

// What ends a process is a signal that is meant for it, the end of its link, and
// nothing that happens to who started it.
func TestServerEnds(t *testing.T) { apart(t, testServerEnds) }

func testServerEnds(t *testing.T, h *testnet.Host) {
	d := open(t, inside(h, process))
	want := gate(others(1)...)
	reconcile(t, d, want)
	pid := server(t, h)
	session, err := unix.Getsid(pid)
	require.NoError(t, err)
	require.Equal(t, pid, session)
	require.NoError(t, unix.Kill(pid, unix.SIGHUP))
	require.NoError(t, d.Close())
	d = open(t, inside(h, process))
	require.Empty(t, gateway.Diff(want, observe(t, d)))
	require.Equal(t, pid, server(t, h))

	require.NoError(t, unix.Kill(pid, unix.SIGTERM))
	noServers(t, h)
	require.NoFileExists(t, socketAt(t, h))
	require.False(t, observe(t, d).Exists)
	reconcile(t, d, want)
	run(t, h, "ip", "link", "delete", "wg0")
	noServers(t, h)
	require.NoFileExists(t, socketAt(t, h))
}

// An interface that somebody renamed ends with the one that takes its place.
func TestServerRenamed(t *testing.T) { apart(t, testServerRenamed) }

func testServerRenamed(t *testing.T, h *testnet.Host) {
	d := open(t, inside(h, process))
	want := gate(others(1)...)
	for _, again := range []bool{true, false} {
		reconcile(t, d, want)
		run(t, h, "sh", "-ec", "ip link set wg0 down; ip link set wg0 name other")
		require.False(t, observe(t, d).Exists)
		require.NoError(t, d.Close())
		d = open(t, inside(h, process)) // knows nothing of it
		if again {
			reconcile(t, d, want)
			server(t, h)
		} else {
			require.NoError(t, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}))
			noServers(t, h)
		}
		require.NotContains(t, run(t, h, "ip", "link"), "other")
	}
}

// Without the mark an interface is still ours for who knew it, and nobody else's.
func TestServerWithoutMark(t *testing.T) { apart(t, testServerWithoutMark) }

func testServerWithoutMark(t *testing.T, h *testnet.Host) {
	d := open(t, inside(h, process))
	want := gate(others(1)...)
	reconcile(t, d, want)
	for _, mark := range []string{"", "mine", "holdfast userspace 1", "holdfast userspace", "holdfast userspace x"} {
		run(t, h, "ip", "link", "set", "wg0", "alias", mark)
		require.Empty(t, gateway.Diff(want, observe(t, d)))
		_, err := wgdevice.Open(inside(h, process))
		require.ErrorIs(t, err, gateway.ErrForeign, mark)
	}
	run(t, h, "ip", "link", "set", "wg0", "alias", fmt.Sprintf("holdfast userspace %d", server(t, h)))
	other := open(t, inside(h, process))
	require.Empty(t, gateway.Diff(want, observe(t, other)))
	own := inside(h, wgdevice.Userspace)
	_, err := wgdevice.Open(own)
	require.ErrorIs(t, err, gateway.ErrForeign, "who did not ask for processes does not look for them")
}

// proves P15: others on this machine see no key, nor anything else that the
// gateway was started with.
func TestServerShowsNothing(t *testing.T) { apart(t, testServerShowsNothing) }

func testServerShowsNothing(t *testing.T, h *testnet.Host) {
	t.Setenv("HOLDFAST_SOMETHING", "hush")
	d := open(t, inside(h, process))
	want := gate(others(1)...)
	want.Interface.Key = wgkey.NewPrivate()
	reconcile(t, d, want)
	pid := server(t, h)
	for _, file := range []string{"cmdline", "environ"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		require.NoError(t, err)
		require.NotContains(t, string(b), "hush")
		require.NotContains(t, string(b), want.Interface.Key.RevealText())
		require.NotContains(t, string(b), fmt.Sprintf("%x", want.Interface.Key.Reveal()))
	}
}

// However many come and go, the process keeps nothing of them.
func TestServerLeaksNothing(t *testing.T) { apart(t, testServerLeaksNothing) }

func testServerLeaksNothing(t *testing.T, h *testnet.Host) {
	d := open(t, inside(h, process))
	reconcile(t, d, gate(others(1)...))
	dir := fmt.Sprintf("/proc/%d/fd", server(t, h))
	count := func() int {
		list, err := os.ReadDir(dir)
		require.NoError(t, err)
		return len(list)
	}
	before := count()
	for range 50 {
		other, err := wgdevice.Open(inside(h, process))
		require.NoError(t, err)
		observe(t, other)
		require.NoError(t, other.Close())
	}
	testnet.Eventually(t, patience, func() error {
		if n := count(); n > before {
			return fmt.Errorf("%d files, there were %d", n, before)
		}
		return nil
	})
}

// Started by hand it says what it is for.
func TestServeByHand(t *testing.T) {
	for name, says := range map[string]string{"wg0": "for the gateway to start, and not by hand", "a b": "has the character"} {
		out, err := exec.CommandContext(t.Context(), command()[0], serveArg, name).CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), says)
	}
}
