package gateway

import (
	"context"
	"iter"
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// ID names a gateway: one process, whatever number of locations it serves.
type ID string

// LocationID names a location. This package does not look inside.
type LocationID string

// ControlPlane is where a gateway learns what to be. A core in the same process
// is one, and so is the client end of every transport. It is safe for
// concurrent use, and passes gatewaytest.RunControlPlane.
//
// Errors that end a stream are ErrUnknown, ErrRevoked, ErrReplaced and ErrStale
// where those are the reason; any other means that the plane is away. No error
// and no silence takes access from anybody: only an Update does.
type ControlPlane interface {
	// Assigned yields the locations that the gateway is to serve, in order, and
	// who else serves them: at once, then after every change of either. Nothing is
	// said twice. What is yielded belongs to the receiver. It ends with ctx or by
	// yielding an error.
	Assigned(ctx context.Context, id ID) iter.Seq2[[]Assignment, error]
	// Watch yields what changed after the revision have: at once if anything
	// did, then after every change. The zero Revision, and one that the plane
	// does not know, get everything (From is zero then). A slow reader gets
	// fewer, larger updates. It ends with ctx or by yielding an error. A second
	// Watch of the same gateway and location ends the first with ErrReplaced.
	Watch(ctx context.Context, id ID, at LocationID, have Revision) iter.Seq2[Update, error]
	// Report says what the gateway is and saw. It is safe to repeat, and to send
	// to several planes. ErrGap asks for a Report with Full.
	Report(ctx context.Context, id ID, at LocationID, s Status) error
}

// Update says how a Config differs from an earlier one. What it holds belongs
// to the receiver.
type Update struct {
	From, To  Revision       // From zero: from nothing, a snapshot
	Interface *Interface     // nil: unchanged; a zero one: the location has ended here
	Remove    []wgkey.Public // in key order
	Set       []Peer         // in key order; replaces the peer of the same key
}

// Sighting is what a gateway saw of a peer.
type Sighting struct {
	Key wgkey.Public
	// By is the gateway that saw it.
	By ID
	// Heard is the last sign of life that only the peer itself can give: data,
	// a keepalive or a confirmed handshake; zero: none.
	Heard time.Time
	// Handshake is when the newest session was confirmed; zero: never. The
	// gateway with the newest one carries the peer.
	Handshake time.Time
	// Endpoint is where the peer was last heard from; zero: unknown.
	Endpoint netip.AddrPort
	// Rx and Tx are bytes since the gateway began to watch the peer: with a Memory
	// since the machine started, as far as it is known, and else since the
	// gateway's process did. They do not go back when the peer's own counters do.
	Rx, Tx uint64
}

// Status is what a gateway tells of itself, for one location.
type Status struct {
	// Epoch grows with every start of the gateway's process: a Report with a
	// lower one than before is stale, and ignored.
	Epoch uint64
	// Applied is the newest revision whose every step the system acknowledged,
	// but for Failed.
	Applied Revision
	// Verified is the newest revision that a full observation matched.
	Verified Revision
	// Failed are the peers, or the interface, that could not be made right.
	// They are tried again.
	Failed []Problem
	// Drift are the latest changes by others that were found and repaired,
	// newest last; Drifts counts all of them since the process began.
	Drift  []Problem
	Drifts uint64
	// Full says that Seen has every peer that was ever heard; otherwise it has
	// those that changed since the last Report that was accepted.
	Full bool
	Seen []Sighting
	// Ready says that clients may be sent here: the interface is up and has a
	// configuration. A gateway that has been Isolated or Stalled for 20 s is not, as
	// long as a sibling that it hears has been neither for 20 s. When the plane is
	// away for all, nobody's changes.
	Ready bool
	// Isolated says that no plane which knows what is so was heard for 10 s, and
	// Stalled that an Update has waited to be applied for more than 1 s.
	Isolated, Stalled bool
	// Restored says that the gateway started from what its Keeper had. It is
	// said until a plane has accepted a Report with it.
	Restored bool
	// Backend is State.Backend.
	Backend string
	// Version is that of the gateway's software.
	Version string
}

// Problem is something wrong, in words that say what to do where that is known.
type Problem struct {
	Key  wgkey.Public // zero: the interface
	What string
	At   time.Time // when it was found first
}
