package location

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// NameMax is how many characters a name may have.
const NameMax = 63

// CheckName says what is wrong with a name for people: it has 1 to NameMax
// printable characters, and no space at its ends. The error is a bare reason,
// such as for a [FieldError].
func CheckName(name string) error {
	switch n := utf8.RuneCountInString(name); {
	case name == "":
		return fmt.Errorf("is empty: give it 1 to %d characters", NameMax)
	case !utf8.ValidString(name):
		return errors.New("is not UTF-8 text")
	case n > NameMax:
		return fmt.Errorf("has %d characters: use at most %d", n, NameMax)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("%q begins or ends with a space: leave it off", name)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%q has the character %U, which does not print: leave it off", name, r)
		}
	}
	return nil
}

// CheckHost says what is wrong with what clients are to dial: it is a DNS name
// (RFC 1123, in its ASCII form) or an IP address without brackets, port and zone.
// The error is a bare reason, such as for a [FieldError].
func CheckHost(host string) error {
	if host == "" {
		return errors.New("is empty: give the DNS name or IP address that clients dial")
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return checkHostAddr(a)
	}
	switch {
	case strings.HasPrefix(host, "["):
		return fmt.Errorf("%q: write an IPv6 address without brackets, and the port in its own field", host)
	case strings.Contains(host, ":"):
		return fmt.Errorf("%q is not an IPv6 address; if it ends with a port: that has its own field", host)
	}
	return CheckDomain(host)
}

func checkHostAddr(a netip.Addr) error {
	switch {
	case a.Zone() != "":
		return fmt.Errorf("%q has a zone, which means nothing to clients: give an address that they can all dial", a)
	case a.Is4In6():
		return fmt.Errorf("%q is IPv4 written as IPv6: write %s", a, a.Unmap())
	case a.IsUnspecified(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%q cannot be dialled: give the address that the gateways are reached at", a)
	case a.Is6() && a.IsLinkLocalUnicast():
		return fmt.Errorf("%q is link-local: give an address that clients reach from elsewhere", a)
	}
	return nil
}

// CheckDomain says what is wrong with a DNS name (RFC 1123, in its ASCII form):
// up to 253 letters, digits, hyphens and dots, labels of 1 to 63. The error is a
// bare reason, such as for a [FieldError].
func CheckDomain(name string) error {
	switch {
	case name == "":
		return errors.New("is empty: give a DNS name such as example.org")
	case len(name) > 253:
		return fmt.Errorf("has %d characters: a DNS name has at most 253", len(name))
	case strings.HasSuffix(name, "."):
		return fmt.Errorf("%q ends with a dot: leave it off", name)
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if err := checkLabel(name, label); err != nil {
			return err
		}
	}
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return fmt.Errorf("%q looks like an IPv4 address, and is none", name)
	}
	return nil
}

func checkLabel(name, label string) error {
	switch {
	case label == "":
		return fmt.Errorf("%q has an empty part between dots", name)
	case len(label) > 63:
		return fmt.Errorf("%q has a part of %d characters: at most 63 fit between dots", name, len(label))
	case label[0] == '-', label[len(label)-1] == '-':
		return fmt.Errorf("%q has a part that begins or ends with a hyphen", name)
	}
	for _, r := range label {
		switch {
		case r == '-', '0' <= r && r <= '9', 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z':
		case r >= utf8.RuneSelf:
			return fmt.Errorf("%q has the character %q: write the name in its ASCII form (xn--…)", name, r)
		default:
			return fmt.Errorf("%q has the character %q: a DNS name has letters, digits, hyphens and dots", name, r)
		}
	}
	return nil
}
