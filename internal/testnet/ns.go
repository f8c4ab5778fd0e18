//go:build linux

package testnet

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// self is the namespace of the calling thread. Not /proc/self: that is the
// process's first thread, which may be elsewhere.
const self = "/proc/thread-self/ns/net"

// outcome is how a function on another thread ended.
type outcome struct {
	err      error
	panicked any
	returned bool
}

// away runs f on a thread of its own after move has taken that thread to
// another network namespace. A panic of f is raised again here, and if f ends
// its goroutine (as t.FailNow does), so does away.
func away(move, f func() error) error {
	done := make(chan outcome, 1)
	go func() {
		var out outcome
		defer func() {
			if !out.returned {
				out.panicked = recover()
			}
			done <- out
		}()
		out.err = travel(move, f)
		out.returned = true
	}()
	out := <-done
	if !out.returned {
		if out.panicked != nil {
			panic(out.panicked) //nolint:forbidigo // not ours: we hand it on
		}
		runtime.Goexit()
	}
	return out.err
}

// travel is away on the calling goroutine, which must end soon after: a thread
// that cannot return stays locked to it, so that the two end together.
func travel(move, f func() error) error {
	runtime.LockOSThread()
	home, err := unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("testnet: open %s (is /proc mounted?): %w", self, err)
	}
	defer func() {
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		_ = unix.Close(home)
	}()
	if err := move(); err != nil {
		return err
	}
	return f()
}

// errFresh marks that not even a namespace could be made.
var errFresh = errors.New("testnet: make a network namespace")

// fresh moves the calling thread to a new network namespace.
func fresh() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("%w: %w", errFresh, err)
	}
	return nil
}

// newNS makes a network namespace that lives as long as the returned handle,
// or the last thread, socket or device in it.
func newNS() (netns.NsHandle, error) {
	fd := -1
	err := away(fresh, func() (err error) {
		if fd, err = unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("testnet: open %s: %w", self, err)
		}
		return nil
	})
	return netns.NsHandle(fd), err
}
