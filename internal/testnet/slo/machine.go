//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// interrupt asks the lab to end, and to leave nothing.
const interrupt = syscall.SIGINT

// Machine is where the figures were taken.
type Machine struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Memory int64  `json:"memory_bytes"`
	Kernel string `json:"kernel"`
	// Guest is the emulator of the virtual machine in which the kernel's WireGuard
	// runs where the host has none; "": there is none.
	Guest  string `json:"guest,omitempty"`
	Go     string `json:"go"`
	Commit string `json:"commit"` // "": not known; with "+" there were changes
	Load   string `json:"load"`   // the load averages when it began
}

// machine reads the facts; what cannot be read stays empty.
func machine(ctx context.Context) Machine {
	m := Machine{CPUs: runtime.NumCPU(), Go: runtime.Version() + " " + runtime.GOARCH}
	m.CPU = field("/proc/cpuinfo", "model name")
	kib, _ := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64) // else 0
	m.Memory = kib << 10
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.Join(strings.Fields(string(b))[:3], " ")
	}
	m.Guest, _, _ = strings.Cut(said(ctx, "qemu-system-x86_64", "--version"), "\n")
	m.Commit = said(ctx, "git", "rev-parse", "HEAD")
	if m.Commit != "" && said(ctx, "git", "status", "--porcelain", "--untracked-files=no") != "" {
		m.Commit += "+"
	}
	return m
}

// field is what a file of lines "name : value" says of name first.
func field(file, name string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		if k, v, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// said is what a command writes, and nothing if there is none or it fails.
func said(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
