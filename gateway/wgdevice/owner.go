package wgdevice

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfastvpn/holdfast/gateway"
)

// Kinds of links, as the kernel names them.
const (
	kindKernel = "wireguard"
	kindTUN    = "tun"
)

// mark is how the alias of each interface of ours begins. It goes on with the
// backend, and with the process for WireGuard that runs in one.
const mark = "holdfast"

// group is the group of an interface of the kernel between the moment when it
// is made and the moment when it has its alias: an alias cannot be had at once,
// and a process that is killed in between shall not find a stranger. It spells
// "hfst".
const group = 0x68667374

// alias returns the mark for an interface of backend b made by process pid.
func alias(b Backend, pid int) string {
	if b == Userspace {
		return fmt.Sprintf("%s %s %d", mark, b, pid)
	}
	return fmt.Sprintf("%s %s", mark, b)
}

// found is a link of the name that we care for, as far as it matters whose it is.
type found struct {
	kind  string
	alias string
	group uint32
	// engine says that WireGuard of this process is behind it, or of one that
	// answers to us.
	engine bool
	// self is the process that asks.
	self int
}

// standing is whose a link is.
type standing uint8

const (
	foreign  standing = iota // not to be touched
	stranger                 // WireGuard of the kernel, not marked: it may be adopted
	ours
)

// owner says whose f is, and in words why it is not ours.
func (f found) owner() (standing, string) {
	marked := f.alias == mark || strings.HasPrefix(f.alias, mark+" ")
	switch {
	case f.kind == kindKernel && (marked || f.group == group):
		return ours, ""
	case f.kind == kindKernel:
		return stranger, "is a WireGuard interface that somebody else made: choose another name, delete it (ip link delete NAME), or allow to adopt it"
	case f.kind == kindTUN && f.engine:
		return ours, ""
	case f.kind == kindTUN && marked:
		return foreign, "is WireGuard in user space of another process" + f.process() + ": end that one first, or choose another name"
	default:
		return foreign, fmt.Sprintf("is a %s device that somebody else made: choose another name, or delete it (ip link delete NAME)", f.kind)
	}
}

// process names the process that the alias has, if it has another one.
func (f found) process() string {
	fields := strings.Fields(f.alias)
	pid, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil || pid == f.self {
		return ""
	}
	return fmt.Sprintf(" (process %d)", pid)
}

// errForeign is the refusal to touch the interface of the name.
func errForeign(name, why string) error {
	return fmt.Errorf("wgdevice: %s %s: %w", name, strings.ReplaceAll(why, "NAME", name), gateway.ErrForeign)
}
