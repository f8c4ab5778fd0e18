// Package peer is who connects: a user's device with its key, and its place in
// each location.
//
// [Device] is the aggregate: one row, one write, with its places as [Peer]
// values. [Service] has the rules on top of a [Store]: it gives addresses, keeps
// routes apart and names the field that is wrong. [Profile] is what a client
// needs, and becomes wg-quick text or a QR code.
//
// The package never sees a device's private key, but where a caller renders a
// Profile with one.
package peer

import (
	"net/netip"
	"slices"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// DeviceID names a device: opaque, never empty, never used again.
type DeviceID string

// Device is a machine with one key, and its places.
type Device struct { //nolint:recvcheck // only Stamp and put write
	ID       DeviceID
	Name     string // for people; 1 to 63 characters
	Owner    string // "" for network devices
	Key      wgkey.Public
	Disabled bool
	Standing Standing // copied down from the owner by Service
	Peers    []Peer   // in location order, at most one a location
}

// Standing is what the owner's row says, copied into each of the owner's
// devices, so that one device's row decides.
type Standing struct {
	Disabled bool
	Groups   []string
}

// Peer is a device's place in a location.
type Peer struct {
	Location location.ID
	Rev      uint64 // set by the store: the location's revision at the last write of this row
	Disabled bool
	Addrs    []netip.Addr   // in order, at least one, inside the location's networks
	Routes   []netip.Prefix // networks behind the peer, masked, in order, apart from all others of the location
}

// AllowedIPs is the peer's addresses and routes, in order.
func (p Peer) AllowedIPs() []netip.Prefix {
	out := make([]netip.Prefix, 0, len(p.Addrs)+len(p.Routes))
	for _, a := range p.Addrs {
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	out = append(out, p.Routes...)
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

// At returns the device's place in a location.
func (d Device) At(id location.ID) (Peer, bool) {
	i := slices.IndexFunc(d.Peers, func(p Peer) bool { return p.Location == id })
	if i < 0 {
		return Peer{}, false
	}
	return d.Peers[i], true
}

// Claims lists what no other device may have too: its key anywhere, its
// addresses and routes within their location.
func (d Device) Claims() []location.Claim {
	if d.ID == "" {
		return nil
	}
	c := []location.Claim{{Scope: "device", Name: d.Key.String()}}
	for _, p := range d.Peers {
		for _, a := range p.AllowedIPs() {
			c = append(c, location.Claim{Scope: "peer/" + string(p.Location), Prefix: a})
		}
	}
	return c
}

// Touches lists the locations whose gateways may have to change when old
// becomes d, sorted: for stores, which raise their revisions.
func (d Device) Touches(old Device) []location.ID {
	var out []location.ID
	for _, p := range slices.Concat(d.Peers, old.Peers) {
		out = append(out, p.Location)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Stamp sets the revision of d's place in a location: for stores.
func (d *Device) Stamp(at location.ID, rev uint64) {
	for i := range d.Peers {
		if d.Peers[i].Location == at {
			d.Peers[i].Rev = rev
		}
	}
}

// Clone returns a copy that shares no memory with d.
func (d Device) Clone() Device {
	d.Standing.Groups = slices.Clone(d.Standing.Groups)
	d.Peers = slices.Clone(d.Peers)
	for i := range d.Peers {
		d.Peers[i].Addrs = slices.Clone(d.Peers[i].Addrs)
		d.Peers[i].Routes = slices.Clone(d.Peers[i].Routes)
	}
	return d
}
