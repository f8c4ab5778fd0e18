package peer

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Profile is what a client needs to connect to a location, but for its private
// key, which stays on the device.
type Profile struct {
	// Addresses are the client's own, with their lengths; at least one.
	Addresses []netip.Prefix
	// DNS and Search are the resolvers and search domains while connected.
	DNS    []netip.Addr
	Search []string
	// MTU is that of the tunnel in bytes, 1280 to 9000; 0 leaves it to the client.
	MTU int

	// Peer is the location's public key.
	Peer wgkey.Public
	// Preshared is zero for none.
	Preshared wgkey.Preshared
	// AllowedIPs are what goes through the tunnel, masked; at least one.
	AllowedIPs []netip.Prefix
	// Host and Port are what the client dials: a DNS name or an IP address, and
	// 1 to 65535.
	Host string
	Port uint16
	// Keepalive is the persistent keepalive in whole seconds up to 65535 s; 0 is
	// none.
	Keepalive time.Duration
}

// NewProfile makes the profile for a device's place in a location. Whether the
// place, the device or the location is disabled makes no difference: a profile
// says how to connect, and the gateways say who may. The error is ErrNotFound if
// the device has no place there.
func NewProfile(l location.Location, d Device) (Profile, error) {
	at, ok := d.At(l.ID)
	if !ok {
		return Profile{}, fmt.Errorf("peer: profile of device %q: no place in location %q: %w", d.Name, l.Name, ErrNotFound)
	}
	l = l.Clone()
	p := Profile{
		DNS: l.DNS, Search: l.Search, MTU: l.MTU,
		Peer: l.PublicKey, AllowedIPs: distinct(l.Networks, l.AllowedIPs),
		Host: l.Host, Port: l.Port, Keepalive: max(l.ClientKeepalive, 0),
	}
	for _, a := range at.Addrs {
		p.Addresses = append(p.Addresses, netip.PrefixFrom(a, a.BitLen()))
	}
	if err := p.Validate(); err != nil {
		return Profile{}, fmt.Errorf("peer: profile of device %q in location %q: %w", d.Name, l.Name, err)
	}
	return p, nil
}

// distinct joins prefixes, in order, without those that another one contains.
func distinct(lists ...[]netip.Prefix) []netip.Prefix {
	all := slices.Concat(lists...)
	slices.SortFunc(all, netip.Prefix.Compare)
	var out []netip.Prefix
	for _, p := range all { // a larger prefix comes before what it contains
		if len(out) == 0 || !location.Contains(out[len(out)-1], p) {
			out = append(out, p)
		}
	}
	return out
}

// Validate returns nil or a *FieldError for the first field that is wrong.
func (p Profile) Validate() error {
	field, err := p.check()
	if err != nil {
		return fieldf(field, "%v", err)
	}
	return nil
}

func (p Profile) check() (field string, err error) {
	if len(p.Addresses) == 0 {
		return "Addresses", fmt.Errorf("are missing: give at least one, such as 10.20.0.7/32")
	}
	for i, a := range p.Addresses {
		if !a.IsValid() || a.Addr().Is4In6() {
			return at("Addresses", i), fmt.Errorf("is not an address with its length")
		}
	}
	for i, a := range p.DNS {
		if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
			return at("DNS", i), fmt.Errorf("is not a plain IPv4 or IPv6 address")
		}
	}
	for i, s := range p.Search {
		if err := location.CheckDomain(s); err != nil {
			return at("Search", i), err
		}
	}
	if p.MTU != 0 && (p.MTU < 1280 || p.MTU > 9000) {
		return "MTU", fmt.Errorf("is %d: use 1280 to 9000 bytes", p.MTU)
	}
	if p.Peer.IsZero() {
		return "Peer", fmt.Errorf("is missing: give the location's public key")
	}
	if len(p.AllowedIPs) == 0 {
		return "AllowedIPs", fmt.Errorf("are missing: name the networks behind the tunnel, or 0.0.0.0/0 and ::/0")
	}
	for i, a := range p.AllowedIPs {
		if !a.IsValid() || a.Addr().Is4In6() || a != a.Masked() {
			return at("AllowedIPs", i), fmt.Errorf("is not a masked prefix")
		}
	}
	if err := location.CheckHost(p.Host); err != nil {
		return "Host", err
	}
	if p.Port == 0 {
		return "Port", fmt.Errorf("is 0: use 1 to 65535")
	}
	if k := p.Keepalive; k < 0 || k%time.Second != 0 || k > math.MaxUint16*time.Second {
		return "Keepalive", fmt.Errorf("is %v: use whole seconds up to %d, or 0 for none", k, math.MaxUint16)
	}
	return "", nil
}

func at(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }
