//go:build linux

// Guest is the first program of a virtual machine: it makes the system that a
// program expects, runs the one of its task, sends what it writes to the host,
// and says how it ended. When the kernel wants a module, it runs this program as
// modprobe. It is of no use anywhere else.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/internal/testnet/vm/wire"
)

func main() {
	var err error
	switch {
	case filepath.Base(os.Args[0]) == "modprobe":
		err = modprobe(os.Args[1:])
	case os.Getpid() == 1:
		err = boot()
	default:
		err = errors.New("this program is the first one of a virtual machine; package vm runs it")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
		os.Exit(1) // of the first process this is a kernel panic, which the host understands
	}
}

// boot is all that the first process does. It does not return.
func boot() error {
	if err := mounts(); err != nil {
		return err
	}
	text, err := os.ReadFile(wire.TaskPath)
	if err != nil {
		return err
	}
	var t wire.Task
	if err := json.Unmarshal(text, &t); err != nil {
		return fmt.Errorf("read the task: %w", err)
	}
	if err := load(t.Load); err != nil {
		return err
	}
	l, err := open()
	if err != nil {
		return err
	}
	if err := settle(); err != nil {
		return l.end(wire.End{Trouble: err.Error()})
	}
	return l.end(play(t, l))
}

// uptime is the age of the machine on its clock.
func uptime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
