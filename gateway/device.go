package gateway

import (
	"context"
	"net/netip"
)

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

// Owner is an optional ability of a Device: to say at once which of a location's
// floating addresses the machine has.
type Owner interface {
	// Own returns a channel that gets those of i.Floating that the machine has, in
	// order: at once, and whenever that changes; who is slow gets the newest only.
	// An address counts when it can be sent from, so not while IPv6 still looks
	// whether somebody else has it. By the time it is told, what WireGuard sends
	// leaves from there. Where addresses are forgotten that leave (Interface.Inner),
	// it is done as long as somebody is told. The channel is never closed; ctx ends the watching. It is
	// called for each Interface anew, and beside everything else: it is the one
	// method of a Device that another goroutine may call.
	Own(ctx context.Context, i Interface) <-chan []netip.Addr
}
