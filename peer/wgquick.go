package peer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// WGQuick returns the profile with the device's private key as text for
// wg-quick(8), and for the apps that read the same. The text is a secret.
//
// wg-quick runs as root, and some of its keys are commands; so a profile that
// Validate refuses, and one without a key, become a comment that says why, and
// nothing in them is taken over.
func (p Profile) WGQuick(key wgkey.Private) string {
	if err := p.Validate(); err != nil {
		return fmt.Sprintf("# not a profile: %q\n", err)
	}
	if key.IsZero() {
		return "# not a profile: the private key is missing\n"
	}
	return p.text("PrivateKey = " + key.RevealText())
}

// Template is WGQuick with a comment in the place of the private key, which the
// device puts there. It holds no secret but Preshared.
func (p Profile) Template() string {
	if err := p.Validate(); err != nil {
		return fmt.Sprintf("# not a profile: %q\n", err)
	}
	return p.text("# PrivateKey = (of the device: put it here)")
}

// text is that of a valid profile, with a line for the key.
func (p Profile) text(key string) string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s = %s\n", name, value)
		}
	}
	b.WriteString("[Interface]\n" + key + "\n")
	line("Address", join(p.Addresses))
	line("DNS", strings.Join(append(texts(p.DNS), p.Search...), ", "))
	line("MTU", positive(p.MTU))
	b.WriteString("\n[Peer]\n")
	line("PublicKey", p.Peer.String())
	if !p.Preshared.IsZero() {
		line("PresharedKey", p.Preshared.RevealText())
	}
	line("AllowedIPs", join(p.AllowedIPs))
	line("Endpoint", p.endpoint())
	line("PersistentKeepalive", positive(int(p.Keepalive/time.Second)))
	return b.String()
}

// endpoint is Host and Port in one, with brackets around an IPv6 address.
func (p Profile) endpoint() string {
	if strings.Contains(p.Host, ":") {
		return fmt.Sprintf("[%s]:%d", p.Host, p.Port)
	}
	return fmt.Sprintf("%s:%d", p.Host, p.Port)
}

func texts[T fmt.Stringer](all []T) []string {
	out := make([]string, 0, len(all))
	for _, v := range all {
		out = append(out, v.String())
	}
	return out
}

func join[T fmt.Stringer](all []T) string { return strings.Join(texts(all), ", ") }

func positive(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// ParseWGQuick reads what WGQuick writes, and what people make of it by hand:
// keys in any case, comments, repeated lists, addresses without a length. It is
// strict beyond that: one [Interface] with a private key, one [Peer] with an
// endpoint, and no key that a profile does not have, least of all a command.
//
// The error names the line and the key, and quotes no value that is not an
// address, so that it never shows a secret.
func ParseWGQuick(text string) (Profile, wgkey.Private, error) {
	q := quick{seen: map[string]bool{}}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if err := q.line(line); err != nil {
			return Profile{}, wgkey.Private{}, fmt.Errorf("peer: wg-quick text: line %d: %w", n, err)
		}
	}
	if err := q.complete(); err != nil {
		return Profile{}, wgkey.Private{}, fmt.Errorf("peer: wg-quick text: %w", err)
	}
	return q.profile, q.key, nil
}

// quick is a text that is being read.
type quick struct {
	profile Profile
	key     wgkey.Private
	section string          // "interface" or "peer", "" at first
	seen    map[string]bool // sections, and keys as "section.key"
}

// setters are the keys that a profile has, by section.
var setters = map[string]func(q *quick, value string) error{ //nolint:gochecknoglobals // a table that nobody writes
	"interface.privatekey":     (*quick).setPrivate,
	"interface.address":        (*quick).setAddress,
	"interface.dns":            (*quick).setDNS,
	"interface.mtu":            (*quick).setMTU,
	"peer.publickey":           (*quick).setPublic,
	"peer.presharedkey":        (*quick).setPreshared,
	"peer.allowedips":          (*quick).setAllowed,
	"peer.endpoint":            (*quick).setEndpoint,
	"peer.persistentkeepalive": (*quick).setKeepalive,
}

// refused are keys of wg-quick(8) that a profile does not have, and why.
var refused = map[string]string{ //nolint:gochecknoglobals // a table that nobody writes
	"preup": "runs a command", "postup": "runs a command", "predown": "runs a command", "postdown": "runs a command",
	"saveconfig": "writes this file", "table": "changes how packets are routed", "fwmark": "changes how packets are routed",
	"listenport": "is for servers",
}

func (q *quick) line(line string) error {
	line, _, _ = strings.Cut(line, "#")
	line = strings.TrimSpace(line)
	if line == "" {
		return nil
	}
	if strings.HasPrefix(line, "[") {
		return q.begin(strings.ToLower(line))
	}
	name, value, ok := strings.Cut(line, "=")
	if !ok {
		return errors.New("is neither a section nor a key with a value: write it like MTU = 1420")
	}
	if q.section == "" {
		return errors.New("a key before the first section: begin with [Interface]")
	}
	name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
	if why := refused[name]; why != "" {
		return fmt.Errorf("%s: %s, which a profile may not: remove the line", name, why)
	}
	key := q.section + "." + name
	set := setters[key]
	if set == nil {
		return fmt.Errorf("unknown key%s in [%s]", shown(name), q.section)
	}
	if q.seen[key] && name != "address" && name != "dns" && name != "allowedips" {
		return fmt.Errorf("%s: is there already: leave one out", name)
	}
	q.seen[key] = true
	if err := set(q, value); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// shown quotes the name of a key if it cannot be a piece of a secret that was
// put in the wrong place.
func shown(name string) string {
	if len(name) > 20 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz") != "" {
		return ""
	}
	return fmt.Sprintf(" %q", name)
}

func (q *quick) begin(header string) error {
	switch header {
	case "[interface]":
		q.section = "interface"
	case "[peer]":
		q.section = "peer"
	default:
		return errors.New("unknown section: only [Interface] and [Peer] are")
	}
	if q.seen[q.section] {
		if q.section == "peer" {
			return errors.New("a second [Peer]: a profile is for one location, split the text")
		}
		return errors.New("a second [Interface]: split the text")
	}
	q.seen[q.section] = true
	return nil
}

// complete says what is missing.
func (q *quick) complete() error {
	for _, part := range []struct{ key, name string }{
		{"interface", "an [Interface] section"}, {"peer", "a [Peer] section"},
		{"interface.privatekey", "PrivateKey in [Interface]"}, {"interface.address", "Address in [Interface]"},
		{"peer.publickey", "PublicKey in [Peer]"}, {"peer.allowedips", "AllowedIPs in [Peer]"}, {"peer.endpoint", "Endpoint in [Peer]"},
	} {
		if !q.seen[part.key] {
			return fmt.Errorf("%s is missing", part.name)
		}
	}
	return q.profile.Validate()
}

func (q *quick) setPrivate(value string) error {
	key, err := wgkey.ParsePrivate(value)
	q.key = key
	return err
}

func (q *quick) setPublic(value string) error {
	key, err := wgkey.ParsePublic(value)
	q.profile.Peer = key
	return err
}

func (q *quick) setPreshared(value string) error {
	key, err := wgkey.ParsePreshared(value)
	q.profile.Preshared = key
	return err
}

func (q *quick) setAddress(value string) error {
	return each(value, func(item string) error {
		p, err := prefix(item)
		q.profile.Addresses = append(q.profile.Addresses, p)
		return err
	})
}

func (q *quick) setAllowed(value string) error {
	return each(value, func(item string) error {
		p, err := prefix(item)
		if err == nil && p != p.Masked() {
			return fmt.Errorf("%s has bits set beyond its length: write %s", p, p.Masked())
		}
		q.profile.AllowedIPs = append(q.profile.AllowedIPs, p)
		return err
	})
}

func (q *quick) setDNS(value string) error {
	return each(value, func(item string) error {
		if a, err := netip.ParseAddr(item); err == nil {
			if a.Zone() != "" || a.Is4In6() {
				return errors.New("an address with a zone, or IPv4 written as IPv6: write it plainly")
			}
			q.profile.DNS = append(q.profile.DNS, a)
			return nil
		}
		if location.CheckDomain(item) != nil {
			return errors.New("is neither an IP address nor a search domain")
		}
		q.profile.Search = append(q.profile.Search, item)
		return nil
	})
}

func (q *quick) setMTU(value string) error {
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil || n < 1280 || n > 9000 {
		return errors.New("use 1280 to 9000 bytes")
	}
	q.profile.MTU = int(n)
	return nil
}

func (q *quick) setEndpoint(value string) error {
	i := strings.LastIndexByte(value, ':')
	if i < 0 {
		return errors.New("has no port: write it like vpn.example.org:51820")
	}
	host := value[:i]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if !ok || !strings.Contains(inner, ":") {
			return errors.New("brackets are for an IPv6 address: write it like [2001:db8::1]:51820")
		}
		host = inner
	} else if strings.Contains(host, ":") {
		return errors.New("an IPv6 address needs brackets: write it like [2001:db8::1]:51820")
	}
	if location.CheckHost(host) != nil {
		return errors.New("is neither a DNS name nor an IP address that can be dialled")
	}
	port, err := strconv.ParseUint(value[i+1:], 10, 16)
	if err != nil || port == 0 {
		return errors.New("has a wrong port: use 1 to 65535")
	}
	q.profile.Host, q.profile.Port = host, uint16(port)
	return nil
}

func (q *quick) setKeepalive(value string) error {
	if strings.EqualFold(value, "off") {
		return nil
	}
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return errors.New(`use 0 to 65535 seconds, or "off"`)
	}
	q.profile.Keepalive = time.Duration(n) * time.Second
	return nil
}

// each calls f with the parts of a list.
func each(value string, f func(string) error) error {
	for i, item := range slices.Collect(strings.SplitSeq(value, ",")) {
		err := errors.New("is empty")
		if item = strings.TrimSpace(item); item != "" {
			err = f(item)
		}
		if err != nil {
			return fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	return nil
}

// prefix reads an address with or without its length.
func prefix(item string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(item)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(item); err == nil && a.Zone() == "" {
			p = netip.PrefixFrom(a, a.BitLen())
		}
	}
	if err != nil || !p.IsValid() || p.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("is not an address: write it like 10.20.0.7/32 or fd20::7/128")
	}
	return p, nil
}
