package gateway

import "context"

// Device is one WireGuard interface with its addresses, routes and filter: the
// one thing in this package that touches a system. One goroutine at a time
// uses a Device. Implementations pass gatewaytest.RunDevice.
type Device interface {
	// Observe overwrites s with what is there, and reuses its memory. An
	// interface that is not there is no error: s.Exists is false then. One that
	// is there but is somebody else's is ErrForeign.
	Observe(ctx context.Context, s *State) error
	// Apply does the steps in order, each whatever came of those before it,
	// batching as it likes; the system has acknowledged them when it returns.
	// The error is an *ApplyError if only some failed. If the step that creates
	// the interface fails, nothing of it is left behind and the steps after it
	// are not tried.
	Apply(ctx context.Context, p Plan) error
	// Close frees handles and leaves everything in place. Apply with Destroy
	// ends the interface. Closing twice is no error.
	Close() error
}

// Notifier is an optional ability of a Device: to notice by itself that
// something was changed.
type Notifier interface {
	// Changes returns a channel that gets a value, soon and possibly merged
	// with others, when the interface, its addresses, its routes or its filter
	// changed, by whomever. It is never closed; ctx ends the watching. Nothing
	// depends on it but speed.
	Changes(ctx context.Context) <-chan struct{}
}
