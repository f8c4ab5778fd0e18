package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The shells themselves read what is written for them.
func TestCompletionIsReadByTheShells(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			tool, err := exec.LookPath(shell)
			if err != nil {
				missing(t, shell, "apt-get install --no-install-recommends "+shell)
			}
			var script bytes.Buffer
			exit := func(int) { t.Error("it ended the process") }
			require.Equal(t, exitOK, run(t.Context(), []string{"completion", shell}, streams{&script, io.Discard}, exit))
			file := filepath.Join(t.TempDir(), "holdfast."+shell)
			require.NoError(t, os.WriteFile(file, script.Bytes(), 0o600))
			out, err := exec.CommandContext(t.Context(), tool, "-n", file).CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Empty(t, string(out))
		})
	}
}

// missing skips a test for want of a program; in a strict run that is a failure.
func missing(t *testing.T, what, how string) {
	t.Helper()
	if os.Getenv("HOLDFAST_REQUIRE") == "all" {
		t.Fatalf("missing: %s (%s)", what, how)
	}
	t.Skipf("missing: %s (%s)", what, how)
}
