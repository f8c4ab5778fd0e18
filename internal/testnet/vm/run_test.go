//go:build linux

package vm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
)

// boots is for tests that boot machines.
func boots(t *testing.T) {
	t.Helper()
	if testing.Short() && os.Getenv(testnet.RequireEnv) != "all" {
		t.Skip("boots a machine, which takes seconds: run it without -short")
	}
	vm.Need(t)
}

// role is a machine in which this program plays a role.
func role(t *testing.T, name string) vm.Config {
	t.Helper()
	boots(t)
	self, err := vm.Self(t.Context())
	require.NoError(t, err)
	return vm.Config{Program: self, Env: []string{roleEnv + "=" + name}, Limit: 3 * time.Minute}
}

func TestProgramEnds(t *testing.T) {
	c := role(t, "chat")
	data := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(data, "word"), []byte("given"), 0o600))
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	c.Args = []string{"two words", "-x"}
	c.Env = append(c.Env, "WORD=a b")
	c.Dir = "/some/where"
	c.Files = map[string]string{"/data/given": data}
	res, err := vm.Run(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, 3, res.Exit)
	require.Positive(t, res.Boot)
	require.Positive(t, res.Took)
	t.Logf("%+v", res)

	var want strings.Builder
	for i := range lines {
		fmt.Fprintf(&want, "{\"line\":%d,\"text\":%q}\n", i, strings.Repeat("x", i%200))
	}
	want.WriteString("/some/where given [two words -x] a b virtual\n")
	out, child, _ := strings.Cut(stdout.String(), "sleeping\n") // the child may have come so far
	require.Empty(t, child)
	require.Equal(t, want.String(), out)
	require.Equal(t, lines/10, strings.Count(stderr.String(), "note "))
	require.Empty(t, children(t, os.Getpid()))
}

func TestProgramPanics(t *testing.T) {
	c := role(t, "panic")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	res, err := vm.Run(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, 2, res.Exit)
	require.Contains(t, stderr.String(), "panic: on purpose")
}

func TestProgramIsKilled(t *testing.T) {
	c := role(t, "glutton")
	var console bytes.Buffer
	c.Console = &console
	c.Memory = 192
	res, err := vm.Run(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, 128+9, res.Exit)
	require.Contains(t, console.String(), "Out of memory")
}

func TestKernelPanics(t *testing.T) {
	c := role(t, "crash")
	var stdout bytes.Buffer
	c.Stdout = &stdout
	_, err := vm.Run(t.Context(), c)
	require.ErrorContains(t, err, "the machine went down before the program ended")
	require.ErrorContains(t, err, "sysrq triggered crash")
	require.Equal(t, "last words\n", stdout.String())
}

func TestMachineGoesOff(t *testing.T) {
	_, err := vm.Run(t.Context(), role(t, "off"))
	require.ErrorContains(t, err, "the machine went down before the program ended")
}

func TestWithinOnItsClock(t *testing.T) {
	c := role(t, "sleep")
	c.Within = 20 * time.Minute
	res, err := vm.Run(t.Context(), c)
	limit, ok := errors.AsType[*vm.LimitError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, vm.LimitError{Limit: c.Within, Clock: "the virtual machine's"}, *limit)
	require.InDelta(t, c.Within.Seconds(), res.Took.Seconds(), 1)
	require.Less(t, res.Wall, c.Within/10)
}

func TestLimitOnOurClock(t *testing.T) {
	c := role(t, "spin")
	c.Limit = 2 * time.Second // no machine is that fast
	_, err := vm.Run(t.Context(), c)
	limit, ok := errors.AsType[*vm.LimitError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, vm.LimitError{Limit: c.Limit, Clock: "this machine's"}, *limit)
	require.Empty(t, children(t, os.Getpid()))
}

// signal is a Writer that tells of the first bytes.
type signal chan struct{}

func (s signal) Write(p []byte) (int, error) {
	select {
	case s <- struct{}{}:
	default:
	}
	return len(p), nil
}

func TestCancel(t *testing.T) {
	c := role(t, "spin")
	said := make(signal, 1)
	c.Stdout = said
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("not wanted any more")
	go func() {
		<-said // it comes while the program runs
		cancel(gone)
	}()
	_, err := vm.Run(ctx, c)
	require.ErrorIs(t, err, gone)
	require.Empty(t, children(t, os.Getpid()))
}

// full is a Writer that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

func TestWriterFails(t *testing.T) {
	c := role(t, "spin")
	c.Stdout = full{}
	_, err := vm.Run(t.Context(), c)
	require.ErrorContains(t, err, "hand on what the program wrote: the disk is full")
}

// A process that is killed takes its machine with it.
func TestOwnerIsKilled(t *testing.T) {
	c := role(t, "host")
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"=host", "VM_PROGRAM="+c.Program)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = out.Read(make([]byte, 64))
	require.NoError(t, err)
	machines := children(t, cmd.Process.Pid)
	require.Len(t, machines, 1)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	testnet.Eventually(t, 10*time.Second, func() error {
		for _, m := range machines {
			if state(m) != "" {
				return fmt.Errorf("process %s is there, %s", m, state(m))
			}
		}
		return nil
	})
}

// children are the processes that a process has started and that are there, by
// number.
func children(t *testing.T, pid int) []string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var all []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread ended
		}
		require.NoError(t, err)
		all = append(all, strings.Fields(string(text))...)
	}
	return all
}

// state is that of a process; "" if it is gone, or nobody has asked how it ended.
func state(pid string) string {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	if strings.HasPrefix(rest, "Z") {
		return ""
	}
	return rest[:1]
}
