package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Verb says what a Step does.
type Verb uint8

// The verbs, in the order in which a Plan has them, but for one thing: a Set
// that only takes prefixes away stands with what revokes, after Remove.
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
	// Kick has WireGuard say something to a peer, at Peer.Endpoint, now: where
	// there is no session it begins a handshake, which takes an unmodified client
	// over within one round trip. Its allowed IPs, its preshared key and its
	// counters stay as they are, and its keepalive is Peer.Keepalive afterwards.
	//
	// A peer that is not there stays so, and is no error; a Kick without an
	// endpoint is one. WireGuard sends no more than one initiation to a peer in
	// 5 s (REKEY_TIMEOUT), and none while it believes in a session: who takes
	// over from another gateway removes and sets the peer first.
	Kick
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
	FieldFilter                        // Interface.Masquerade, Inner, Destinations and Isolated, and the MSS clamp
	FieldForwarding                    // forwarding in the network namespace
	FieldUp                            // administratively up
	FieldSource                        // what WireGuard sends leaves from those of Interface.Floating that the machine has
)

// FieldsAll is what a new interface needs.
const FieldsAll = FieldCreate | FieldKey | FieldPort | FieldMark | FieldMTU | FieldAddrs | FieldFilter | FieldForwarding | FieldUp | FieldSource

// Step is one thing to do. Doing what is done is no error.
type Step struct {
	Verb      Verb
	Fields    Fields       // Configure: what to make right
	Interface Interface    // Configure: all of it, whatever Fields says
	Peer      Peer         // Set; Remove reads its Key only, Kick its Key, Endpoint and Keepalive
	Route     netip.Prefix // Route, Unroute
}

// Plan is steps in order: what takes access away comes first. The zero Plan
// changes nothing.
type Plan []Step

// Only returns the steps of p that have one of the verbs, in order, in memory
// of its own.
func (p Plan) Only(verbs ...Verb) Plan {
	var out Plan
	for _, s := range p {
		if slices.Contains(verbs, s.Verb) {
			out = append(out, s)
		}
	}
	return out
}

// String returns one line a step, without secrets: "" for a Plan that changes
// nothing.
func (p Plan) String() string {
	var b strings.Builder
	for _, s := range p {
		b.WriteString(s.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// String returns the step in one line, such as "set <key> 10.20.0.5/32". Of
// secrets it says only that there is one.
func (s Step) String() string {
	switch s.Verb {
	case Remove:
		return "remove " + s.Peer.Key.String()
	case Unroute, Route:
		return s.Verb.String() + " " + s.Route.String()
	case Configure:
		return "configure " + s.Fields.String() + ": " + s.Interface.String()
	case Set:
		return "set " + s.Peer.String()
	case Kick:
		return "kick " + s.Peer.Key.String() + " at " + s.Peer.Endpoint.String()
	default:
		return s.Verb.String()
	}
}

// String returns the verb in lower case.
func (v Verb) String() string {
	switch v {
	case Remove:
		return "remove"
	case Unroute:
		return "unroute"
	case Destroy:
		return "destroy"
	case Configure:
		return "configure"
	case Set:
		return "set"
	case Route:
		return "route"
	case Kick:
		return "kick"
	default:
		return fmt.Sprintf("verb(%d)", uint8(v))
	}
}

// String returns the names of the fields, such as "port,mtu", and "nothing" for
// none.
func (f Fields) String() string {
	var names []string
	for i, name := range [...]string{"create", "key", "port", "mark", "mtu", "addrs", "filter", "forwarding", "up", "source"} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if rest := f &^ FieldsAll; rest != 0 {
		names = append(names, fmt.Sprintf("%#x", uint16(rest)))
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ",")
}
