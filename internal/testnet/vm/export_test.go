//go:build linux

package vm

import (
	"context"
	"io"
	"log/slog"
	"os"
	"testing"
)

// Command is the command line of the emulator.
var Command = command

// Obtain returns the name of the kernel that a machine would have, and its file.
func Obtain(ctx context.Context) (name, image string, err error) {
	k, err := obtain(ctx, slog.New(slog.DiscardHandler))
	return k.name, k.image, err
}

// Modules are the names of the modules that this kernel can have loaded.
func Modules(ctx context.Context, names ...string) ([]string, error) {
	k, err := obtain(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	order, err := k.modules.Order(names...)
	for i, m := range order {
		names = append(names[:i], m.Name)
		if _, missing := os.Stat(k.module(m)); missing != nil {
			return nil, missing
		}
	}
	return names[:len(order)], err
}

// Self builds the test binary of this package for a machine.
func Self(ctx context.Context) (string, error) {
	return compile(ctx, "github.com/holdfastvpn/holdfast/internal/testnet/vm", "test", "-c")
}

// Relay plays recorded events as GoTest does.
func Relay(t *testing.T, events io.Reader) {
	t.Helper()
	all, err := gather(events)
	if err != nil {
		t.Fatal(err)
	}
	relay(t, all)
}
