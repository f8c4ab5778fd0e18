//go:build unix

package sqlitestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// safeDir refuses a directory in which others could replace our files.
func safeDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("sqlitestore: there is no directory %s; make it with: mkdir -m 700 %s: %w", dir, dir, err)
	case err != nil:
		return fmt.Errorf("sqlitestore: look at the store's directory: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%w: %s is not a directory", ErrForeign, dir)
	case !ours(info):
		return fmt.Errorf("%w: directory %s belongs to another user; run as that user, or: chown", ErrUnsafe, dir)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%w: others may write in directory %s (mode %v); correct it with: chmod go-w %s", ErrUnsafe, dir, info.Mode().Perm(), dir)
	}
	return nil
}

// safeFile refuses what is not a plain file, or not only ours. An absent file is
// fs.ErrNotExist.
func safeFile(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return fmt.Errorf("sqlitestore: look at the store: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is no plain file (%v)", ErrForeign, path, info.Mode().Type())
	case !ours(info):
		return fmt.Errorf("%w: %s belongs to another user; run as that user, or: chown", ErrUnsafe, path)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%w: others may use %s (mode %v); correct it with: chmod 600 %s, and consider what they may have read",
			ErrUnsafe, path, info.Mode().Perm(), path)
	case info.Mode().Perm()&0o200 == 0:
		return fmt.Errorf("sqlitestore: %s is read-only (mode %v); correct it with: chmod 600 %s", path, info.Mode().Perm(), path)
	case info.Size() > 0 && info.Size() < smallest:
		return fmt.Errorf("%w: %s has %d bytes; name another file", ErrForeign, path, info.Size())
	}
	return nil
}

// smallest is the size below which SQLite takes a file for an empty one, whatever
// is in it, and would write over it.
const smallest = 512

// ours reports whether nobody else owns it: root may do what it likes anyway.
func ours(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && (int(s.Uid) == os.Geteuid() || s.Uid == 0)
}

// create makes an empty file that was not there.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// settle makes what was done to a file, and its name, last. SQLite must not have
// it open.
func settle(path string) error { return errors.Join(flush(path), flush(filepath.Dir(path))) }

func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
