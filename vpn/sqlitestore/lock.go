//go:build unix

package sqlitestore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// lock keeps other processes away from a store, and other Stores of this one. It
// is a lock on a file beside it, which ends with the process however that ends;
// the file stays, because who removes it may remove it from under another's
// lock. It is not on the store itself: whoever closes a second descriptor of a
// database drops the locks that SQLite has on it.
type lock struct{ f *os.File }

func acquire(path string) (*lock, error) {
	name := path + ".lock"
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sqlitestore: lock %s: %w", path, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = f.Close() }()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("sqlitestore: lock %s: %w", path, err)
		}
		who, _ := io.ReadAll(io.LimitReader(f, 256))
		return nil, fmt.Errorf("%w: %s belongs to %s; stop that one first", ErrInUse, path, owner(string(who)))
	}
	// Who it is helps whoever comes second; it is no part of the lock.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "process %d (%s)\n", os.Getpid(), os.Args[0]), 0)
	}
	return &lock{f}, nil
}

func owner(text string) string {
	if text = strings.TrimSpace(text); text != "" {
		return text
	}
	return "another process"
}

func (l *lock) release() error { return l.f.Close() }
