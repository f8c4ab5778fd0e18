//go:build linux

package wgdevice

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What is said on the socket of a process: the text protocol of WireGuard, with
// requests of ours beside its own. A request is a line with an operation, more
// lines, and an empty one. An answer is lines, then, if the answer is no,
// message="why", and always errno=N and an empty line.
const (
	opStart = "start=1" // make the interface: lines mtu= and socket=, and settings
	opClaim = "claim=1" // it is marked: from now on the process lives without who started it
	opGet   = "get=1"
	opSet   = "set=1"
	opMTU   = "mtu=1"   // the link has another MTU: a line mtu=
	opYield = "yield=1" // end, unless you still have the interface of the name (EBUSY)
	opEnd   = "end=1"
)

// How long is waited.
const (
	answerWithin = 20 * time.Second // for an answer; a machine may be busy
	claimWithin  = 10 * time.Second // for being marked, from the start on
	healEvery    = time.Second      // between looks whether the socket is still there
)

// socketPath is where the process behind the interface of the name in the
// namespace is spoken to. While such a process runs, the namespace is in use,
// and no other gets its number.
func socketPath(dir string, s spot) (string, error) {
	path := filepath.Join(dir, fmt.Sprintf("%s.%d", s.name, s.ino))
	if most := len(unix.RawSockaddrUnix{}.Path) - len(tempSuffix) - 1; len(path) > most {
		return "", fmt.Errorf("the path %s is too long for a socket: choose a shorter directory", path)
	}
	return path, nil
}

// tempSuffix is of a socket that is not at its place yet.
const tempSuffix = "~"

// ownDirectory makes the directory of sockets, or sees whether the one that is
// there will do: who can write there could stand in for a process of ours.
func ownDirectory(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // as others' in /run
		return fmt.Errorf("make the directory of sockets: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the directory of sockets: %w", err)
	}
	is, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at the directory of sockets: %w", err)
	}
	s, ok := is.Sys().(*syscall.Stat_t)
	if !is.IsDir() || is.Mode().Perm()&0o077 != 0 || !ok || int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("%s holds sockets that take private keys, and is not a directory of user %d that nobody else may enter: "+
			"remove it, or correct it (chown, chmod 0700): %w", dir, os.Geteuid(), unix.EPERM)
	}
	return nil
}

// listenAt makes a socket at path, in place of whatever is there, and returns
// what it is.
func listenAt(path string) (*net.UnixListener, place, error) {
	if err := ownDirectory(filepath.Dir(path)); err != nil {
		return nil, place{}, err
	}
	temp := path + tempSuffix
	_ = os.Remove(temp) // of one that was killed here
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, place{}, fmt.Errorf("make the socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(temp, 0o600)
	if err == nil {
		err = os.Rename(temp, path)
	}
	at, there := placeAt(path)
	if err == nil && !there {
		err = errors.New("somebody took it away at once")
	}
	if err != nil {
		_ = os.Remove(temp)
		return nil, place{}, fmt.Errorf("make the socket: %w", join(err, l.Close()))
	}
	return l, at, nil
}

// placeAt is what is at path, if anything.
func placeAt(path string) (place, bool) {
	var s unix.Stat_t
	if err := unix.Lstat(path, &s); err != nil {
		return place{}, false
	}
	return place{s.Dev, s.Ino}, true
}

// credentials are of the process at the other end: of one that listens, if we
// dialled. They are an error unless it runs as the same user, or as root.
func credentials(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var who *unix.Ucred
	control := raw.Control(func(fd uintptr) { who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(control, err); err != nil {
		return nil, err
	}
	if who.Uid != 0 && int(who.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("the other end is process %d of user %d: %w", who.Pid, who.Uid, unix.EPERM)
	}
	return who, nil
}
