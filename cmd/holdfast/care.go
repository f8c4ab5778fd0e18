package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

type backupCmd struct {
	File string `arg:"" help:"Where to write; nothing may be there." type:"path"`
}

// Run writes the backup under another name until it is whole and on the disk.
func (c *backupCmd) Run(e *env) (err error) {
	if _, err := os.Lstat(c.File); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("FILE: %s is there already: name another one", c.File)
	}
	f, err := os.CreateTemp(filepath.Dir(c.File), filepath.Base(c.File)+".partial-*") // 0600
	if err != nil {
		return fmt.Errorf("FILE: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // after the link it is only a second name
	w := bufio.NewWriterSize(f, 1<<20)
	if err = e.Backup(e, w); err == nil {
		err = errors.Join(w.Flush(), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), c.File); err != nil { // replaces nothing
		return fmt.Errorf("FILE: %w", err)
	}
	fmt.Fprintf(e.out, "%s has everything but the keyring: keep that apart from it. To begin from it: core restore FILE\n", plain(c.File))
	return nil
}

type careCmd struct {
	RotateKey rotateKeyCmd `cmd:"" help:"Seal all secrets with a new key, and forget the old ones."`
}

type rotateKeyCmd struct{}

// Run has the core do it.
func (*rotateKeyCmd) Run(e *env) error {
	n, err := e.RotateKey(e)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "%d secrets are sealed with a new key. Keep a copy of the keyring apart from backups; older backups need the keyring of their time.\n", n)
	return nil
}
