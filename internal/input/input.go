// Package input tells the go command what a test depends on beside the code that
// it links.
//
// For a test that has passed before, go test prints the earlier result with the
// word "(cached)", if what went into it is the same: the test program, and the
// files and folders of the module that it asked package os for. What other
// processes read does not count. So a test that has the go command build or run a
// program of this module calls [Declare], or the old result stands although the
// program is a new one.
package input

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// format has go list write the go.mod, the folder and the embedded files of each
// package that is of the module at hand. Of other modules, go.mod has the versions.
const format = `{{if and .Module .Module.Main}}{{.Module.GoMod}}
{{.Dir}}
{{range .EmbedFiles}}{{$.Dir}}/{{.}}
{{end}}{{end}}`

// Declare makes packages, and all that they import from their module, an input of
// the test that runs: once a file of theirs is changed, added or taken away, go
// test runs the test again. The packages are named as for go list, seen from dir,
// where "" is the folder of the test; "-test" before them adds what their tests
// import. It must be called in the process that go test started, before or after
// the build. Outside of a test it has no effect.
func Declare(ctx context.Context, dir string, packages ...string) error {
	args := append([]string{"list", "-deps", "-f", format}, packages...)
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the test knows what it builds
	cmd.Dir = dir
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("input: list the sources of %v: %w: %s", packages, err, strings.TrimSpace(said.String()))
	}
	for name := range strings.Lines(string(out)) {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if err := look(name); err != nil {
			return fmt.Errorf("input: look at the sources of %v: %w", packages, err)
		}
	}
	return nil
}

// look asks for a file or a folder in the way that go test repeats when it decides
// whether the result still stands. Of a folder that was opened it compares name,
// size and time of each file in it; of what was only looked at, size and time.
func look(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		_, err = os.ReadDir(name)
	} else {
		_, err = os.Stat(filepath.Dir(name)) // its time tells of new files
	}
	return err
}
