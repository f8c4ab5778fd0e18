//go:build linux

package vm

// ticks is the counter of cycles of this processor.
func ticks() uint64
