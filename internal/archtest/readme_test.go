package archtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/input"
)

// The first program that a reader sees has to run as it stands on the page.
func TestProgramOfTheReadmeRuns(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(page), "```go\npackage main\n")
	program, _, closed := strings.Cut(rest, "\n```\n")
	require.True(t, found && closed, "README.md has no program")

	file := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(file, []byte("package main\n"+program+"\n"), 0o600))
	require.NoError(t, input.Declare(t.Context(), root, file))
	cmd := exec.CommandContext(t.Context(), "go", "run", file)
	cmd.Dir = root // so that its imports are those of this tree
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(t, err, said.String())
	t.Logf("%s", out)
	for _, word := range []string{"[Interface]", "PrivateKey = ", "office", "1/1 gateways", "laptop", "alice", "10.20.0.2"} {
		require.Contains(t, string(out), word)
	}
}

func TestReadmeIsShort(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	require.LessOrEqual(t, bytes.Count(page, []byte("\n")), 200, "lines of README.md")
}
