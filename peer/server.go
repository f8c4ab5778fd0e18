package peer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Server is what a wg-quick(8) file of a server says, for taking it over.
type Server struct {
	Key wgkey.Private
	// Addresses are the server's own, with the length of their network.
	Addresses []netip.Prefix
	Port      uint16 // 0: not said
	MTU       int    // 0: not said
	Mark      uint32 // 0: none
	Peers     []ServerPeer
	// Left are lines that have no counterpart here, such as "line 7: postup".
	Left []string
}

// ServerPeer is one of its clients.
type ServerPeer struct {
	Line int // of its [Peer]
	// Name is the comment before the [Peer], or the first one in it; "" for none.
	Name       string
	Key        wgkey.Public
	AllowedIPs []netip.Prefix // masked
	// Preshared says that there is a preshared key, which is not taken over: the
	// client cannot connect before the line is gone from its configuration, too.
	Preshared bool
}

// ParseServer reads a wg-quick(8) file of a server: one [Interface] with a private
// key, any number of [Peer] with a public key. Commands, DNS and the like are
// named in Left; what nobody knows is an error.
//
// The error names the line and the key, and quotes no value that is not an
// address, so that it never shows a secret.
func ParseServer(text string) (Server, error) {
	p := serverText{seen: map[string]bool{}}
	for line := range strings.Lines(text) {
		p.n++
		if err := p.line(line); err != nil {
			return Server{}, fmt.Errorf("peer: wg-quick text of a server: line %d: %w", p.n, err)
		}
	}
	err := p.endOfPeer()
	switch {
	case err != nil:
	case p.server.Key.IsZero():
		err = errors.New("PrivateKey in [Interface] is missing")
	case len(p.server.Peers) == 1 && p.endpoints == 1 && p.server.Port == 0:
		err = errors.New("this is the file of a client: its only peer has an Endpoint, and there is no ListenPort")
	}
	if err != nil {
		return Server{}, fmt.Errorf("peer: wg-quick text of a server: %w", err)
	}
	return p.server, nil
}

// serverText is a text that is being read.
type serverText struct {
	server    Server
	n         int
	section   string          // "interface" or "peer", "" at first
	seen      map[string]bool // keys of the section, and "interface" itself
	comment   string          // the last one since a line that says something
	endpoints int
}

// left are keys that say nothing to a location, by section.
var left = map[string]string{ //nolint:gochecknoglobals // a table that nobody writes
	"interface": "dns table preup postup predown postdown saveconfig",
	"peer":      "endpoint persistentkeepalive",
}

func (p *serverText) line(line string) error {
	line, comment, commented := strings.Cut(line, "#")
	line = strings.TrimSpace(line)
	if comment = strings.Trim(comment, "# \t\r\n"); line == "" {
		if commented && comment != "" {
			p.remark(comment)
		}
		return nil
	}
	if strings.HasPrefix(line, "[") {
		return p.begin(strings.ToLower(line))
	}
	name, value, ok := strings.Cut(line, "=")
	if !ok || p.section == "" {
		return errors.New("is neither a section nor a key with a value in one: write it like ListenPort = 51820")
	}
	name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
	if p.section == "interface" {
		p.comment = ""
	}
	if p.seen[name] && name != "address" && name != "allowedips" && !slices.Contains(strings.Fields(left[p.section]), name) {
		return fmt.Errorf("%s: is there already: leave one out", shown(name))
	}
	p.seen[name] = true
	known, err := p.set(name, value)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	case known:
	case slices.Contains(strings.Fields(left[p.section]), name):
		if p.section == "interface" {
			p.server.Left = append(p.server.Left, fmt.Sprintf("line %d: %s", p.n, name))
		}
	default:
		return fmt.Errorf("unknown key%s in [%s]", shown(name), p.section)
	}
	return nil
}

// remark keeps a comment that may be the name of a peer.
func (p *serverText) remark(comment string) {
	for _, label := range []string{"name", "client", "peer", "friendly_name"} {
		if rest, ok := cutFold(comment, label); ok {
			comment = rest
			break
		}
	}
	if location.CheckName(comment) != nil {
		return
	}
	if at := len(p.server.Peers) - 1; p.section == "peer" && p.server.Peers[at].Name == "" && p.server.Peers[at].Key.IsZero() {
		p.server.Peers[at].Name = comment
		return
	}
	p.comment = comment
}

// cutFold takes "name = " or "name:" off a comment.
func cutFold(comment, label string) (string, bool) {
	if len(comment) <= len(label) || !strings.EqualFold(comment[:len(label)], label) {
		return "", false
	}
	rest := strings.TrimLeft(comment[len(label):], " \t")
	if rest == "" || rest[0] != '=' && rest[0] != ':' {
		return "", false
	}
	return strings.TrimSpace(rest[1:]), true
}

func (p *serverText) begin(header string) error {
	if err := p.endOfPeer(); err != nil {
		return err
	}
	switch header {
	case "[interface]":
		if p.section != "" {
			return errors.New("a second [Interface], or one after a [Peer]: split the text")
		}
		p.section = "interface"
	case "[peer]":
		if p.section == "" {
			return errors.New("a [Peer] before [Interface]: begin with [Interface]")
		}
		p.section = "peer"
		p.server.Peers = append(p.server.Peers, ServerPeer{Line: p.n, Name: p.comment})
	default:
		return errors.New("unknown section: only [Interface] and [Peer] are")
	}
	p.comment, p.seen = "", map[string]bool{}
	return nil
}

func (p *serverText) endOfPeer() error {
	if n := len(p.server.Peers); n > 0 && p.server.Peers[n-1].Key.IsZero() {
		return fmt.Errorf("PublicKey is missing in the [Peer] of line %d", p.server.Peers[n-1].Line)
	}
	return nil
}

// set takes a value; known says whether it means anything here.
func (p *serverText) set(name, value string) (known bool, err error) {
	s := &p.server
	switch p.section + "." + name {
	case "interface.privatekey":
		s.Key, err = wgkey.ParsePrivate(value)
	case "interface.address":
		err = each(value, func(item string) error {
			a, err := prefix(item)
			s.Addresses = append(s.Addresses, a)
			return err
		})
	case "interface.listenport":
		var n uint64
		if n, err = strconv.ParseUint(value, 10, 16); err != nil || n == 0 {
			return true, errors.New("use 1 to 65535")
		}
		s.Port = uint16(n)
	case "interface.mtu":
		if s.MTU, err = strconv.Atoi(value); err != nil || s.MTU < 1280 || s.MTU > 9000 {
			return true, errors.New("use 1280 to 9000 bytes")
		}
	case "interface.fwmark":
		var n uint64
		if n, err = strconv.ParseUint(strings.Replace(value, "off", "0", 1), 0, 32); err != nil {
			return true, errors.New(`use a number, or "off"`)
		}
		s.Mark = uint32(n)
	case "peer.publickey":
		at := &s.Peers[len(s.Peers)-1]
		at.Key, err = wgkey.ParsePublic(value)
	case "peer.presharedkey":
		var key wgkey.Preshared
		key, err = wgkey.ParsePreshared(value)
		s.Peers[len(s.Peers)-1].Preshared = !key.IsZero()
	case "peer.allowedips":
		at := &s.Peers[len(s.Peers)-1]
		if value == "" {
			return true, nil // wg(8) takes it for none
		}
		err = each(value, func(item string) error {
			a, err := prefix(item)
			at.AllowedIPs = append(at.AllowedIPs, a.Masked()) // as the kernel does
			return err
		})
	case "peer.endpoint":
		p.endpoints++
		return false, nil
	default:
		return false, nil
	}
	return true, err
}

// Location is what the file says of the location: Networks and Gateway from its
// Addresses, Port, MTU and Mark. Name and Host it does not say.
func (s Server) Location() location.Location {
	l := location.Location{Port: s.Port, MTU: s.MTU, Mark: s.Mark}
	for _, a := range s.Addresses {
		if !a.IsSingleIP() {
			l.Networks = append(l.Networks, a.Masked())
			l.Gateway = append(l.Gateway, a.Addr())
		}
	}
	return l
}

// Devices are the peers as devices with places in a location, with exactly their
// addresses and routes: an address of the location's Networks is an address, all
// else is a route. A peer without an address gets the next free one. The error
// has a line for each peer that does not fit. It knows nothing of other devices.
func (s Server) Devices(l location.Location) ([]NewDevice, error) {
	var all []NewDevice
	var errs []error
	keys := map[wgkey.Public]int{}
	for _, p := range s.Peers {
		d, err := p.device(l)
		if other, twice := keys[p.Key]; twice {
			err = fmt.Errorf("has the key of the peer of line %d", other)
		}
		keys[p.Key] = p.Line
		if err != nil {
			errs = append(errs, fmt.Errorf("peer: the peer of line %d: %w", p.Line, err))
			continue
		}
		all = append(all, d)
	}
	for i, p := range s.Peers {
		for _, o := range s.Peers[:i] {
			if a, b, met := overlap(p.AllowedIPs, o.AllowedIPs); met {
				errs = append(errs, fmt.Errorf("peer: the peer of line %d: %s overlaps %s of the peer of line %d", p.Line, a, b, o.Line))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return all, nil
}

func (p ServerPeer) device(l location.Location) (NewDevice, error) {
	place := Place{Location: l.ID}
	for _, a := range p.AllowedIPs {
		inside := slices.ContainsFunc(l.Networks, func(n netip.Prefix) bool { return n.Contains(a.Addr()) })
		if a.IsSingleIP() && inside {
			place.Addrs = append(place.Addrs, a.Addr())
		} else {
			place.Routes = append(place.Routes, a)
		}
	}
	want := Peer{Location: l.ID, Addrs: place.Addrs, Routes: place.Routes}
	for _, wrong := range []*FieldError{checkAddrs(want.Addrs), checkRoutes(want.Routes), want.fits(l)} {
		if wrong != nil {
			return NewDevice{}, errors.New(wrong.Reason)
		}
	}
	name := p.Name
	switch {
	case name != "":
	case len(place.Addrs) > 0:
		name = place.Addrs[0].String()
	default:
		name = fmt.Sprintf("line %d", p.Line)
	}
	return NewDevice{Name: name, Key: p.Key, Places: []Place{place}}, nil
}

func overlap(a, b []netip.Prefix) (x, y netip.Prefix, met bool) {
	for _, x := range a {
		if i := slices.IndexFunc(b, x.Overlaps); i >= 0 {
			return x, b[i], true
		}
	}
	return x, y, false
}
