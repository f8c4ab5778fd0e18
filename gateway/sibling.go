package gateway

import (
	"context"
	"iter"
	"net/netip"
)

// Sibling is another gateway of a location, as the control plane knows it.
type Sibling struct {
	ID ID
	// Addr is where it takes links, host:port; "": it cannot be dialled, and dials
	// by itself.
	Addr string
	// Missing says that the control plane heard the gateway before and does not any
	// more.
	Missing bool
}

// Assignment is a location that a gateway is to serve, and who else does.
type Assignment struct {
	Location LocationID
	// Siblings are in order of ID, without the gateway itself, and without those
	// that are revoked.
	Siblings []Sibling
}

// Note is what a gateway tells a sibling of one location. It grants and revokes
// nothing.
type Note struct {
	// Full says that Seen has every peer that the gateway heard within the time in
	// which a session can be alive; otherwise it has those that changed since the
	// Note before.
	Full bool
	// Seen is what the gateway saw itself: By is the gateway.
	Seen []Sighting
	// Owns are those of the location's Floating addresses that the gateway's
	// machine has, in order.
	Owns []netip.Addr
	// Ready is Status.Ready.
	Ready bool
	// Isolated and Stalled are those of Status.
	Isolated, Stalled bool
	// Applied is Status.Applied.
	Applied Revision
	// Clock is what the gateway's wall clock showed when it said this.
	Clock Reading
	// Missing are the siblings that the gateway heard before and does not any more,
	// in order.
	Missing []ID
	// Flows is about connections at the location's inner addresses.
	Flows FlowNote
}

// Talker is a gateway as its siblings see it; what carries its words to them is a
// transport. It is safe for concurrent use.
type Talker interface {
	// Talk is one conversation with a sibling about a location: in yields what the
	// sibling says, and what Talk yields is to be told to it: a Full Note at once,
	// then what changed, and at least one Note a second. It ends with ctx, when in
	// ends, or by yielding an error: ErrUnknown if with is none of the siblings
	// that the control plane told, ErrReplaced when another conversation of the
	// same two gateways about the same location has begun. Both ends of a link
	// talk so, whoever dialled.
	Talk(ctx context.Context, at LocationID, with ID, in iter.Seq[Note]) iter.Seq2[Note, error]
}

// Clone returns a copy that shares no memory with n.
func (n Note) Clone() Note {
	n.Seen = append([]Sighting(nil), n.Seen...)
	n.Owns = append([]netip.Addr(nil), n.Owns...)
	n.Missing = append([]ID(nil), n.Missing...)
	n.Flows = n.Flows.Clone()
	return n
}
