package peer

import (
	"fmt"
	"net/netip"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/holdfastvpn/holdfast/location"
)

// FieldError names what is wrong with the input, such as "Peers[1].Routes[0]".
type FieldError = location.FieldError

func fieldf(field, format string, args ...any) *FieldError {
	return &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// OwnerMax is how many bytes an owner and a group may have.
const OwnerMax = 255

// Validate checks a whole row, as it is to be stored: what is listed is in order,
// and each field is right as far as that can be seen without the locations (see
// [Peer.Fits] for the rest). It returns nil or a *FieldError for the first field
// that is wrong.
func (d Device) Validate() error {
	if d.ID == "" {
		return fieldf("ID", "is empty: Service.Add makes it")
	}
	if err := location.CheckName(d.Name); err != nil {
		return fieldf("Name", "%v", err)
	}
	if reason := checkOwner(d.Owner); reason != "" {
		return fieldf("Owner", "%s", reason)
	}
	if err := d.Standing.validate(); err != nil {
		return err
	}
	if d.Key.IsZero() {
		return fieldf("Key", "is missing: give the device's public key, 44 characters of base64")
	}
	for i, p := range d.Peers {
		field := fmt.Sprintf("Peers[%d].", i)
		if err := p.validate(); err != nil {
			return &FieldError{Field: field + err.Field, Reason: err.Reason}
		}
		switch {
		case i > 0 && p.Location <= d.Peers[i-1].Location:
			return fieldf(field+"Location", "%s is there already, or not in order", p.Location)
		case !slices.IsSortedFunc(p.Addrs, netip.Addr.Compare):
			return fieldf(field+"Addrs", "are not in order: sort them")
		case !slices.IsSortedFunc(p.Routes, netip.Prefix.Compare):
			return fieldf(field+"Routes", "are not in order: sort them")
		}
	}
	return nil
}

func (s Standing) validate() *FieldError {
	for i, g := range s.Groups {
		reason := checkOwner(g)
		if g == "" {
			reason = "is empty: leave it out"
		}
		if reason != "" {
			return fieldf(fmt.Sprintf("Standing.Groups[%d]", i), "%s", reason)
		}
	}
	return nil
}

func checkOwner(s string) string {
	switch {
	case len(s) > OwnerMax:
		return fmt.Sprintf("has %d bytes: at most %d fit", len(s), OwnerMax)
	case !utf8.ValidString(s):
		return "is not UTF-8 text"
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Sprintf("%q has the character %U, which does not print: leave it off", s, r)
		}
	}
	return ""
}

// validate checks what can be seen without the location.
func (p Peer) validate() *FieldError {
	switch {
	case p.Location == "":
		return fieldf("Location", "is missing: give the location's ID")
	case len(p.Addrs) == 0:
		return fieldf("Addrs", "are empty: a place has at least one address")
	}
	if err := checkAddrs(p.Addrs); err != nil {
		return err
	}
	return checkRoutes(p.Routes)
}

func checkAddrs(addrs []netip.Addr) *FieldError {
	for i, a := range addrs {
		field := fmt.Sprintf("Addrs[%d]", i)
		switch {
		case !a.IsValid(), a.Zone() != "", a.Is4In6():
			return fieldf(field, "%s is not a plain IPv4 or IPv6 address", a)
		case slices.Contains(addrs[:i], a):
			return fieldf(field, "%s is there already: leave one out", a)
		}
	}
	return nil
}

func checkRoutes(routes []netip.Prefix) *FieldError {
	for i, r := range routes {
		field := fmt.Sprintf("Routes[%d]", i)
		if r.IsValid() && r.Bits() == 0 {
			return fieldf(field, "%s would take everybody's traffic to this peer: name the networks behind it", r)
		}
		if err := location.CheckPrefix(r); err != nil {
			return fieldf(field, "%v", err)
		}
		if j := slices.IndexFunc(routes[:i], r.Overlaps); j >= 0 {
			return fieldf(field, "%s overlaps %s of the same peer: keep one of them", r, routes[j])
		}
	}
	return nil
}

// Fits checks a place against its location: each address is inside one of the
// Networks, usable, and not the gateways'; routes stay clear of the Networks. An
// address inside Reserved fits, because reserved means not given unasked, and
// here somebody asked. Routes may lie inside what clients send through the
// tunnel (AllowedIPs): that is how other peers reach them. It returns nil or a
// *FieldError.
func (p Peer) Fits(l location.Location) error {
	if err := p.validate(); err != nil {
		return err
	}
	if err := p.fits(l); err != nil {
		return err
	}
	return nil
}

// fits is Fits for a place that may have no addresses yet.
func (p Peer) fits(l location.Location) *FieldError {
	gateways := l.GatewayAddrs()
	for i, a := range p.Addrs {
		field := fmt.Sprintf("Addrs[%d]", i)
		n := slices.IndexFunc(l.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
		switch {
		case n < 0:
			return fieldf(field, "%s is in none of the networks of %q: %v", a, l.Name, l.Networks)
		case !location.Usable(l.Networks[n], a):
			return fieldf(field, "%s is the first or last address of %s, which no host can have", a, l.Networks[n])
		case slices.ContainsFunc(gateways, func(g netip.Prefix) bool { return g.Addr() == a }):
			return fieldf(field, "%s belongs to the gateways of %q: choose another", a, l.Name)
		}
	}
	for i, r := range p.Routes {
		if n := slices.IndexFunc(l.Networks, r.Overlaps); n >= 0 {
			return fieldf(fmt.Sprintf("Routes[%d]", i),
				"%s overlaps %s, where the peers of %q have their addresses: a route is for networks elsewhere", r, l.Networks[n], l.Name)
		}
	}
	return nil
}
