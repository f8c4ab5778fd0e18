//go:build unix

package statedir

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// owned refuses what another user owns.
func owned(path string, info fs.FileInfo) error {
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int64(s.Uid) != int64(os.Geteuid()) {
		return fmt.Errorf("%w: %s belongs to user %d, and this process runs as %d", ErrUnsafe, path, s.Uid, os.Geteuid())
	}
	return nil
}

// take locks a file until it is closed, by the process's end at the latest.
func take(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
