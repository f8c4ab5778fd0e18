package gatewayrpc

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/transport/internal/span"
	"github.com/holdfastvpn/holdfast/transport/internal/wire"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// What crosses is what was said, right or wrong: whether a row makes sense, the
// gateway judges, which leaves out a bad one and applies the others. What is checked
// here is what could not be said at all.

const (
	maxPrefixes   = 16384 // of a peer
	maxAddrs      = 1024
	maxMasquerade = 4096
	maxReach      = 16384 // destinations
	maxFloating   = 16
	maxWhat       = 1024 // bytes, of the words for a problem
	maxText       = 255  // bytes, of other texts
)

func toRevision(r gateway.Revision) *pb.Revision {
	if r.IsZero() {
		return nil
	}
	return &pb.Revision{Epoch: r.Epoch, Number: r.Number}
}

func fromRevision(m *pb.Revision) gateway.Revision {
	return gateway.Revision{Epoch: m.GetEpoch(), Number: m.GetNumber()}
}

func fromKey(b []byte) (k [wgkey.Size]byte, err error) {
	if len(b) != wgkey.Size && len(b) != 0 {
		return k, fmt.Errorf("%w: a key of %d bytes", ErrInvalid, len(b))
	}
	copy(k[:], b)
	return k, nil
}

// secret returns the bytes of a key that is not zero.
func secret(k interface {
	IsZero() bool
	Reveal() [wgkey.Size]byte
},
) []byte {
	if k.IsZero() {
		return nil
	}
	b := k.Reveal()
	return b[:]
}

// toPrefixes writes all prefixes behind one another, and returns where each one is. One
// that is none has no bytes.
func toPrefixes(list []netip.Prefix) [][]byte {
	if len(list) == 0 {
		return nil
	}
	out := make([][]byte, len(list))
	mem := make([]byte, 0, prefixSize(list))
	for i, p := range list {
		at := len(mem)
		if p.IsValid() {
			mem, _ = p.AppendBinary(mem) // never fails
		}
		out[i] = mem[at:len(mem):len(mem)]
	}
	return out
}

func prefixSize(list []netip.Prefix) (n int) {
	for _, p := range list {
		n += p.Addr().BitLen()/8 + 1
	}
	return n
}

func fromPrefixes(list [][]byte) ([]netip.Prefix, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make([]netip.Prefix, len(list))
	for i, b := range list {
		if len(b) == 0 {
			continue
		}
		if err := out[i].UnmarshalBinary(b); err != nil || !out[i].IsValid() {
			return nil, fmt.Errorf("%w: a prefix of %d bytes is none", ErrInvalid, len(b))
		}
	}
	return out, nil
}

// toAddrs takes addresses that 4 or 16 bytes can say; field is for the error.
func toAddrs(field string, list []netip.Addr) ([][]byte, error) {
	var out [][]byte
	for i, a := range list {
		if !a.IsValid() || a.Zone() != "" {
			return nil, fmt.Errorf("%w: %s[%d] is %v: no bytes say that", ErrInvalid, field, i, a)
		}
		out = append(out, a.AsSlice())
	}
	return out, nil
}

func fromAddrs(field string, list [][]byte) ([]netip.Addr, error) {
	var out []netip.Addr
	for i, b := range list {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return nil, fmt.Errorf("%w: %s[%d] of %d bytes is no address", ErrInvalid, field, i, len(b))
		}
		out = append(out, a)
	}
	return out, nil
}

func fromEndpoint(b []byte) (netip.AddrPort, error) {
	e, err := wire.ParseEndpoint(b)
	if err != nil {
		return e, fmt.Errorf("%w: an endpoint of %d bytes is none", ErrInvalid, len(b))
	}
	return e, nil
}

func toInterface(i *gateway.Interface) (*pb.Interface, error) {
	switch {
	case i == nil:
		return nil, nil
	case len(i.Addrs) > maxAddrs || len(i.Masquerade) > maxMasquerade || len(i.Destinations) > maxReach:
		return nil, fmt.Errorf("%w: an interface with %d addresses, %d masqueraded prefixes and %d destinations",
			ErrTooLarge, len(i.Addrs), len(i.Masquerade), len(i.Destinations))
	case len(i.Floating) > maxFloating || len(i.Inner) > maxFloating:
		return nil, fmt.Errorf("%w: an interface with %d floating addresses and %d inner ones, more than %d",
			ErrTooLarge, len(i.Floating), len(i.Inner), maxFloating)
	}
	floating, err := toAddrs("Floating", i.Floating)
	if err != nil {
		return nil, err
	}
	inner, err := toAddrs("Inner", i.Inner)
	if err != nil {
		return nil, err
	}
	return &pb.Interface{
		Key: secret(i.Key), Port: uint32(i.Port), Addrs: toPrefixes(i.Addrs), Mtu: int64(i.MTU), Mark: i.Mark,
		Masquerade: toPrefixes(i.Masquerade), Destinations: toPrefixes(i.Destinations), Isolated: i.Isolated,
		Floating: floating, Inner: inner, Carried: i.Carried,
	}, nil
}

func fromInterface(m *pb.Interface) (*gateway.Interface, error) {
	if m == nil {
		return nil, nil
	}
	key, err := fromKey(m.GetKey())
	if err != nil {
		return nil, err
	}
	if m.GetPort() > math.MaxUint16 || m.GetMtu() != int64(int(m.GetMtu())) {
		return nil, fmt.Errorf("%w: an interface with port %d and MTU %d", ErrInvalid, m.GetPort(), m.GetMtu())
	}
	i := &gateway.Interface{
		Key: wgkey.PrivateFrom(key), Port: uint16(m.GetPort()), MTU: int(m.GetMtu()), Mark: m.GetMark(), Isolated: m.GetIsolated(),
		Carried: m.GetCarried(),
	}
	if i.Addrs, err = fromPrefixes(m.GetAddrs()); err != nil {
		return nil, err
	}
	if i.Masquerade, err = fromPrefixes(m.GetMasquerade()); err != nil {
		return nil, err
	}
	if i.Destinations, err = fromPrefixes(m.GetDestinations()); err != nil {
		return nil, err
	}
	if i.Floating, err = fromAddrs("Floating", m.GetFloating()); err != nil {
		return nil, err
	}
	i.Inner, err = fromAddrs("Inner", m.GetInner())
	return i, err
}

func toPeer(m *pb.Peer, p *gateway.Peer) error {
	if len(p.AllowedIPs) > maxPrefixes {
		return fmt.Errorf("%w: peer %v with %d prefixes, more than %d", ErrTooLarge, p.Key, len(p.AllowedIPs), maxPrefixes)
	}
	m.Key, m.Preshared = p.Key[:], secret(p.Preshared)
	m.AllowedIps, m.Endpoint = toPrefixes(p.AllowedIPs), wire.AppendEndpoint(nil, p.Endpoint)
	m.Keepalive = int64(p.Keepalive / time.Second)
	return nil
}

func fromPeer(p *gateway.Peer, m *pb.Peer) (err error) {
	if p.Key, err = fromKey(m.GetKey()); err != nil {
		return err
	}
	preshared, err := fromKey(m.GetPreshared())
	if err != nil {
		return err
	}
	if len(m.GetPreshared()) > 0 {
		p.Preshared = wgkey.PresharedFrom(preshared)
	}
	const most = int64(math.MaxInt64 / time.Second)
	if s := m.GetKeepalive(); s > most || s < -most {
		return fmt.Errorf("%w: a keepalive of %d s", ErrInvalid, s)
	}
	p.Keepalive = time.Duration(m.GetKeepalive()) * time.Second
	if p.AllowedIPs, err = fromPrefixes(m.GetAllowedIps()); err != nil {
		return err
	}
	p.Endpoint, err = fromEndpoint(m.GetEndpoint())
	return err
}

func toProblem(p *gateway.Problem, now time.Time) *pb.Problem {
	m := &pb.Problem{What: text(p.What, maxWhat), Age: span.Age(p.At, now)}
	if !p.Key.IsZero() {
		m.Key = p.Key[:]
	}
	return m
}

func fromProblem(m *pb.Problem, sent time.Time) (gateway.Problem, error) {
	key, err := fromKey(m.GetKey())
	return gateway.Problem{Key: key, What: m.GetWhat(), At: span.Instant(m.GetAge(), sent)}, err
}

func toSighting(m *pb.Sighting, s *gateway.Sighting, by gateway.ID, now time.Time) {
	m.Key, m.Endpoint, m.Rx, m.Tx = s.Key[:], wire.AppendEndpoint(nil, s.Endpoint), s.Rx, s.Tx
	m.Heard, m.Handshake = span.Age(s.Heard, now), span.Age(s.Handshake, now)
	if s.By != by {
		other := text(string(s.By), maxText)
		m.By = &other
	}
}

func fromSighting(s *gateway.Sighting, m *pb.Sighting, by string, sent time.Time) (err error) {
	if s.Key, err = fromKey(m.GetKey()); err != nil {
		return err
	}
	if m.By != nil {
		by = m.GetBy()
	}
	s.By, s.Rx, s.Tx = gateway.ID(by), m.GetRx(), m.GetTx()
	s.Heard, s.Handshake = span.Instant(m.GetHeard(), sent), span.Instant(m.GetHandshake(), sent)
	s.Endpoint, err = fromEndpoint(m.GetEndpoint())
	return err
}

// text cuts s to a number of bytes, and leaves out what is no UTF-8.
func text(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "")
}
