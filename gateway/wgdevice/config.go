package wgdevice

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
)

// Backend says whose WireGuard does the work.
type Backend string

// The backends.
const (
	// Auto is what the interface has already, else Kernel where the kernel can,
	// else Userspace.
	Auto Backend = ""
	// Kernel is the WireGuard of the Linux kernel.
	Kernel Backend = "kernel"
	// Userspace is WireGuard in this process, or in one of its own (see
	// Config.Process), over a TUN device.
	Userspace Backend = "userspace"
)

// Config is what Open needs.
type Config struct {
	// Name of the interface, such as "wg0": 1 to 15 letters, digits, points,
	// dashes and underscores. Required.
	Name string
	// NetNS is the path of the network namespace that the interface is in, such
	// as "/run/netns/blue", or "/proc/self/fd/7" for an open handle, which may
	// be closed after Open. Empty means that of the thread that calls Open.
	NetNS string
	// Backend is whose WireGuard to use; the zero value is Auto.
	Backend Backend
	// Adopt allows to take over a WireGuard interface of the kernel that
	// somebody else made: everything that the desired state lacks goes away.
	Adopt bool
	// Process is the command that starts WireGuard in user space in a process
	// of its own, which outlives this one: the absolute path of a program, and
	// arguments, to which the name of the interface is added. It calls Serve.
	// Who opens the interface next, with a Process too, adopts it with all its
	// sessions. Nil means that WireGuard in user space runs in this process,
	// and ends with it.
	Process []string
	// Sockets is the directory, of an absolute path, where those processes are
	// spoken to. It is made if it is not there, and has to be ours alone (0700).
	// Empty means "/run/holdfast/device".
	Sockets string
	// Stderr is where those processes log, and write to when they crash, such
	// as os.Stderr. It should last as long as they do; a pipe does not, and is
	// not passed on. Nil discards.
	Stderr *os.File
	// Log hears of adoptions and of trouble inside WireGuard; nil discards.
	Log *slog.Logger
}

// nameMax is the length of the longest interface name.
const nameMax = 15

// check finds what is wrong with c without asking the system.
func (c Config) check() error {
	if err := checkName(c.Name); err != nil {
		return fmt.Errorf("wgdevice: interface name %q: %w", c.Name, err)
	}
	switch c.Backend {
	case Auto, Kernel, Userspace:
	default:
		return fmt.Errorf("wgdevice: backend %q: want %q, %q or nothing", c.Backend, Kernel, Userspace)
	}
	if len(c.Process) > 0 && !filepath.IsAbs(c.Process[0]) {
		return fmt.Errorf("wgdevice: Process: %q is no absolute path of a program: os.Executable has one", c.Process[0])
	}
	if c.Sockets != "" && !filepath.IsAbs(c.Sockets) {
		return fmt.Errorf("wgdevice: Sockets: %q is no absolute path of a directory, such as %s", c.Sockets, socketDir)
	}
	return nil
}

// socketDir is where processes are spoken to unless Config says otherwise.
const socketDir = "/run/holdfast/device"

// checkName is stricter than the kernel: a name is also part of a path under
// /proc/sys, of the name of a table, and of commands that people type.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("missing: choose one, such as wg0")
	case len(name) > nameMax:
		return fmt.Errorf("longer than %d bytes, which is the most that Linux takes", nameMax)
	case slices.Contains([]string{".", "..", "all", "default", "lo"}, name):
		return errors.New("reserved: choose another, such as wg0")
	case name[0] == '-':
		return errors.New("starts with a dash, like an option of a command: choose another, such as wg0")
	}
	for _, r := range name {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '-', r == '_':
		default:
			return fmt.Errorf("has the character %q: use letters, digits, points, dashes and underscores", r)
		}
	}
	return nil
}
