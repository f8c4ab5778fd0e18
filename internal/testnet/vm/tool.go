//go:build linux

package vm

import (
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// libraries are the files in the answer of ldd: "name => /path (0x…)" or
// "/path (0x…)".
var libraries = regexp.MustCompile(`(?m)(?:=> |^\t)(/\S+) \(0x`)

// tool adds a command of this machine, with the libraries that it needs.
func (t tree) tool(name string) error {
	file, err := find(name)
	if err != nil {
		return fmt.Errorf("vm: put the command %s into the machine: %w; install it here", name, err)
	}
	t.add(programPath+path.Base(name), entry{perm: 0o755, from: file})
	// A static binary has none: then ldd fails, saying so.
	out, err := exec.Command("ldd", file).CombinedOutput() //nolint:noctx // ends at once
	if err != nil && !strings.Contains(string(out), "not a dynamic executable") && !strings.Contains(string(out), "statically linked") {
		return fmt.Errorf("vm: put the command %s into the machine: ldd %s: %w: %s", name, file, err, out)
	}
	for _, m := range libraries.FindAllStringSubmatch(string(out), -1) {
		t.add(path.Clean(m[1]), entry{perm: 0o755, from: m[1]})
	}
	return nil
}

// find looks for a command, also where those of administrators are.
func find(name string) (string, error) {
	file, err := testnet.Command(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(file)
}
