package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"go.uber.org/fx"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/runstate"
	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/statedir"
)

// newMemory opens what outlives the process, and not the machine. A gateway serves
// without it too: what can not be had is said, and left out.
func newMemory(lc fx.Lifecycle, o *options, h *transport.Holder, log *slog.Logger) (gateway.Memory, gateway.BootClock) {
	const without = "going on without: the next restart does not know when peers were heard"
	boot, err := runstate.OpenClock()
	if err != nil {
		log.Warn(without, "err", err)
		return nil, nil
	}
	if o.RuntimeDir == "" {
		return nil, boot
	}
	dir, err := openRuntime(o.RuntimeDir)
	if err != nil {
		log.Warn(without, "err", err)
		return nil, boot
	}
	memory, err := runstate.New(runstate.Config{Gateway: gateway.ID(h.Get().Identity().ID), Files: dir})
	if err != nil {
		log.Warn(without, "err", err)
		_ = dir.Close()
		return nil, boot
	}
	lc.Append(fx.StopHook(dir.Close))
	return memory, boot
}

func openRuntime(path string) (*statedir.Dir, error) {
	// What is above it is others' too, and missing after a boot.
	err := os.MkdirAll(filepath.Dir(path), 0o755) //nolint:gosec // as others' in /run
	var dir *statedir.Dir
	if err == nil {
		dir, err = statedir.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("--runtime-dir: %w", err)
	}
	return dir, nil
}
