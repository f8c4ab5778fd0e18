//go:build linux

package wgdevice

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
)

// space is where WireGuard in user space runs for a Device.
type space struct {
	command []string // none: in this process
	dir     string   // of sockets
	stderr  *os.File // of the command; may be nil
	remote  *remote  // the process that was there when we looked last, if any
}

func newSpace(c Config) space {
	return space{command: slices.Clone(c.Process), dir: cmp.Or(c.Sockets, socketDir), stderr: c.Stderr}
}

// user returns WireGuard in user space behind a link, if it is ours: it runs in
// this process, or in one that says so.
func (d *Device) user(link netlink.Link) user {
	if e := engines.get(d.spot()); e != nil {
		return e
	}
	if r := d.reach(link); r != nil {
		return r
	}
	return nil
}

// reach returns the process behind a link, if it is ours. One that we know is so
// by the link's index, also when somebody took its mark away. Any other has to
// be the one that the mark names.
func (d *Device) reach(link netlink.Link) *remote {
	a := link.Attrs()
	if len(d.space.command) == 0 || kindOf(link) != kindTUN {
		return nil
	}
	if r := d.space.remote; r != nil && r.index == a.Index && r.alive() {
		return r
	}
	pid, ok := markedProcess(a.Alias)
	if !ok {
		return nil
	}
	path, err := socketPath(d.space.dir, d.spot())
	if err != nil {
		return nil
	}
	r, err := dial(path)
	switch {
	case gone(err):
		return nil
	case err == nil && r.pid != pid:
		err = join(fmt.Errorf("process %d listens there, and %d has the interface", r.pid, pid), r.close())
	}
	if err != nil {
		d.log.Warn("the process of the interface cannot be asked", "interface", d.name, "socket", path, "err", err)
		return nil
	}
	d.forget()
	r.index = a.Index
	d.space.remote = r
	d.log.Debug("found WireGuard in a process of its own", "interface", d.name, "process", pid)
	return r
}

// forget lets go of the process that was there when we looked last.
func (d *Device) forget() {
	if d.space.remote != nil {
		_ = d.space.remote.close()
		d.space.remote = nil
	}
}

// createProcess starts WireGuard in a process of its own, on a link of its own.
// A link that it returns is there, also if there is an error.
func (d *Device) createProcess(want gateway.Interface) (netlink.Link, error) {
	// One whose link somebody renamed, moved away or has just deleted ends first.
	if err := d.yield(); err != nil {
		return nil, fmt.Errorf("make the interface: %w", explain(err))
	}
	path, err := socketPath(d.space.dir, d.spot())
	if err != nil {
		return nil, err
	}
	r, err := startProcess(d.ns, append(slices.Clone(d.space.command), d.name), d.space.stderr)
	if err != nil {
		return nil, fmt.Errorf("start WireGuard in user space: %w", err)
	}
	lines := append(appendNumber(nil, "mtu", uint64(want.MTU)), "socket="+path+"\n"...)
	lines = appendSettings(lines, settings{key: &want.Key, port: &want.Port, mark: &want.Mark})
	err = r.order(opStart, lines...)
	clear(lines)
	if err != nil {
		return nil, fmt.Errorf("start WireGuard in user space: %w", r.failed(err, d.space.command))
	}
	link, err := d.nl.LinkByName(d.name)
	if err == nil {
		_ = d.nl.LinkSetIP6AddrGenMode(link, addrGenNone) // as in createUser
		err = d.nl.LinkSetAlias(link, alias(Userspace, r.pid))
	}
	if err == nil {
		err = r.order(opClaim)
	}
	if err != nil {
		_ = r.end(opEnd)
		return nil, fmt.Errorf("make the interface: %w", explain(err))
	}
	r.index = link.Attrs().Index
	d.space.remote = r
	return link, nil
}

// yield ends the process that once had the interface, if it has not got it any
// more. That there is none is no error.
func (d *Device) yield() error {
	if len(d.space.command) == 0 {
		return nil
	}
	r := d.space.remote
	d.space.remote = nil
	if r != nil && r.lost {
		r.exited(answerWithin) // it may have the port until then
		_ = r.close()
		r = nil
	}
	if r == nil {
		path, err := socketPath(d.space.dir, d.spot())
		if err == nil {
			r, err = dial(path)
		}
		if err != nil {
			return nil //nolint:nilerr // nobody of ours is there
		}
	}
	return r.end(opYield)
}

// endUser ends WireGuard in user space. If somebody else has its place, that
// stays.
func (d *Device) endUser(link netlink.Link) {
	engines.end(d.spot()) // takes its link with it, also one that somebody renamed
	if link == nil {
		if err := d.yield(); err != nil {
			d.log.Warn("there is a process still", "interface", d.name, "err", err)
		}
		return
	}
	if r := d.reach(link); r != nil {
		d.space.remote = nil
		if err := r.end(opEnd); err != nil {
			d.log.Warn("the process of the interface does not end", "interface", d.name, "err", err)
		}
	}
}

// startProcess starts a command that calls Serve, in the namespace, and returns
// it with a connection. The process is in a session of its own, and no signal
// that is meant for us reaches it. Nothing that is secret is in its arguments or
// its environment.
func startProcess(ns *namespace, command []string, stderr *os.File) (*remote, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "start")
	defer theirs.Close() //nolint:errcheck // it is the other process's
	conn, err := starter(pair[0])
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec,noctx // who embeds us chose it, and it outlives every context
	cmd.Dir = "/"
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return !strings.HasPrefix(s, "GO") }) // what the runtime reads
	cmd.Stderr = lasting(stderr)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := ns.do(cmd.Start); err != nil {
		return nil, join(fmt.Errorf("%s: %w", command[0], err), conn.Close())
	}
	go cmd.Wait() //nolint:errcheck // so that no zombie is left; what went wrong comes over conn
	return newRemote(conn, cmd.Process.Pid), nil
}

// lasting returns the file, or nil if it is a pipe: who reads that would wait for
// its end for as long as the process runs.
func lasting(f *os.File) io.Writer {
	if f == nil {
		return nil
	}
	if is, err := f.Stat(); err != nil || is.Mode()&os.ModeNamedPipe != 0 {
		return nil
	}
	return f
}

// failed is for a process that could not start; it ends.
func (r *remote) failed(err error, command []string) error {
	refused := (*refusal)(nil)
	if !errors.As(err, &refused) {
		err = fmt.Errorf("%s: %w: is that a program that calls wgdevice.Serve?", strings.Join(command, " "), err)
		r.kill()
	}
	r.exited(claimWithin)
	_ = r.close()
	return err
}

// markedProcess is the process that an alias names.
func markedProcess(alias string) (int, bool) {
	fields := strings.Fields(alias)
	if len(fields) != 3 || fields[0] != mark || fields[1] != string(Userspace) {
		return 0, false
	}
	pid, err := strconv.Atoi(fields[2])
	return pid, err == nil && pid > 0
}
