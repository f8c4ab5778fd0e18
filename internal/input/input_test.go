package input_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/input"
)

// With these the test program is started to declare packages of a module.
const (
	moduleEnv   = "INPUT_MODULE"
	packagesEnv = "INPUT_PACKAGES"
)

// module is a program, what it and its test import, what is embedded in it, and
// what it has nothing to do with.
var module = map[string]string{
	"go.mod":            "module example.org/m\n\ngo 1.26.0\n",
	"cmd/main.go":       "package main\n\nimport _ \"example.org/m/near\"\n\nfunc main() {}\n",
	"cmd/main_test.go":  "package main\n\nimport _ \"example.org/m/tested\"\n",
	"near/near.go":      "package near\n\nimport _ \"example.org/m/far\"\n",
	"far/far.go":        "package far\n\nimport _ \"embed\"\n\n//go:embed text/word.txt\nvar _ string\n",
	"far/text/word.txt": "word\n",
	"tested/tested.go":  "package tested\n",
	"other/other.go":    "package other\n",
}

// The go command hears of files and folders through a log that it has the test
// program write: what is in there is what it compares before it says "(cached)".
func TestGoTestHearsOfTheSources(t *testing.T) {
	if dir := os.Getenv(moduleEnv); dir != "" {
		require.NoError(t, input.Declare(t.Context(), dir, strings.Fields(os.Getenv(packagesEnv))...))
		return
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	for name, text := range module {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	for packages, folders := range map[string][]string{
		"./cmd":       {"cmd", "far", "near"},
		"-test ./cmd": {"cmd", "far", "near", "tested"},
	} {
		log := filepath.Join(t.TempDir(), "log")
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.testlogfile="+log)
		cmd.Env = append(os.Environ(), moduleEnv+"="+dir, packagesEnv+"="+packages)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		text, err := os.ReadFile(log)
		require.NoError(t, err)
		heard := map[string][]string{}
		for line := range strings.Lines(string(text)) {
			how, name, _ := strings.Cut(strings.TrimSpace(line), " ")
			if name, ours := strings.CutPrefix(name, dir+"/"); ours && !slices.Contains(heard[how], name) {
				heard[how] = append(heard[how], name)
			}
		}
		require.ElementsMatch(t, folders, heard["open"], packages)
		require.ElementsMatch(t, append(folders, "go.mod", "far/text", "far/text/word.txt"), heard["stat"], packages)
	}
}

func TestUnknownPackageIsAnError(t *testing.T) {
	err := input.Declare(t.Context(), "", "./none")
	require.ErrorContains(t, err, "input: list the sources of [./none]: exit status 1: ")
	require.ErrorContains(t, err, "none")
}
