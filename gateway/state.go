package gateway

import (
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// State is what a device has, as far as Config can ask for it, and what it
// knows of each peer.
type State struct {
	// Exists says that the interface is there and is ours. All else is zero
	// without it, but for Backend and Problems.
	Exists bool
	// Up says that the interface is administratively up.
	Up bool
	// Backend names the WireGuard at work: "kernel", "userspace" or "memory".
	Backend string
	// Interface is as in Config: Addrs, Masquerade and Destinations in order.
	// Masquerade, Inner, Destinations and Isolated are what our filter table asks
	// for, when it is whole; Floating is what was configured last by this handle, or
	// what the rules of the machine tell of it.
	Interface Interface
	// Filtered says that our filter table is there and exactly as Interface
	// asks: MSS clamp, masquerading of Interface.Masquerade by Interface.Inner, and
	// nothing passes that Interface.Destinations and Isolated keep out.
	Filtered bool
	// Forwarding says that the network namespace forwards packets of every
	// address family in Interface.Addrs.
	Forwarding bool
	// Owned are those of Interface.Floating that the machine has, in order, as Owner
	// tells them.
	Owned []netip.Addr
	// Sourced says that what WireGuard sends leaves from the addresses in Owned, and
	// will when others of Interface.Floating come: true, too, if there are none.
	Sourced bool
	// Routes are those of ours that lead into the interface, in order: all that
	// a Route step made, and none that the kernel makes by itself, such as those
	// of the networks of Interface.Addrs.
	Routes []netip.Prefix
	// Peers are in key order, one a key.
	Peers []PeerState
	// Problems tells what could not be observed or made, in words.
	Problems []string
}

// PeerState is a peer as the device has it.
type PeerState struct {
	Key        wgkey.Public
	Preshared  wgkey.Preshared
	AllowedIPs []netip.Prefix // in order
	Keepalive  time.Duration
	Endpoint   netip.AddrPort // zero: none known
	// Handshake is when the newest session was confirmed, by the clock of this
	// machine; zero: never since the peer was added.
	Handshake time.Time
	// Rx and Tx count bytes since the peer was added, WireGuard's own headers
	// and handshakes included.
	Rx, Tx uint64
}
