//go:build linux

package vm

import (
	"context"
	"io"
	"testing"
)

// What tests use of the insides.
var (
	Arrange = arrange
	Command = command
	Cached  = func(dir string) (string, error) {
		k, err := cached(dir)
		return k.name, err
	}
)

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
