package gateway

import (
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Config is the desired state of one location's interface at a revision.
//
// A Config whose Interface is zero asks for no interface at all: that is how a
// location ends on a gateway.
type Config struct {
	Revision  Revision
	Interface Interface
	Peers     []Peer // in key order, one a key
}

// Interface is all of the desired state that is not a peer.
type Interface struct {
	// Key is the location's private key, the same on all its gateways.
	Key wgkey.Private
	// Port is the UDP port to listen on, 1 to 65535.
	Port uint16
	// Addrs are the interface's own addresses with the lengths of their
	// networks, such as 10.20.0.1/16, in order.
	Addrs []netip.Prefix
	// MTU is in bytes, 1280 to 9000.
	MTU int
	// Mark is the firewall mark of the packets that WireGuard sends; 0 is none.
	Mark uint32
	// Floating are the location's public addresses that move between its gateways,
	// in order: at whichever of them this machine has at the moment clients arrive
	// here, and what WireGuard sends leaves from there, whatever other addresses
	// the machine has. They need a Mark that no other interface of the machine has.
	// Nobody here moves them: keepalived, a cloud or a routing daemon does.
	Floating []netip.Addr
	// Masquerade lists the sources, masked and in order, whose packets get the
	// gateway's own address, or that in Inner, when they leave by another interface.
	// None: their addresses are kept, and the network behind has to route back.
	Masquerade []netip.Prefix
	// Inner are the location's addresses towards the network behind that move
	// between its gateways as Floating do, in order, one of each family at most.
	// What is in Masquerade gets the one of its family in place of the gateway's own
	// address, whether the machine has it at the moment or not:
	//
	//   - connections of TCP go on when another gateway takes over: it never saw how
	//     they began, and gives their packets the same address and port.
	//   - what arrives for such an address, and belongs to nothing known, is dropped:
	//     a refusal would end a connection that the client's next packet makes known.
	//     Whoever begins something (a SYN, an echo request) is heard as elsewhere.
	//   - when an address leaves the machine, what is known of its connections is
	//     forgotten: they go on elsewhere, and may come back.
	Inner []netip.Addr
	// Carried has each gateway pass on what is for a peer to the sibling that carries
	// it, so that the network behind may send to any of them, and peers at different
	// gateways reach each other. It is for a Device that is a Detourer.
	Carried bool
	// Destinations are the networks beyond the interface that peers may exchange
	// packets with, masked and in order; none: all. Where there are some:
	//
	//   - what peers send on passes if its destination is in one of them, and
	//     what comes for peers if its source is. No memory of connections is
	//     asked, so that one goes on when another gateway takes over that has
	//     never seen it. For the same reason a host in them can be the first to
	//     speak.
	//   - ICMP errors that are about a packet of a peer pass from anywhere, or
	//     else no path's MTU would be found.
	//   - of this machine, peers reach the interface's own addresses, and those
	//     others of its addresses that are in Destinations.
	//
	// Peers among themselves are the matter of Isolated.
	Destinations []netip.Prefix
	// Isolated keeps peers from each other, and from the networks behind each
	// other, whatever Destinations has: nothing that came from the interface is
	// forwarded into it.
	Isolated bool
}

// Peer is one row of the desired state.
type Peer struct {
	Key wgkey.Public
	// Preshared is zero for none. Another one is another session: the peer is
	// removed and set again, because a change in place would leave the old
	// session alive for up to 180 s (REJECT_AFTER_TIME).
	Preshared wgkey.Preshared
	// AllowedIPs are masked and in order. No two peers of a Config share a
	// prefix: the kernel would give it to whichever came last.
	AllowedIPs []netip.Prefix
	// Keepalive is the persistent keepalive of this end, in whole seconds up to
	// 65535 s; 0 is off, which is what a gateway usually wants.
	Keepalive time.Duration
	// Endpoint is where to send at first; usually none on a gateway, since
	// clients speak first. It is used when the peer is added and never
	// afterwards: a peer that roamed is not sent back.
	Endpoint netip.AddrPort
}
