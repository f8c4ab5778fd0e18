//go:build linux

package testnet_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

func TestEnter(t *testing.T) {
	t.Run("an ordinary user gets a network, and the exit code", func(t *testing.T) {
		cmd, out := play(t, "build", ordinary(t))
		text, err := io.ReadAll(out)
		require.NoError(t, err)
		require.Equal(t, exitWorked, exitCode(cmd), "%s", text)
		require.Equal(t, "worked 0 1\n", string(text), "inside, the program is root; its arguments are the same")
	})

	t.Run("Ctrl-C arrives once", func(t *testing.T) {
		attr := ordinary(t)
		attr.Setpgid = true
		cmd, out := play(t, "wait", attr)
		line(t, out)
		// A terminal sends to the whole group in the foreground.
		require.NoError(t, unix.Kill(-cmd.Process.Pid, unix.SIGINT))
		require.Equal(t, "interrupt", line(t, out))
		require.NoError(t, cmd.Process.Signal(unix.SIGUSR1))
		require.Equal(t, "user defined signal 1", line(t, out), "a second interrupt would stand here")
		require.NoError(t, cmd.Process.Signal(unix.SIGINT))
		require.Equal(t, "interrupt", line(t, out), "one that is meant for the outer program alone is passed on")
		require.NoError(t, cmd.Process.Signal(unix.SIGTERM))
		require.Equal(t, exitTerm, exitCode(cmd))
	})

	t.Run("a signal that ends the inner program shows in the exit code", func(t *testing.T) {
		cmd, out := play(t, "wait", ordinary(t))
		inner, err := strconv.Atoi(line(t, out))
		require.NoError(t, err)
		require.NoError(t, unix.Kill(inner, unix.SIGKILL))
		require.Equal(t, 128+9, exitCode(cmd))
	})

	t.Run("kill -9 takes the inner program along", func(t *testing.T) {
		cmd, out := play(t, "wait", ordinary(t))
		inner := line(t, out)
		require.NotEqual(t, strconv.Itoa(cmd.Process.Pid), inner)
		require.NoError(t, cmd.Process.Kill())
		testnet.Eventually(t, patience, func() error {
			if stat, err := os.ReadFile("/proc/" + inner + "/stat"); err == nil && !strings.Contains(string(stat), ") Z ") {
				return fmt.Errorf("process %s is alive: %s", inner, stat)
			}
			return nil
		})
	})

	t.Run("where user namespaces are forbidden it says what and what to do", func(t *testing.T) {
		cmd, out := play(t, "forbidden", &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		})
		text, err := io.ReadAll(out)
		require.NoError(t, err)
		require.Equal(t, exitRefused, exitCode(cmd), "%s", text)
		require.Contains(t, string(text), "not root, and it could not make a user namespace either")
		require.Contains(t, string(text), "sysctl -w user.max_user_namespaces=10000")
	})
}

func TestKillLeavesNothingBehind(t *testing.T) {
	testnet.Need(t, testnet.Netns)
	before := devices(t)
	cmd, out := play(t, "hold", nil)
	ids := strings.Fields(line(t, out))
	require.Len(t, ids, 2)
	for _, id := range ids {
		require.NotEmpty(t, holders(t, id), "the search is to find what is there")
	}
	require.Equal(t, before, devices(t), "a network shows in the namespace of the program that made it")
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	for _, id := range ids {
		require.Empty(t, holders(t, id))
	}
	require.Equal(t, before, devices(t))
}

// devices are the network devices of the namespace that the test runs in.
func devices(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/net/dev")
	require.NoError(t, err)
	var names []string
	for l := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(l, ":"); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// holders are the files below /proc that refer to a namespace: of any thread,
// any open file, any mount.
func holders(t *testing.T, id string) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"/proc/[0-9]*/task/[0-9]*/ns/net", "/proc/[0-9]*/fd/*"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, f := range files {
			if to, err := os.Readlink(f); err == nil && to == id {
				found = append(found, f)
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	if strings.Contains(string(mounts), id) {
		found = append(found, "a mount")
	}
	return found
}

func TestNeed(t *testing.T) {
	t.Run("what is there is no reason to skip", func(t *testing.T) {
		f := &fakeT{T: t}
		testnet.Need(f)
		require.Empty(t, f.skipped+f.fatal)
	})
	t.Run("what is missing skips", func(t *testing.T) {
		t.Setenv(testnet.RequireEnv, "")
		f := &fakeT{T: t}
		testnet.Need(f, "perpetual motion")
		require.Contains(t, f.skipped, "no perpetual motion here")
		require.Empty(t, f.fatal)
	})
	t.Run("but not where all is required", func(t *testing.T) {
		t.Setenv(testnet.RequireEnv, "all")
		f := &fakeT{T: t}
		testnet.Need(f, "perpetual motion")
		require.Contains(t, f.fatal, "no perpetual motion here")
		require.Empty(t, f.skipped)
	})
	t.Run("programs get a typed error", func(t *testing.T) {
		m, ok := errors.AsType[*testnet.MissingError](testnet.Check("perpetual motion"))
		require.True(t, ok)
		require.Equal(t, testnet.Requirement("perpetual motion"), m.What)
		require.Error(t, errors.Unwrap(m))
	})
	t.Run("this machine is told what it lacks", func(t *testing.T) {
		for _, r := range []testnet.Requirement{testnet.Netns, testnet.TUN, testnet.Nftables, testnet.KernelWireGuard, testnet.Netem, testnet.Keepalived, testnet.WGTools} {
			t.Log(r, testnet.Check(r))
		}
	})
}

// fakeT notes what Need does.
type fakeT struct {
	*testing.T
	skipped, fatal string
}

func (f *fakeT) Skip(args ...any)  { f.skipped = fmt.Sprint(args...) }
func (f *fakeT) Fatal(args ...any) { f.fatal = fmt.Sprint(args...) }
