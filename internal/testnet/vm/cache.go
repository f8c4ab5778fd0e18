//go:build linux

package vm

import (
	"fmt"
	"os"
	"path/filepath"
)

// folder makes and returns a folder of this package in the user's cache.
func folder(parts ...string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for files to keep: %w; set XDG_CACHE_HOME to one", err)
	}
	dir := filepath.Join(append([]string{cache, "holdfast", "vm"}, parts...)...)
	return dir, os.MkdirAll(dir, 0o755) //nolint:gosec // nothing in it is secret
}
