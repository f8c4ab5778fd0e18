//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// aloneEnv tells the lab that its processes end with it.
const aloneEnv = "HOLDFAST_LAB_ALONE"

// crowded says that daemons, ours or keepalived, are to be run, and would outlive a lab
// that is killed: some of their processes are made to.
func (o options) crowded() bool {
	_, alone := os.LookupEnv(aloneEnv)
	_, machine := os.LookupEnv(programsEnv)
	return !alone && !machine && o.has(func(s Scenario) bool { return s.Processes || s.Keepalived })
}

// settle shows the processes of this namespace under /proc, if alone started it.
func settle() error {
	if _, alone := os.LookupEnv(aloneEnv); !alone {
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc for this namespace of processes: %w", err)
	}
	return nil
}

// alone builds the daemons and runs the lab once more, as the first process of a
// namespace of processes: when it ends, however, the kernel ends all others.
func alone(ctx context.Context, o options, args []string, stdout, stderr io.Writer) (code int) {
	dir, err := os.MkdirTemp("", "holdfast-lab-programs-")
	if err != nil {
		return unfit(stderr, err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	names := daemons()
	if !o.has(func(s Scenario) bool { return s.Processes }) {
		names = nil
	}
	for _, name := range names {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, name), daemonPackages+name)
		if out, err := cmd.CombinedOutput(); err != nil {
			return unfit(stderr, fmt.Errorf("build %s: %w: %s", name, err, out))
		}
	}
	self, err := os.Executable()
	if err != nil {
		return unfit(stderr, err)
	}
	cmd := exec.CommandContext(ctx, self, args...) //nolint:gosec // this program
	cmd.Env = append(os.Environ(), aloneEnv+"=1", programsEnv+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, stdout, stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it cleans up
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the thread that starts it must not end before this process does
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	exit := new(exec.ExitError)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode()
	default:
		fmt.Fprintf(stderr, "lab: %v\n", err)
		return exitFailed
	}
}
