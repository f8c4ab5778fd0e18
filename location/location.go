// Package location is where people connect: a WireGuard network with its
// address ranges, key, port and public address.
//
// [Location] is the value, [Service] the rules on top of a [Store], [Pool] the
// pure arithmetic of free addresses. A location is served by any number of
// gateways, all with the same key, port and peers; which ones is not kept here.
//
// The package talks to no network and keeps no secret in the open: the private
// key of a location is sealed (package seal) from the moment it is made.
package location

import (
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// ID names a location: opaque, never empty, never used again.
type ID string

// Defaults that Service.Create fills in for zero fields.
const (
	DefaultPort      = 51820
	DefaultMTU       = 1420 // 1500 less 80 bytes of IPv6, UDP and WireGuard
	DefaultKeepalive = 25 * time.Second
)

// KeepaliveOff as ClientKeepalive tells clients to send no keepalives.
const KeepaliveOff time.Duration = -1

// Inner says how the network behind the gateways sees the peers.
type Inner string

// The ways in which the network behind can see peers.
const (
	// SNAT gives packets of peers the gateway's own address there, or the one in
	// InnerFloating, so that answers find the gateway that sent them. The zero Inner
	// is SNAT.
	SNAT Inner = "snat"
	// Routed keeps the addresses of peers: the network behind has to route the
	// location's Networks to the gateway that carries them.
	Routed Inner = "routed"
	// Carried keeps the addresses of peers, too, and the network behind may route the
	// location's Networks to any gateway: each passes on what is for a peer to the one
	// that carries it, at the address where that takes links. So peers at different
	// gateways reach each other.
	Carried Inner = "carried"
)

// Location is a WireGuard network that people connect to.
type Location struct { //nolint:recvcheck // only Stamp writes
	ID   ID
	Rev  uint64 // set by the store: the location's revision at the last write of this row
	Name string // for people; 1 to 63 characters, one of a kind

	// Networks are where peers get their addresses: IPv4, IPv6 or both, one or
	// several of each, masked, apart from one another. A peer gets one address
	// of each family, from the first network of it that has room.
	Networks []netip.Prefix
	// Gateway has the gateways' own address in each network, at most one a
	// network; where there is none, it is the first usable address.
	Gateway []netip.Addr
	// Reserved is never given to peers.
	Reserved []netip.Prefix
	// AllowOverlap permits Networks that overlap those of other locations.
	AllowOverlap bool

	// Host is the DNS name or the IP address that clients dial.
	Host string
	// Floating are the public addresses that move between the gateways, each once,
	// FloatingMax at most, none of them inside Networks: whoever moves them, such
	// as keepalived, the gateway that has one answers from it, and takes over the
	// clients that dialled it. An address that is translated on its way counts as
	// the gateways' machines have it. None: no address moves.
	Floating []netip.Addr
	// Port is the UDP port of clients and gateways, 1 to 65535.
	Port uint16
	// MTU is that of the tunnel in bytes, 1280 to 9000.
	MTU int
	// Mark is the firewall mark of what gateways send; 0 is none, unless there are
	// Floating addresses, which need one: then it is 0x68660000 plus Port, so that
	// locations on one machine have different ones (FirewallMark). If one is given
	// there, it has to be given to this location alone, and none of 252 to 255 and
	// 0xffffffff: gateways use the routing table of that number.
	Mark uint32
	// Inner is how the network behind sees peers.
	Inner Inner
	// InnerFloating are the addresses towards the network behind that move between
	// the gateways as Floating do, and together with them: one of each family at
	// most, none of them inside Networks. With SNAT, packets of peers have the one
	// of their family for a source, whichever gateway they come by, so that
	// connections go on when another one takes over. With Routed, the network behind
	// routes Networks to them. With Carried there are none. None: gateways use addresses of their own.
	InnerFloating []netip.Addr

	// Destinations are the networks beyond the tunnel that peers may exchange
	// packets with, masked, each once, DestinationsMax at most; none: all. The
	// gateways see to it, in both directions: what clients send through the
	// tunnel (AllowedIPs) is their own choice, and keeps nobody out. The
	// resolvers in DNS can be reached besides. Which side spoke first is not
	// asked, since a gateway that takes over cannot know.
	Destinations []netip.Prefix
	// Isolated keeps peers from each other, and from the networks behind each
	// other; Destinations and DNS change nothing about that, so a server that is
	// itself a peer cannot be reached by the others.
	Isolated bool

	// DNS and Search are the resolvers and search domains that clients use.
	DNS    []netip.Addr
	Search []string
	// AllowedIPs are what clients send through the tunnel beside Networks:
	// the networks behind the gateways, or 0.0.0.0/0 and ::/0 for everything.
	AllowedIPs []netip.Prefix
	// ClientKeepalive is the persistent keepalive that clients are told, in
	// whole seconds up to 65535 s; KeepaliveOff is none.
	ClientKeepalive time.Duration

	// Disabled takes every peer and the interface off the gateways.
	Disabled bool

	PublicKey wgkey.Public
	Key       seal.Text // sealed private key, bound to KeyBound
}

// KeyBound is what the location's private key is sealed for.
func (l Location) KeyBound() string { return "location/" + string(l.ID) + "/key" }

// Touches lists the locations whose gateways may have to change when old
// becomes l: for stores, which raise their revisions.
func (l Location) Touches(old Location) []ID {
	if id := max(l.ID, old.ID); id != "" {
		return []ID{id}
	}
	return nil
}

// Claim is something that one row at most may hold within a scope: a name, or a
// prefix that must not even partly overlap another's. A store keeps claims
// unique whatever is written at once.
type Claim struct {
	Scope  string       // rows compete within it
	Name   string       // "" for a prefix
	Prefix netip.Prefix // masked; zero for a name
}

// Claims lists what no other location may have too.
func (l Location) Claims() []Claim {
	if l.ID == "" {
		return nil
	}
	c := []Claim{{Scope: "location", Name: l.Name}}
	if !l.AllowOverlap {
		for _, n := range l.Networks {
			c = append(c, Claim{Scope: "location", Prefix: n})
		}
	}
	return c
}

// Stamp sets the revision: for stores.
func (l *Location) Stamp(_ ID, rev uint64) {
	if l.ID != "" {
		l.Rev = rev
	}
}

// Clone returns a copy that shares no memory with l.
func (l Location) Clone() Location {
	l.Networks = slices.Clone(l.Networks)
	l.Gateway = slices.Clone(l.Gateway)
	l.Reserved = slices.Clone(l.Reserved)
	l.Floating = slices.Clone(l.Floating)
	l.InnerFloating = slices.Clone(l.InnerFloating)
	l.DNS = slices.Clone(l.DNS)
	l.Search = slices.Clone(l.Search)
	l.AllowedIPs = slices.Clone(l.AllowedIPs)
	l.Destinations = slices.Clone(l.Destinations)
	return l
}
