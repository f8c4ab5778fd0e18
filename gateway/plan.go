package gateway

import "net/netip"

// Verb says what a Step does.
type Verb uint8

// The verbs, in the order in which a Plan has them.
const (
	// Remove ends a peer, session and all.
	Remove Verb = iota + 1
	// Unroute takes a route away from the interface.
	Unroute
	// Destroy ends the interface, its routes and its filter table. The device
	// wipes what peers are left before it deletes the link: with many peers that
	// takes milliseconds in place of seconds.
	Destroy
	// Configure makes the fields named by Fields be as in Interface. The first
	// one creates the interface.
	Configure
	// Set makes a peer be as given and leaves its session, its endpoint (but
	// see Peer.Endpoint) and its counters alone.
	Set
	// Route makes a prefix lead into the interface.
	Route
)

// Fields is a set of things that Configure has to make right.
type Fields uint16

// What Configure can make right.
const (
	FieldCreate     Fields = 1 << iota // the interface is not there
	FieldKey                           // Interface.Key
	FieldPort                          // Interface.Port
	FieldMark                          // Interface.Mark
	FieldMTU                           // Interface.MTU
	FieldAddrs                         // Interface.Addrs
	FieldFilter                        // Interface.Masquerade and the MSS clamp
	FieldForwarding                    // forwarding in the network namespace
	FieldUp                            // administratively up
)

// FieldsAll is what a new interface needs.
const FieldsAll = FieldCreate | FieldKey | FieldPort | FieldMark | FieldMTU | FieldAddrs | FieldFilter | FieldForwarding | FieldUp

// Step is one thing to do. Doing what is done is no error.
type Step struct {
	Verb      Verb
	Fields    Fields       // Configure: what to make right
	Interface Interface    // Configure: all of it, whatever Fields says
	Peer      Peer         // Set; Remove reads its Key only
	Route     netip.Prefix // Route, Unroute
}

// Plan is steps in order: what takes access away comes first. The zero Plan
// changes nothing.
type Plan []Step
