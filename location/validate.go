package location

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"
)

// WithDefaults returns l with its zero fields filled in: Port, MTU,
// ClientKeepalive and Inner. The copy shares memory with l.
func (l Location) WithDefaults() Location {
	if l.Port == 0 {
		l.Port = DefaultPort
	}
	if l.MTU == 0 {
		l.MTU = DefaultMTU
	}
	if l.ClientKeepalive == 0 {
		l.ClientKeepalive = DefaultKeepalive
	}
	if l.Inner == "" {
		l.Inner = SNAT
	}
	return l
}

// Validate checks a whole row, as it is to be stored: with its defaults filled
// in, its ID and its key. It returns nil or a *FieldError for the first field
// that is wrong. It knows nothing of other locations.
func (l Location) Validate() error {
	for _, check := range []func(Location) *FieldError{
		checkTexts, checkNetworks, checkGateway, checkReserved, checkFloating, checkMark, checkInner, checkNumbers, checkClient, checkReach, checkKey,
	} {
		if err := check(l); err != nil {
			return err
		}
	}
	return nil
}

func fieldf(field, format string, args ...any) *FieldError {
	return &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

func at(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

func checkTexts(l Location) *FieldError {
	if err := CheckName(l.Name); err != nil {
		return fieldf("Name", "%v", err)
	}
	if err := CheckHost(l.Host); err != nil {
		return fieldf("Host", "%v", err)
	}
	for i, s := range l.Search {
		if err := CheckDomain(s); err != nil {
			return fieldf(at("Search", i), "%v", err)
		}
	}
	return nil
}

// Sizes of networks: from what one location can sensibly hold, down to room for
// the gateways and one peer.
const (
	min4, max4 = 8, 30
	min6, max6 = 16, 126
)

func checkNetworks(l Location) *FieldError {
	if len(l.Networks) == 0 {
		return fieldf("Networks", "are empty: give at least one, such as 10.20.0.0/16 or fd20::/64")
	}
	for i, n := range l.Networks {
		if err := CheckPrefix(n); err != nil {
			return fieldf(at("Networks", i), "%v", err)
		}
		least, most := min4, max4
		if n.Addr().Is6() {
			least, most = min6, max6
		}
		if n.Bits() < least || n.Bits() > most {
			return fieldf(at("Networks", i), "%s has a length of %d: use /%d to /%d", n, n.Bits(), least, most)
		}
		if j := slices.IndexFunc(l.Networks[:i], n.Overlaps); j >= 0 {
			return fieldf(at("Networks", i), "%s overlaps Networks[%d], %s: keep them apart", n, j, l.Networks[j])
		}
	}
	return nil
}

// network returns the network that a is in.
func (l Location) network(a netip.Addr) (netip.Prefix, bool) {
	i := slices.IndexFunc(l.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return l.Networks[i], true
}

func checkGateway(l Location) *FieldError {
	seen := map[netip.Prefix]netip.Addr{}
	for i, a := range l.Gateway {
		n, ok := l.network(a)
		switch {
		case !ok:
			return fieldf(at("Gateway", i), "%s is in none of the Networks", a)
		case !Usable(n, a):
			return fieldf(at("Gateway", i), "%s is the first or last address of %s, which no host can have: choose one between", a, n)
		case seen[n].IsValid():
			return fieldf(at("Gateway", i), "%s has %s as the gateways' address already: give at most one a network", n, seen[n])
		}
		seen[n] = a
	}
	return nil
}

func checkReserved(l Location) *FieldError {
	for i, r := range l.Reserved {
		if reason := canonical(r); reason != "" {
			return fieldf(at("Reserved", i), "%s %s", r, reason)
		}
		if !slices.ContainsFunc(l.Networks, func(n netip.Prefix) bool { return Contains(n, r) }) {
			return fieldf(at("Reserved", i), "%s is not inside one of the Networks", r)
		}
	}
	return nil
}

// FloatingMax is how many Floating addresses a location may have.
const FloatingMax = 16

func checkFloating(l Location) *FieldError {
	if n := len(l.Floating); n > FloatingMax {
		return fieldf("Floating", "are %d: give at most %d", n, FloatingMax)
	}
	return checkMoving(l, "Floating", l.Floating, "clients reach from outside")
}

// checkInner wants addresses that move with others, and of which it is clear which
// one a packet gets.
func checkInner(l Location) *FieldError {
	if len(l.InnerFloating) > 0 && len(l.Floating) == 0 {
		return fieldf("InnerFloating", "move with Floating, of which there are none: give those, too, or leave these out")
	}
	if len(l.InnerFloating) > 0 && l.Inner == Carried {
		return fieldf("InnerFloating", "are no use with Inner %q, where the network behind may send to any gateway: leave them out", string(Carried))
	}
	if err := checkMoving(l, "InnerFloating", l.InnerFloating, "the network behind reaches"); err != nil {
		return err
	}
	for i, a := range l.InnerFloating {
		if j := slices.IndexFunc(l.InnerFloating[:i], func(b netip.Addr) bool { return a.Is4() == b.Is4() }); j >= 0 {
			return fieldf(at("InnerFloating", i), "%s is a second one of its family, after %s: give one of each at most", a, l.InnerFloating[j])
		}
		if slices.Contains(l.Floating, a) {
			return fieldf(at("InnerFloating", i), "%s is in Floating, where clients dial: give an address of the network behind", a)
		}
	}
	return nil
}

// checkMoving wants addresses that one machine has at a time, each once, and none
// inside the tunnel.
func checkMoving(l Location, field string, list []netip.Addr, who string) *FieldError {
	for i, a := range list {
		if reason := floats(a); reason != "" {
			return fieldf(at(field, i), "%s %s", a, reason)
		}
		if j := slices.Index(list[:i], a); j >= 0 {
			return fieldf(at(field, i), "%s is there already, as %s[%d]: leave one out", a, field, j)
		}
		if n, inside := l.network(a); inside {
			return fieldf(at(field, i), "%s is inside %s, and so inside the tunnel: give an address that %s", a, n, who)
		}
	}
	return nil
}

// floats says why an address is none that moves from machine to machine.
func floats(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "is not an IP address: give one that moves between the gateways"
	case a.Zone() != "":
		return "has a zone, which means nothing to clients: leave it off"
	case a.Is4In6():
		return fmt.Sprintf("is IPv4 written as IPv6: write %s", a.Unmap())
	case a.IsUnspecified(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is not the address of one machine: give one that moves between the gateways"
	case a.IsLoopback():
		return "is loopback, which every machine has for itself: give an address that clients reach from outside"
	case a.IsLinkLocalUnicast():
		return "is link-local: give an address that clients reach from elsewhere"
	}
	return ""
}

func checkNumbers(l Location) *FieldError {
	k := l.ClientKeepalive
	switch {
	case l.Port == 0:
		return fieldf("Port", "is 0: use 1 to 65535, usually %d", DefaultPort)
	case l.MTU < 1280 || l.MTU > 9000:
		return fieldf("MTU", "is %d: use 1280 to 9000 bytes, usually %d", l.MTU, DefaultMTU)
	case l.Inner != "" && l.Inner != SNAT && l.Inner != Routed && l.Inner != Carried:
		return fieldf("Inner", "is %q: use %q, %q or %q", string(l.Inner), string(SNAT), string(Routed), string(Carried))
	case k == KeepaliveOff:
	case k%time.Second != 0 || k < time.Second || k > math.MaxUint16*time.Second:
		return fieldf("ClientKeepalive", "is %v: use whole seconds from 1 to %d, or KeepaliveOff", k, math.MaxUint16)
	}
	return nil
}

func checkClient(l Location) *FieldError {
	for i, a := range l.DNS {
		switch {
		case !a.IsValid(), a.IsUnspecified(), a.IsMulticast():
			return fieldf(at("DNS", i), "%s is not the address of a resolver", a)
		case a.Zone() != "":
			return fieldf(at("DNS", i), "%s has a zone, which means nothing to clients: leave it off", a)
		case a.Is4In6():
			return fieldf(at("DNS", i), "%s is IPv4 written as IPv6: write %s", a, a.Unmap())
		}
	}
	return checkOnce("AllowedIPs", l.AllowedIPs)
}

// DestinationsMax is how many Destinations a location may have: gateways compare
// packets with one after the other.
const DestinationsMax = 256

func checkReach(l Location) *FieldError {
	if n := len(l.Destinations); n > DestinationsMax {
		return fieldf("Destinations", "are %d: give at most %d, and wider ones where they are neighbours", n, DestinationsMax)
	}
	return checkOnce("Destinations", l.Destinations)
}

// checkOnce wants prefixes that are masked, and each once.
func checkOnce(field string, all []netip.Prefix) *FieldError {
	for i, p := range all {
		if reason := canonical(p); reason != "" {
			return fieldf(at(field, i), "%s %s", p, reason)
		}
		if j := slices.Index(all[:i], p); j >= 0 {
			return fieldf(at(field, i), "%s is there already, as %s[%d]: leave one out", p, field, j)
		}
	}
	return nil
}

func checkKey(l Location) *FieldError {
	switch {
	case l.ID == "":
		return fieldf("ID", "is empty: Service.Create makes it")
	case l.PublicKey.IsZero():
		return fieldf("PublicKey", "is zero: Service.Create makes the key")
	case l.Key == "":
		return fieldf("Key", "is empty: Service.Create seals the key")
	}
	return nil
}
