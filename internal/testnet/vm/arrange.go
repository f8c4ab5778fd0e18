//go:build linux

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/holdfastvpn/holdfast/internal/testnet/vm/module"
)

// useful are the parts of a kernel whose modules are kept.
var useful = []string{"net", "crypto", "lib", "arch", "drivers/net/wireguard", "drivers/virtio", "drivers/char"} //nolint:gochecknoglobals // a table

// arrange makes the folder of a kernel out of the tree of its package.
func arrange(ctx context.Context, from, to string) error {
	images, err := filepath.Glob(filepath.Join(from, "boot", "vmlinuz-*"))
	if err != nil {
		return err
	}
	roots, err := filepath.Glob(filepath.Join(from, "*", "modules", "*", "kernel"))
	if err != nil {
		return err
	}
	if merged, err := filepath.Glob(filepath.Join(from, "usr", "lib", "modules", "*", "kernel")); err == nil {
		roots = append(roots, merged...)
	}
	if len(images) != 1 || len(roots) != 1 {
		return fmt.Errorf("there are %d kernels and %d trees of modules in it", len(images), len(roots))
	}
	modules := filepath.Join(to, modulesDir)
	if err := os.MkdirAll(modules, 0o755); err != nil { //nolint:gosec // nothing in it is secret
		return err
	}
	if err := os.Rename(images[0], filepath.Join(to, kernelFile)); err != nil {
		return err
	}
	index, err := builtin(filepath.Join(filepath.Dir(roots[0]), "modules.builtin"))
	if err != nil {
		return err
	}
	err = filepath.WalkDir(roots[0], func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(roots[0], file)
		if err != nil || !wanted(filepath.ToSlash(rel)) {
			return err
		}
		content, err := unpack(ctx, file)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), ".ko")
		m, err := module.Parse(name, content)
		if err != nil {
			return err
		}
		index = append(index, m)
		return os.WriteFile(filepath.Join(modules, m.File()), content, 0o644) //nolint:gosec // nothing in it is secret
	})
	if err != nil {
		return err
	}
	text, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, modulesFile), text, 0o644) //nolint:gosec // nothing in it is secret
}

// builtin reads which modules are in the kernel itself.
func builtin(file string) (module.Index, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var x module.Index
	for line := range strings.Lines(string(text)) {
		x = append(x, module.Module{Name: module.Name(strings.TrimSpace(line)), Builtin: true})
	}
	return x, nil
}

// wanted says whether a module is kept, by its path below kernel/.
func wanted(file string) bool {
	if !strings.Contains(filepath.Base(file), ".ko") {
		return false
	}
	if dir := filepath.ToSlash(filepath.Dir(file)); dir == "drivers/net" {
		return true
	}
	for _, u := range useful {
		if strings.HasPrefix(file, u+"/") {
			return true
		}
	}
	return false
}

// unpack reads a module that may be compressed.
func unpack(ctx context.Context, file string) ([]byte, error) {
	var tool string
	switch filepath.Ext(file) {
	case ".ko":
		return os.ReadFile(file)
	case ".xz":
		tool = "xz"
	case ".zst":
		tool = "zstd"
	case ".gz":
		tool = "gzip"
	default:
		return nil, fmt.Errorf("%s: compressed in an unknown way", filepath.Base(file))
	}
	out, err := exec.CommandContext(ctx, tool, "-dc", file).Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("%w; install %s", err, tool)
	}
	return out, err
}
