package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/fx"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport"
)

// A directory below /run that can not be had keeps no gateway from serving.
func TestAGatewayServesWithoutARuntimeDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for path, words := range map[string]string{
		"":                         "",
		file:                       "--runtime-dir: statedir",
		filepath.Join(file, "dir"): "--runtime-dir: mkdir",
	} {
		var log strings.Builder
		o := &options{RuntimeDir: path}
		app := fx.New(
			fx.NopLogger,
			fx.Supply(o, slog.New(slog.NewTextHandler(&log, nil)), transport.NewHolder(transport.Credentials{})),
			fx.Provide(newMemory),
			fx.Invoke(func(memory gateway.Memory, boot gateway.BootClock) {
				require.Nil(t, memory)
				require.NotEmpty(t, boot.Boot())
			}),
		)
		require.NoError(t, app.Err())
		require.Contains(t, log.String(), words)
		require.Equal(t, words == "", log.Len() == 0)
	}
}
