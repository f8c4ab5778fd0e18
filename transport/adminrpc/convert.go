package adminrpc

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/transport/adminrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// reader collects the first field that cannot be read.
type reader struct{ err error }

func (r *reader) wrong(field string, err error) {
	if err != nil && r.err == nil {
		r.err = &location.FieldError{Field: field, Reason: strings.TrimPrefix(strings.TrimPrefix(err.Error(), "location: "), "wgkey: ")}
	}
}

// each reads a list; field is its name in the domain.
func each[T any](r *reader, field string, list []string, parse func(string) (T, error)) []T {
	var out []T
	for i, s := range list {
		v, err := parse(s)
		r.wrong(fmt.Sprintf("%s[%d]", field, i), err)
		out = append(out, v)
	}
	return out
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("%q is not an IP address: write it like 10.20.0.7 or fd20::7", s)
	}
	return a, nil
}

func (r *reader) key(field, text string) wgkey.Public {
	if text == "" {
		return wgkey.Public{}
	}
	k, err := wgkey.ParsePublic(text)
	r.wrong(field, err)
	return k
}

func texts[T fmt.Stringer](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return out
}

func ids[A, B ~string](list []A) []B {
	var out []B
	for _, v := range list {
		out = append(out, B(v))
	}
	return out
}

func fromLocation(l location.Location) *pb.Location {
	keepalive := int32(l.ClientKeepalive / time.Second)
	if l.ClientKeepalive == location.KeepaliveOff {
		keepalive = -1
	}
	m := &pb.Location{
		Id: string(l.ID), Name: l.Name, Networks: texts(l.Networks), Gateway: texts(l.Gateway), Reserved: texts(l.Reserved),
		AllowOverlap: l.AllowOverlap, Host: l.Host, Port: uint32(l.Port), Mtu: uint32(l.MTU), Mark: l.Mark, Inner: string(l.Inner),
		Floating: texts(l.Floating), InnerFloating: texts(l.InnerFloating), Dns: texts(l.DNS), Search: l.Search, AllowedIps: texts(l.AllowedIPs),
		Destinations: texts(l.Destinations), Isolated: l.Isolated,
		ClientKeepalive: keepalive, Disabled: l.Disabled,
	}
	if !l.PublicKey.IsZero() {
		m.PublicKey = l.PublicKey.String()
	}
	return m
}

// toLocation reads all but Rev and Key, which do not cross.
func toLocation(m *pb.Location) (location.Location, error) {
	var r reader
	l := location.Location{
		ID: location.ID(m.GetId()), Name: m.GetName(),
		Networks:      each(&r, "Networks", m.GetNetworks(), location.ParsePrefix),
		Gateway:       each(&r, "Gateway", m.GetGateway(), parseAddr),
		Reserved:      each(&r, "Reserved", m.GetReserved(), location.ParsePrefix),
		Floating:      each(&r, "Floating", m.GetFloating(), parseAddr),
		InnerFloating: each(&r, "InnerFloating", m.GetInnerFloating(), parseAddr),
		AllowOverlap:  m.GetAllowOverlap(), Host: m.GetHost(), Port: uint16(m.GetPort()), MTU: int(m.GetMtu()), Mark: m.GetMark(),
		Inner: location.Inner(m.GetInner()), DNS: each(&r, "DNS", m.GetDns(), parseAddr), Search: m.GetSearch(),
		AllowedIPs:   each(&r, "AllowedIPs", m.GetAllowedIps(), location.ParsePrefix),
		Destinations: each(&r, "Destinations", m.GetDestinations(), location.ParsePrefix), Isolated: m.GetIsolated(),
		ClientKeepalive: time.Duration(m.GetClientKeepalive()) * time.Second, Disabled: m.GetDisabled(),
		PublicKey: r.key("PublicKey", m.GetPublicKey()),
	}
	if m.GetClientKeepalive() == -1 {
		l.ClientKeepalive = location.KeepaliveOff
	}
	return l, r.err
}

// locationFields copy the fields that an update may name.
var locationFields = map[string]func(to *location.Location, from location.Location){ //nolint:gochecknoglobals // a table that nobody writes
	"name":             func(to *location.Location, from location.Location) { to.Name = from.Name },
	"networks":         func(to *location.Location, from location.Location) { to.Networks = from.Networks },
	"gateway":          func(to *location.Location, from location.Location) { to.Gateway = from.Gateway },
	"reserved":         func(to *location.Location, from location.Location) { to.Reserved = from.Reserved },
	"allow_overlap":    func(to *location.Location, from location.Location) { to.AllowOverlap = from.AllowOverlap },
	"host":             func(to *location.Location, from location.Location) { to.Host = from.Host },
	"floating":         func(to *location.Location, from location.Location) { to.Floating = from.Floating },
	"port":             func(to *location.Location, from location.Location) { to.Port = from.Port },
	"mtu":              func(to *location.Location, from location.Location) { to.MTU = from.MTU },
	"mark":             func(to *location.Location, from location.Location) { to.Mark = from.Mark },
	"inner":            func(to *location.Location, from location.Location) { to.Inner = from.Inner },
	"inner_floating":   func(to *location.Location, from location.Location) { to.InnerFloating = from.InnerFloating },
	"dns":              func(to *location.Location, from location.Location) { to.DNS = from.DNS },
	"search":           func(to *location.Location, from location.Location) { to.Search = from.Search },
	"allowed_ips":      func(to *location.Location, from location.Location) { to.AllowedIPs = from.AllowedIPs },
	"destinations":     func(to *location.Location, from location.Location) { to.Destinations = from.Destinations },
	"isolated":         func(to *location.Location, from location.Location) { to.Isolated = from.Isolated },
	"client_keepalive": func(to *location.Location, from location.Location) { to.ClientKeepalive = from.ClientKeepalive },
	"disabled":         func(to *location.Location, from location.Location) { to.Disabled = from.Disabled },
}

var deviceFields = map[string]func(to *peer.Device, from peer.Device){ //nolint:gochecknoglobals // a table that nobody writes
	"name":       func(to *peer.Device, from peer.Device) { to.Name = from.Name },
	"owner":      func(to *peer.Device, from peer.Device) { to.Owner = from.Owner },
	"public_key": func(to *peer.Device, from peer.Device) { to.Key = from.Key },
	"disabled":   func(to *peer.Device, from peer.Device) { to.Disabled = from.Disabled },
}

var gatewayFields = map[string]func(to *vpn.Gateway, from vpn.Gateway){ //nolint:gochecknoglobals // a table that nobody writes
	"name":      func(to *vpn.Gateway, from vpn.Gateway) { to.Name = from.Name },
	"locations": func(to *vpn.Gateway, from vpn.Gateway) { to.Locations = from.Locations },
	"disabled":  func(to *vpn.Gateway, from vpn.Gateway) { to.Disabled = from.Disabled },
}

// editor returns what copies the fields named from one row to another.
func editor[T any](fields map[string]func(*T, T), names []string, from T) (func(*T) error, error) {
	if len(names) == 0 {
		return nil, &location.FieldError{Field: "update_mask", Reason: "names no field: say what to change"}
	}
	for _, n := range names {
		if fields[n] == nil {
			return nil, &location.FieldError{Field: "update_mask", Reason: fmt.Sprintf("%q cannot be changed, or is not there", n)}
		}
	}
	return func(to *T) error {
		for _, n := range names {
			fields[n](to, from)
		}
		return nil
	}, nil
}

func fromDevice(d peer.Device) *pb.Device {
	m := &pb.Device{
		Id: string(d.ID), Name: d.Name, Owner: d.Owner, Disabled: d.Disabled, OwnerDisabled: d.Standing.Disabled,
	}
	if !d.Key.IsZero() {
		m.PublicKey = d.Key.String()
	}
	for _, p := range d.Peers {
		m.Places = append(m.Places, fromPlace(peer.Place{Location: p.Location, Addrs: p.Addrs, Routes: p.Routes, Disabled: p.Disabled}))
	}
	return m
}

// toDevice reads all but Rev and groups, which do not cross.
func toDevice(m *pb.Device) (peer.Device, error) {
	var r reader
	d := peer.Device{
		ID: peer.DeviceID(m.GetId()), Name: m.GetName(), Owner: m.GetOwner(), Disabled: m.GetDisabled(),
		Standing: peer.Standing{Disabled: m.GetOwnerDisabled()}, Key: r.key("Key", m.GetPublicKey()),
	}
	for i, pm := range m.GetPlaces() {
		p := toPlace(&r, fmt.Sprintf("Places[%d].", i), pm)
		d.Peers = append(d.Peers, peer.Peer{Location: p.Location, Addrs: p.Addrs, Routes: p.Routes, Disabled: p.Disabled})
	}
	return d, r.err
}

// toNew is a Device as one that is to be added.
func toNew(d peer.Device) peer.NewDevice {
	n := peer.NewDevice{Name: d.Name, Owner: d.Owner, Key: d.Key, Disabled: d.Disabled}
	for _, p := range d.Peers {
		n.Places = append(n.Places, peer.Place{Location: p.Location, Addrs: p.Addrs, Routes: p.Routes, Disabled: p.Disabled})
	}
	return n
}

func fromNew(n peer.NewDevice) *pb.Device {
	m := fromDevice(peer.Device{Name: n.Name, Owner: n.Owner, Key: n.Key, Disabled: n.Disabled})
	for _, p := range n.Places {
		m.Places = append(m.Places, fromPlace(p))
	}
	return m
}

func fromPlace(p peer.Place) *pb.Place {
	return &pb.Place{Location: string(p.Location), Addresses: texts(p.Addrs), Routes: texts(p.Routes), Disabled: p.Disabled}
}

func toPlace(r *reader, field string, m *pb.Place) peer.Place {
	return peer.Place{
		Location: location.ID(m.GetLocation()), Disabled: m.GetDisabled(),
		Addrs:  each(r, field+"Addrs", m.GetAddresses(), parseAddr),
		Routes: each(r, field+"Routes", m.GetRoutes(), location.ParsePrefix),
	}
}

func fromProfile(p peer.Profile) *pb.GetProfileResponse {
	return &pb.GetProfileResponse{
		Addresses: texts(p.Addresses), Dns: texts(p.DNS), Search: p.Search, Mtu: uint32(p.MTU), PublicKey: p.Peer.String(),
		AllowedIps: texts(p.AllowedIPs), Host: p.Host, Port: uint32(p.Port), Keepalive: uint32(p.Keepalive / time.Second),
		WgQuick: p.Template(),
	}
}

func toProfile(m *pb.GetProfileResponse) (peer.Profile, error) {
	var r reader
	p := peer.Profile{
		Addresses: each(&r, "Addresses", m.GetAddresses(), netip.ParsePrefix), DNS: each(&r, "DNS", m.GetDns(), parseAddr),
		Search: m.GetSearch(), MTU: int(m.GetMtu()), Peer: r.key("Peer", m.GetPublicKey()),
		AllowedIPs: each(&r, "AllowedIPs", m.GetAllowedIps(), location.ParsePrefix), Host: m.GetHost(), Port: uint16(m.GetPort()),
		Keepalive: time.Duration(m.GetKeepalive()) * time.Second,
	}
	return p, r.err
}

func fromGateway(g vpn.Gateway, connected bool) *pb.Gateway {
	return &pb.Gateway{Id: string(g.ID), Name: g.Name, Locations: ids[location.ID, string](g.Locations), Disabled: g.Disabled, Connected: connected}
}

func toGateway(m *pb.Gateway) vpn.Gateway {
	return vpn.Gateway{ID: gateway.ID(m.GetId()), Name: m.GetName(), Locations: ids[string, location.ID](m.GetLocations()), Disabled: m.GetDisabled()}
}

func fromOwner(o vpn.OwnerDevices) *pb.Owner {
	return &pb.Owner{Name: o.Name, Disabled: o.Disabled, Groups: o.Groups, Devices: uint32(o.Devices)}
}

func toOwner(m *pb.Owner) vpn.OwnerDevices {
	return vpn.OwnerDevices{Owner: vpn.Owner{Name: m.GetName(), Disabled: m.GetDisabled(), Groups: m.GetGroups()}, Devices: int(m.GetDevices())}
}

func fromEvent(e vpn.Event) *pb.Event {
	return &pb.Event{
		Id: e.ID, At: timestamppb.New(e.At), By: e.By, From: e.From, Core: e.Core, What: e.What, Subject: e.Subject, Name: e.Name,
		Locations: ids[location.ID, string](e.Locations), Text: e.Text,
	}
}

func toEvent(m *pb.Event) vpn.Event {
	return vpn.Event{
		ID: m.GetId(), At: instant(m.GetAt()), By: m.GetBy(), From: m.GetFrom(), Core: m.GetCore(), What: m.GetWhat(),
		Subject: m.GetSubject(), Name: m.GetName(), Locations: ids[string, location.ID](m.GetLocations()), Text: m.GetText(),
	}
}

func fromFilter(f vpn.EventFilter) *pb.EventFilter {
	return &pb.EventFilter{After: f.After, Location: string(f.Location), Subject: f.Subject, What: f.What}
}

func toFilter(m *pb.EventFilter) vpn.EventFilter {
	return vpn.EventFilter{After: m.GetAfter(), Location: location.ID(m.GetLocation()), Subject: m.GetSubject(), What: m.GetWhat()}
}

func fromToken(t Token) *pb.Token {
	m := &pb.Token{Id: t.ID, Name: t.Name, Role: fromRole(t.Role), Made: timestamppb.New(t.Made), By: t.By}
	if !t.Expires.IsZero() {
		m.Expires = timestamppb.New(t.Expires)
	}
	return m
}

func toToken(m *pb.Token) Token {
	return Token{ID: m.GetId(), Name: m.GetName(), Role: toRole(m.GetRole()), Made: instant(m.GetMade()), By: m.GetBy(), Expires: instant(m.GetExpires())}
}

func fromRole(r Role) pb.Role {
	switch r {
	case Admin:
		return pb.Role_ROLE_ADMIN
	case ReadOnly:
		return pb.Role_ROLE_READ_ONLY
	}
	return pb.Role_ROLE_UNSPECIFIED
}

func toRole(r pb.Role) Role {
	switch r {
	case pb.Role_ROLE_ADMIN:
		return Admin
	case pb.Role_ROLE_READ_ONLY:
		return ReadOnly
	case pb.Role_ROLE_UNSPECIFIED:
	}
	return ""
}

func fromConfirmations(list []Confirmation) []*pb.Confirmation {
	var out []*pb.Confirmation
	for _, c := range list {
		out = append(out, &pb.Confirmation{
			LocationId: string(c.Location), LocationName: c.Name,
			Done: fromNames(c.Done), Late: fromNames(c.Late), Away: fromNames(c.Away),
		})
	}
	return out
}

func toConfirmations(list []*pb.Confirmation) []Confirmation {
	var out []Confirmation
	for _, m := range list {
		out = append(out, Confirmation{
			Location: location.ID(m.GetLocationId()), Name: m.GetLocationName(),
			Done: toNames(m.GetDone()), Late: toNames(m.GetLate()), Away: toNames(m.GetAway()),
		})
	}
	return out
}

func fromNames(list []GatewayName) []*pb.GatewayName {
	var out []*pb.GatewayName
	for _, g := range list {
		out = append(out, &pb.GatewayName{Id: string(g.ID), Name: g.Name})
	}
	return out
}

func toNames(list []*pb.GatewayName) []GatewayName {
	out := []GatewayName{} // in JSON an empty list, not null
	for _, m := range list {
		out = append(out, GatewayName{gateway.ID(m.GetId()), m.GetName()})
	}
	return out
}

func instant(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func span(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func fromAge(a vpn.Age) *float64 {
	if a < 0 {
		return nil
	}
	s := math.Round(time.Duration(a).Seconds()*1e3) / 1e3
	return &s
}

func toAge(s *float64) vpn.Age {
	if s == nil || !(*s >= 0 && *s < 1e9) {
		return vpn.Never
	}
	return vpn.Age(math.Round(*s*1e3)) * vpn.Age(time.Millisecond)
}
