package gateway

import (
	"context"
	"iter"
	"net/netip"
	"slices"
)

// Flow is a connection of a peer with somebody in the network behind, who sees it come
// from an inner address (Interface.Inner). All three addresses are of one family.
type Flow struct {
	// UDP says that it is one of UDP, which has an answer; otherwise it is one of TCP,
	// which is established.
	UDP bool
	// From is the peer's end, To the other one, and Inner what To sees in place of
	// From: the ports may differ.
	From, To, Inner netip.AddrPort
}

// FlowChange is what a Tracker says.
type FlowChange struct {
	// Here are those of Interface.Inner that the machine has, in order. What is known of
	// connections of an address that leaves is forgotten by the machine, without being
	// told as Ended.
	Here []netip.Addr
	// All says that Began has every connection of the addresses in Here.
	All bool
	// Began and Ended are connections of addresses in Here, each once; one that is told
	// again may have another Inner now.
	Began, Ended []Flow
}

// Tracker is an optional ability of a Device: to know the connections whose sources are
// translated to an inner address, and to go on with those that another gateway knew.
// Its methods are safe for concurrent use, beside all others of the Device.
type Tracker interface {
	// Flows yields which connections of i.Masquerade there are at the addresses of
	// i.Inner that the machine has: which those are, and all of them, soon, and then what
	// changed. When an address comes, that is told at once and alone, before what there
	// is of it, so that its connections of before can be adopted meanwhile. Changes that
	// were missed are made good for, by telling all. It ends with ctx, and at once if
	// there is nothing to follow, or the device is closed.
	Flows(ctx context.Context, i Interface) iter.Seq[FlowChange]
	// Adopt makes the system know connections, as if they had been translated here from
	// their begin, whatever their numbers are by now: those of i.Inner and i.Masquerade
	// alone. One whose addresses or ports the system has in another connection stays as
	// it is there, which is no error. Those that nothing is heard of end after as long
	// as such connections have to be remembered (RFC 5382: 2 h 4 min; RFC 4787: 2 min).
	// Nothing is let through that would not be otherwise.
	Adopt(ctx context.Context, i Interface, flows []Flow) error
}

// Translates says whether f is one that a gateway with this interface translates: its source
// is in Masquerade, and what the other end sees is in Inner.
func (i *Interface) Translates(f Flow) bool {
	return f.valid() && slices.Contains(i.Inner, f.Inner.Addr()) &&
		slices.ContainsFunc(i.Masquerade, func(p netip.Prefix) bool { return p.Contains(f.From.Addr()) })
}

// valid says that f can be a connection at all.
func (f Flow) valid() bool {
	for _, end := range []netip.AddrPort{f.From, f.To, f.Inner} {
		a := end.Addr()
		if end.Port() == 0 || !a.IsValid() || a.Is4() != f.From.Addr().Is4() || a.Is4In6() || a.Zone() != "" ||
			a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			return false
		}
	}
	return true
}
