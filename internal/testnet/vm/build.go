//go:build linux

package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/internal/input"
)

// Build makes a static binary of a main package of this module and returns its
// path. The binary is in the user's cache folder and is replaced by the next
// Build of that package; how long it takes is up to the go command's own cache. A
// test that calls Build runs again when the sources change (see package input).
func Build(ctx context.Context, pkg string) (string, error) {
	return compile(ctx, pkg, "build", "-ldflags=-s -w")
}

// compile runs the go command for a file that comes out.
func compile(ctx context.Context, pkg string, args ...string) (_ string, err error) {
	mod, err := golang(ctx, "env", "GOMOD")
	if err != nil {
		return "", fmt.Errorf("vm: build %s: %w", pkg, err)
	}
	cache, err := folder("bin")
	if err != nil {
		return "", fmt.Errorf("vm: build %s: %w", pkg, err)
	}
	sweep(cache, time.Now().Add(-time.Hour))
	dir, err := os.MkdirTemp(cache, "build-")
	if err != nil {
		return "", fmt.Errorf("vm: build %s: %w", pkg, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// The name tells trees and packages apart; renaming is at once, so that others
	// find the old file or the new one, whole.
	sum := sha256.Sum256([]byte(mod + "\x00" + args[0] + "\x00" + pkg))
	name := filepath.Base(pkg) + "-" + hex.EncodeToString(sum[:6])
	made := filepath.Join(dir, name)
	if _, err := golang(ctx, append(args, "-o", made, pkg)...); err != nil {
		return "", fmt.Errorf("vm: build %s: %w", pkg, err)
	}
	// Of other packages the command makes no program, and of one without tests nothing.
	if err := static(made); err != nil {
		return "", fmt.Errorf("vm: build %s: is it a main package, or has it tests: %w", pkg, err)
	}
	sources := []string{pkg}
	if args[0] == "test" {
		sources = []string{"-test", pkg}
	}
	if err := input.Declare(ctx, "", sources...); err != nil {
		return "", fmt.Errorf("vm: build %s: %w", pkg, err)
	}
	final := filepath.Join(cache, name)
	return final, os.Rename(made, final)
}

// sweep removes what builds left that were killed, if it is older than that. No
// build takes so long.
func sweep(cache string, before time.Time) {
	left, _ := filepath.Glob(filepath.Join(cache, "build-*")) // the pattern is right
	for _, l := range left {
		if info, err := os.Stat(l); err == nil && info.ModTime().Before(before) {
			_ = os.RemoveAll(l) // the next one tries again
		}
	}
}

// golang runs the go command for a static binary that runs in the machine.
func golang(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS="+os.Getenv("GOFLAGS"))
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// static makes sure that a program needs nothing that the machine does not have.
func static(program string) error {
	f, err := elf.Open(program)
	if err != nil {
		return fmt.Errorf("look at the program %s: %w", program, err)
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("the program %s needs shared libraries, which the machine does not have: build it with CGO_ENABLED=0, as Build does", program)
		}
	}
	return nil
}
