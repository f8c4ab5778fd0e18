package vpn

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/seal"
)

// Project works out what the gateways of a whole View have to be at an instant.
// It is pure: the same arguments give the same Config, and none is changed.
//
// What is missing, disabled or unreadable grants nothing: the zero Interface,
// no peers. An error says what could not be read; the Config beside it is right
// all the same, and grants only what needed none of that.
func Project(v View, keys *seal.Keyring, now time.Time) (gateway.Config, error) {
	c := gateway.Config{Revision: v.Rev}
	if !v.Since.IsZero() {
		return c, fmt.Errorf("vpn: project location %q: the View has only what changed since %v", v.ID, v.Since)
	}
	var l location.Location
	if v.Location != nil {
		l = *v.Location
	}
	face, err := project(l, keys)
	if err != nil || face.Key.IsZero() {
		return c, err
	}
	c.Interface = face
	for _, d := range v.Devices {
		if p, granted := grant(v.ID, d, now); granted {
			c.Peers = append(c.Peers, p)
		}
	}
	slices.SortFunc(c.Peers, byKey)
	return c, nil
}

// project works out a location's Interface, the zero one when it is not there,
// disabled or unreadable.
func project(l location.Location, keys *seal.Keyring) (gateway.Interface, error) {
	if l.ID == "" || l.Disabled {
		return gateway.Interface{}, nil
	}
	fail := func(err error) (gateway.Interface, error) {
		return gateway.Interface{}, fmt.Errorf("vpn: project location %q: %w", l.Name, err)
	}
	key, err := l.Reveal(keys)
	if err != nil {
		return fail(err)
	}
	face := gateway.Interface{
		Key: key, Port: l.Port, MTU: l.MTU, Mark: l.FirewallMark(), Floating: ascending(l.Floating),
		Addrs: sorted(l.GatewayAddrs()), Destinations: reach(l), Isolated: l.Isolated,
	}
	switch l.Inner {
	case "", location.SNAT:
		face.Masquerade, face.Inner = sorted(l.Networks), ascending(l.InnerFloating)
	case location.Routed:
	case location.Carried:
		face.Carried = true
		if len(face.Destinations) > 0 && !l.Isolated { // peers come by way of other gateways, too
			face.Destinations = sorted(append(face.Destinations, missing(face.Destinations, l.Networks)...))
		}
	default:
		return fail(fmt.Errorf("this software does not know what Inner %q means", l.Inner))
	}
	return face, nil
}

// reach works out what a location's peers may reach: all, or its destinations and
// the resolvers that clients are told.
func reach(l location.Location) []netip.Prefix {
	if len(l.Destinations) == 0 {
		return nil
	}
	out := slices.Clone(l.Destinations)
	for _, a := range l.DNS {
		p := netip.PrefixFrom(a, a.BitLen())
		if !slices.ContainsFunc(out, func(d netip.Prefix) bool { return location.Contains(d, p) }) {
			out = append(out, p)
		}
	}
	return sorted(out)
}

// missing are those of the prefixes that are not in the list.
func missing(list, prefixes []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(prefixes), func(p netip.Prefix) bool { return slices.Contains(list, p) })
}

// grant works out a device's row in a location. Whether the location grants
// anything at all is asked elsewhere.
func grant(at location.ID, d peer.Device, _ time.Time) (gateway.Peer, bool) {
	p, here := d.At(at)
	if !here || d.Disabled || d.Standing.Disabled || p.Disabled || d.Key.IsZero() {
		return gateway.Peer{}, false
	}
	return gateway.Peer{Key: d.Key, AllowedIPs: p.AllowedIPs()}, true
}

func sorted(p []netip.Prefix) []netip.Prefix {
	p = slices.Clone(p)
	slices.SortFunc(p, netip.Prefix.Compare)
	return p
}

func ascending(a []netip.Addr) []netip.Addr {
	a = slices.Clone(a)
	slices.SortFunc(a, netip.Addr.Compare)
	return a
}

func byKey(a, b gateway.Peer) int { return a.Key.Compare(b.Key) }
