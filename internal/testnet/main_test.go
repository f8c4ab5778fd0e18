//go:build linux

package testnet_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// roleEnv makes the test program play one of the roles below instead.
const roleEnv = "TESTNET_ROLE"

// Exit codes of roles that are told apart from any other trouble.
const (
	exitRefused = 41 // Enter said no
	exitWorked  = 42
	exitTerm    = 43
)

func TestMain(m *testing.M) {
	roles := map[string]func() (int, error){"build": build, "wait": wait, "hold": hold, "forbidden": forbidden}
	if role, ok := roles[os.Getenv(roleEnv)]; ok {
		code, err := role()
		if err != nil {
			say(err)
		}
		os.Exit(code)
	}
	testnet.Main(m)
}

// build enters, and uses a bit of everything.
func build() (int, error) {
	if err := testnet.Enter(); err != nil {
		return exitRefused, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n, err := testnet.New(ctx, testnet.Config{Capture: true})
	if err != nil {
		return 1, err
	}
	a, b, lan := n.Host("a"), n.Host("b"), n.Switch("lan")
	f := n.Floating(addr("192.0.2.10"), addr("2001:db8::10"))
	err = errors.Join(
		lan.Attach(a, "eth0", prefix("192.0.2.1/24"), prefix("2001:db8::1/64")),
		lan.Attach(b, "eth0", prefix("192.0.2.2/24"), prefix("2001:db8::2/64")),
		a.Masquerade("eth0"),
		f.Move(b, "eth0"),
	)
	if err != nil {
		return 1, err
	}
	for _, to := range []string{"192.0.2.10:7", "[2001:db8::10]:7"} {
		if _, err := b.Echo(at(to)); err != nil {
			return 1, err
		}
		p, err := a.Probe(testnet.ProbeConfig{To: at(to)})
		if err != nil {
			return 1, err
		}
		if _, err := p.WaitReply(ctx, time.Time{}); err != nil {
			return 1, err
		}
	}
	say("worked", os.Getuid(), len(os.Args))
	return exitWorked, n.Close()
}

// wait enters, says who it is, and reports signals until the one to terminate.
func wait() (int, error) {
	if err := testnet.Enter(); err != nil {
		return exitRefused, err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGUSR1)
	say(os.Getpid())
	for s := range signals {
		if s == unix.SIGTERM {
			break
		}
		say(s)
	}
	return exitTerm, nil
}

// hold makes a network, lists the identities of its namespaces and waits for its
// end.
func hold() (int, error) {
	n, err := testnet.New(context.Background(), testnet.Config{})
	if err != nil {
		return 1, err
	}
	a, b, lan := n.Host("a"), n.Host("b"), n.Switch("lan")
	if err := errors.Join(lan.Attach(a, "eth0"), lan.Attach(b, "eth0"), n.Link(a, "x", b, "y")); err != nil {
		return 1, err
	}
	ids := make([]string, 0, 2)
	for _, h := range []*testnet.Host{a, b} {
		id, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", h.NS()))
		if err != nil {
			return 1, err
		}
		ids = append(ids, id)
	}
	say(strings.Join(ids, " "))
	select {}
}

// forbidden sees to it that user namespaces are forbidden and all rights gone,
// here only, and then plays build. It is started in a user namespace.
func forbidden() (int, error) {
	runtime.LockOSThread()
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		return 1, err
	}
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return 1, err
		}
	}
	if err := os.Setenv(roleEnv, "build"); err != nil {
		return 1, err
	}
	return 1, syscall.Exec("/proc/self/exe", os.Args, os.Environ())
}

// say writes a line for the test that plays the role.
func say(a ...any) { _, _ = fmt.Fprintln(os.Stdout, a...) }

// play starts this test program in a role.
func play(t *testing.T, role string, attr *syscall.SysProcAttr) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, bufio.NewReader(out)
}

// ordinary is how to start a process without any rights. In the initial user
// namespace that is another user; below it there may be no other, so there it is
// a user namespace in which we are not root.
func ordinary(t *testing.T) *syscall.SysProcAttr {
	t.Helper()
	m, err := os.ReadFile("/proc/self/uid_map")
	require.NoError(t, err)
	if strings.Join(strings.Fields(string(m)), " ") == "0 0 4294967295" {
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getegid(), Size: 1}},
	}
}

// line reads the next line of a role's output.
func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	require.NoError(t, err, "got %q", s)
	return strings.TrimSpace(s)
}

// exitCode waits for the end of a role.
func exitCode(cmd *exec.Cmd) int {
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode()
}
