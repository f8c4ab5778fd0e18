//go:build linux

package testnet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// enteredEnv tells the program that it is the one that Enter has started.
const enteredEnv = "HOLDFAST_TESTNET_ENTERED"

// Enter makes sure that this program may make networks. Call it at the start of
// main (in tests: [Main]), before anything is opened or started.
//
// Where the program has the rights, nothing happens. Else Enter runs the program
// once more, with the same arguments, environment, directory and standard files,
// in new user, network and mount namespaces in which it counts as root, forwards
// signals to it, and exits with its exit code (128 + N if signal N ended it):
// then Enter returns in that other process only. If this process dies, so does
// the other one. Things to know there: the only network is a loopback; all files
// are seen with the rights of the real user; a terminal is not passed on as
// standard input.
//
// An error says which setting of this machine is in the way, and what to do.
func Enter() error {
	_, entered := os.LookupEnv(enteredEnv)
	if entered {
		if err := os.Unsetenv(enteredEnv); err != nil {
			return fmt.Errorf("testnet: enter: %w", err)
		}
		if err := loopback(); err != nil {
			return forbidden(err, setting)
		}
	}
	err := Check(Netns)
	if !errors.Is(err, unix.EPERM) {
		return err // nil, or what a user namespace cannot help
	}
	if entered {
		return forbidden(err, setting)
	}
	code, err := rerun()
	if err != nil {
		return forbidden(err, setting)
	}
	os.Exit(code) //nolint:forbidigo // this is the end of main, only seen from another process
	return nil
}

// Main is what TestMain calls to have its tests run where they may make
// networks. If that cannot be, it says so, and tests that need them skip; with
// [RequireEnv] set to "all" it fails.
func Main(m interface{ Run() int }) {
	if err := Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if required() {
			os.Exit(1) //nolint:forbidigo // a TestMain is a main
		}
	}
	os.Exit(m.Run()) //nolint:forbidigo // a TestMain is a main
}

// loopback takes lo up: a program may well talk to itself.
func loopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	return netlink.LinkSetUp(lo)
}

// rerun runs this program in namespaces of its own and waits for it.
func rerun() (code int, err error) {
	// The kernel kills the child when the thread that made it ends; so this one
	// has to stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:gosec,noctx // ourselves, for as long as it takes
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), enteredEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if _, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS); err == nil {
		cmd.Stdin = nil // a group in the background that reads a terminal is stopped
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   unix.SIGKILL,
		Setpgid:     true, // Ctrl-C comes from us, once, and not from the terminal as well
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, passedOn()...)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go pass(signals, cmd.Process.Pid)
	err = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() > 0 {
		return 128 + int(status.Signal()), nil
	}
	if _, exited := errors.AsType[*exec.ExitError](err); exited {
		err = nil
	}
	return cmd.ProcessState.ExitCode(), err
}

// passedOn are the signals that are meant for the program, without those that
// whoever started us wants ignored.
func passedOn() []os.Signal {
	var all []os.Signal
	for _, s := range []os.Signal{
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTSTP, unix.SIGCONT,
	} {
		if !signal.Ignored(s) {
			all = append(all, s)
		}
	}
	return all
}

// pass forwards signals until this process exits. Those that a terminal sends go
// to the whole group, as from a terminal.
func pass(signals <-chan os.Signal, pid int) {
	for s := range signals {
		n, ok := s.(syscall.Signal)
		if !ok {
			continue
		}
		to := -pid
		if n == unix.SIGTERM || n == unix.SIGUSR1 || n == unix.SIGUSR2 {
			to = pid
		}
		_ = unix.Kill(to, n) // it may have ended just now
		if n == unix.SIGTSTP {
			_ = unix.Kill(os.Getpid(), unix.SIGSTOP) // the shell waits for us to stop
		}
	}
}

// setting reads a kernel parameter; "" if there is none of that name.
func setting(name string) string {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
