//go:build linux

package wgdevice

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// thread is the network namespace of the calling thread. Not /proc/self, which
// is that of the process's first thread.
const thread = "/proc/thread-self/ns/net"

// place names a network namespace for as long as somebody keeps it open.
type place struct{ dev, ino uint64 }

// namespace is an open network namespace.
type namespace struct {
	file *os.File
	place
}

// openNamespace opens the namespace at path, or that of the calling thread.
func openNamespace(path string) (*namespace, error) {
	if path == "" {
		path = thread
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	n := &namespace{file: f}
	if n.place, err = placeOf(int(f.Fd())); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	if kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		_ = f.Close()
		return nil, fmt.Errorf("%s is no network namespace", path)
	}
	return n, nil
}

// placeOf returns what the open file fd is.
func placeOf(fd int) (place, error) {
	var s unix.Stat_t
	err := unix.Fstat(fd, &s)
	return place{s.Dev, s.Ino}, err
}

// clone returns n opened once more.
func (n *namespace) clone() (*namespace, error) {
	fd, err := unix.FcntlInt(n.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("keep network namespace open: %w", err)
	}
	return &namespace{file: os.NewFile(uintptr(fd), n.file.Name()), place: n.place}, nil
}

// Close lets go of the namespace.
func (n *namespace) Close() error { return n.file.Close() }

// do runs f on a thread that is in the namespace. Goroutines that f starts are
// not; sockets that f opens belong to the namespace for life.
//
// Entering another namespace takes CAP_SYS_ADMIN. A thread that is there
// already needs no right, so that an ordinary gateway can do with
// CAP_NET_ADMIN.
func (n *namespace) do(f func() error) error {
	runtime.LockOSThread()
	var s unix.Stat_t
	if err := unix.Stat(thread, &s); err == nil && (place{s.Dev, s.Ino}) == n.place {
		defer runtime.UnlockOSThread()
		return f()
	}
	runtime.UnlockOSThread()

	done := make(chan error, 1)
	go func() { done <- n.visit(f) }()
	return <-done
}

// visit is do on a goroutine of its own. If the thread cannot go back, it stays
// locked to the goroutine and ends with it.
func (n *namespace) visit(f func() error) error {
	runtime.LockOSThread()
	home, err := unix.Open(thread, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open %s (is /proc mounted?): %w", thread, err)
	}
	defer func() {
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		_ = unix.Close(home)
	}()
	err = unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET)
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("enter network namespace %s: that takes CAP_SYS_ADMIN: run as root: %w", n.file.Name(), err)
	case err != nil:
		return fmt.Errorf("enter network namespace %s: %w", n.file.Name(), err)
	}
	return f()
}
