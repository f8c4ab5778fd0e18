//go:build linux

package wgdevice

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// started is a process with an interface that nobody has marked yet.
func started(t *testing.T) (h *testnet.Host, r *remote, path string) {
	t.Helper()
	testnet.Need(t, testnet.Netns, testnet.TUN)
	h = testnet.ForTest(t).Host("gw")
	ns, err := openNamespace(fmt.Sprintf("/proc/self/fd/%d", int(h.NS())))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ns.Close()) })
	self, err := os.Executable()
	require.NoError(t, err)
	r, err = startProcess(ns, []string{self, "wgdevice-serve", "wg0"}, os.Stderr)
	require.NoError(t, err)
	t.Cleanup(func() {
		if r.alive() {
			r.kill()
		}
		require.NoError(t, r.close())
	})
	path = filepath.Join(t.TempDir(), "sockets", "wg0")
	key, port, firewall := wgkey.NewPrivate(), uint16(51820), uint32(0)
	lines := appendSettings([]byte("mtu=1420\nsocket="+path+"\n"), settings{key: &key, port: &port, mark: &firewall})
	require.NoError(t, r.order(opStart, lines...))
	return h, r, path
}

// A process whose starter goes before it has marked the interface ends, and the
// interface with it.
func TestUnclaimed(t *testing.T) {
	h, r, path := started(t)
	require.NoError(t, r.conn.Close())
	require.True(t, r.exited(answerWithin))
	_, err := h.Netlink().LinkByName("wg0")
	require.Error(t, err)
	require.NoFileExists(t, path)
}

// One that was claimed goes on, and answers whoever it knows.
func TestProtocol(t *testing.T) {
	_, r, path := started(t)
	require.NoError(t, r.order(opClaim))
	require.NoError(t, r.conn.Close())
	require.False(t, r.exited(300*time.Millisecond))

	other, err := dial(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, other.close()) }()
	require.Equal(t, r.pid, other.pid)
	require.ErrorIs(t, other.order(opYield), unix.EBUSY)
	require.ErrorIs(t, other.order("dance=1"), unix.EOPNOTSUPP)
	require.ErrorIs(t, other.order(opMTU), unix.EPROTO)
	require.Error(t, other.order(opMTU, []byte("mtu=-1\n")...))
	err = other.order(opSet, []byte("listen_port=no\n")...)
	require.ErrorIs(t, err, unix.EINVAL)
	require.ErrorContains(t, err, "listen_port")
	var s gateway.State
	require.NoError(t, other.read(&s))
	require.Equal(t, uint16(51820), s.Interface.Port)
	require.NoError(t, other.set(settings{port: new(uint16)}))
	require.NoError(t, other.read(&s))
	require.NotEqual(t, uint16(51820), s.Interface.Port)

	// Who says what cannot be is not talked to, and harms nobody else.
	loud, err := dial(path)
	require.NoError(t, err)
	require.ErrorIs(t, loud.order(opSet, []byte(strings.Repeat("x", 5000)+"\n")...), unix.ENODEV)
	require.False(t, loud.alive())
	require.NoError(t, loud.close())
	require.NoError(t, other.read(&s))

	// One that does not answer is said to, and can be ended all the same.
	require.NoError(t, unix.Kill(other.pid, unix.SIGSTOP))
	testnet.Eventually(t, answerWithin, func() error { // each of its threads stops when it gets to it
		all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", other.pid))
		for _, file := range all {
			if b, _ := os.ReadFile(file); !strings.Contains(string(b), "State:\tT") {
				err = errors.Join(err, fmt.Errorf("%s: it runs", file))
			}
		}
		return err
	})
	other.within = 100 * time.Millisecond
	err = other.read(&s)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.ErrorContains(t, err, fmt.Sprintf("does not answer: see what it does, or end it (kill -9 %d)", other.pid))
	again, err := dial(path)
	require.NoError(t, err)
	again.within = 100 * time.Millisecond
	require.NoError(t, again.end(opEnd))
	require.True(t, r.exited(0))
	_, err = dial(path)
	require.True(t, gone(err), "%v", err)
}

// What the other side said keeps its number and its words.
func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		answer, says string
		is           error
	}{
		{"message=\"UDP port 7 is in use\"\nerrno=98\n\n", "UDP port 7 is in use", unix.EADDRINUSE},
		{"errno=-22\n\n", "WireGuard refused: invalid argument", unix.EINVAL},
		{"message=no quotes\nerrno=1\n\n", "WireGuard refused: operation not permitted", unix.EPERM},
	} {
		var s gateway.State
		err := askUAPI(said(c.answer), &s)
		require.EqualError(t, err, c.says)
		require.ErrorIs(t, err, c.is)
	}
	require.Equal(t, unix.EIO, errnoOf(errors.New("anything")))
	require.Equal(t, unix.EADDRINUSE, errnoOf(fmt.Errorf("x: %w", portError(7, unix.EADDRINUSE))))
}

func TestMarkedProcess(t *testing.T) {
	pid, ok := markedProcess(alias(Userspace, 12))
	require.True(t, ok)
	require.Equal(t, 12, pid)
	for _, s := range []string{"", mark, alias(Kernel, 12), "holdfast userspace", "holdfast userspace 0", "holdfast userspace -1", "holdfast userspace 1 2", "x userspace 1"} {
		_, ok := markedProcess(s)
		require.False(t, ok, s)
	}
}
