//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/internal/testnet/vm/module"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm/wire"
)

// mounts makes the file systems that programs look for.
func mounts() error {
	for _, m := range []struct {
		at, kind, options string
		flags             uintptr
	}{
		{"/proc", "proc", "", unix.MS_NOSUID},
		{"/sys", "sysfs", "", unix.MS_NOSUID},
		{"/dev", "devtmpfs", "", unix.MS_NOSUID},
		{"/dev/shm", "tmpfs", "mode=1777", unix.MS_NOSUID},
		{"/run", "tmpfs", "mode=755", unix.MS_NOSUID},
		{"/tmp", "tmpfs", "mode=1777", unix.MS_NOSUID},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil { //nolint:gosec // as on any system
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	for link, to := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "fd/0", "/dev/stdout": "fd/1", "/dev/stderr": "fd/2",
	} {
		if err := os.Symlink(to, link); err != nil {
			return err
		}
	}
	return os.MkdirAll("/run/netns", 0o755) //nolint:gosec // as on any system
}

// settle makes the rest of a usual system.
func settle() error {
	if err := unix.Sethostname([]byte("vm")); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(s) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("take lo up: %w", err)
	}
	return nil
}

// load loads modules from these files, in this order. Those that are there
// already are fine.
func load(files []string) error {
	for _, file := range files {
		if err := insert(file); err != nil {
			return fmt.Errorf("load %s: %w", filepath.Base(file), err)
		}
	}
	return nil
}

func insert(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// modprobe is what the kernel runs when it lacks something: -q -- ALIAS.
func modprobe(args []string) error {
	text, err := os.ReadFile(wire.IndexPath)
	if err != nil {
		return err
	}
	var all module.Index
	if err := json.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("read the index of modules: %w", err)
	}
	for _, a := range args {
		if strings.HasPrefix(a, "-") {
			continue
		}
		names := all.Find(a)
		if len(names) == 0 {
			os.Exit(1) // as modprobe -q: the kernel asks for many things
		}
		order, err := all.Order(names...)
		if err != nil {
			return err
		}
		files := make([]string, len(order))
		for i, m := range order {
			files[i] = filepath.Join(filepath.Dir(wire.IndexPath), m.File())
		}
		if err := load(files); err != nil {
			return err
		}
	}
	return nil
}
