//go:build !linux

package testnet

import (
	"context"
	"errors"
	"log/slog"
)

// errLinux is all that this package does elsewhere.
var errLinux = errors.New("this system has no network namespaces")

// Config holds what [New] needs.
type Config struct {
	Log *slog.Logger // nil discards
}

// Net is one network; there is none on this system.
type Net struct{}

// Close does nothing.
func (*Net) Close() error { return nil }

// New always fails on this system.
func New(context.Context, Config) (*Net, error) { return nil, Check(Netns) }

// Enter always fails on this system.
func Enter() error { return Check(Netns) }

// try finds that nothing is here.
func try(r Requirement) *MissingError {
	return &MissingError{What: r, Why: errLinux, Fix: "run it on Linux, for instance in a virtual machine"}
}
