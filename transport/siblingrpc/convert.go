package siblingrpc

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/internal/span"
	"github.com/holdfastvpn/holdfast/transport/internal/wire"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const (
	maxMessage = 1 << 20 // bytes
	maxOwns    = 1024
	maxID      = 255 // bytes
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

// maxWall is the last microsecond of the year 9999, since 1970.
const maxWall = 253402300799999999

// toReading returns nothing for a clock that tells nothing, or shows a time before 1970.
func toReading(r gateway.Reading, now time.Time) *pb.Reading {
	if r.Wall.IsZero() || r.Wall.UnixMicro() <= 0 {
		return nil
	}
	return &pb.Reading{Wall: min(uint64(r.Wall.UnixMicro()), maxWall), Age: span.Age(r.At, now), Synchronised: r.Synced}
}

// fromReading has it as of now, when it was sent.
func fromReading(m *pb.Reading, now time.Time) gateway.Reading {
	if m.GetWall() == 0 {
		return gateway.Reading{}
	}
	return gateway.Reading{Wall: time.UnixMicro(int64(min(m.GetWall(), maxWall))), At: span.Instant(m.GetAge(), now), Synced: m.GetSynchronised()}
}

// toOwns returns the bytes of addresses; one that is none, or has too long a zone, has
// none.
func toOwns(list []netip.Addr) [][]byte {
	out := make([][]byte, min(len(list), maxOwns))
	for i := range out {
		if b, err := list[i].MarshalBinary(); err == nil && len(b) <= wire.MaxEndpoint {
			out[i] = b
		}
	}
	return out
}

func fromOwns(list [][]byte) ([]netip.Addr, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make([]netip.Addr, len(list))
	for i, b := range list {
		if err := out[i].UnmarshalBinary(b); err != nil {
			return nil, fmt.Errorf("%w: an address of %d bytes is none", ErrInvalid, len(b))
		}
	}
	return out, nil
}

// column makes a column of what get tells of each row, or none if all of it is zero.
func column(list []gateway.Sighting, get func(*gateway.Sighting) uint64) []uint64 {
	var out []uint64
	for i := range list {
		v := get(&list[i])
		if out == nil && v != 0 {
			out = make([]uint64, len(list))
		}
		if v != 0 {
			out[i] = v
		}
	}
	return out
}

// toSightings makes columns of sightings. Who saw the peers is not among them: it is
// who sends.
func toSightings(list []gateway.Sighting, now time.Time) *pb.Sightings {
	if len(list) == 0 {
		return nil
	}
	m := &pb.Sightings{
		Keys:      make([]byte, 0, len(list)*wgkey.Size),
		Heard:     column(list, func(s *gateway.Sighting) uint64 { return span.Age(s.Heard, now) }),
		Handshake: column(list, func(s *gateway.Sighting) uint64 { return span.Age(s.Handshake, now) }),
		Rx:        column(list, func(s *gateway.Sighting) uint64 { return s.Rx }),
		Tx:        column(list, func(s *gateway.Sighting) uint64 { return s.Tx }),
	}
	some := false
	ends := make([]byte, 0, len(list)*(1+16+2))
	for i := range list {
		m.Keys = append(m.Keys, list[i].Key[:]...)
		before := len(ends)
		ends = appendEndpoint(ends, list[i].Endpoint)
		some = some || len(ends) > before+1
	}
	if some {
		m.Endpoints = ends
	}
	return m
}

// appendEndpoint appends an endpoint with its length before it.
func appendEndpoint(b []byte, e netip.AddrPort) []byte {
	at := len(b)
	b = wire.AppendEndpoint(append(b, 0), e)
	b[at] = byte(len(b) - at - 1)
	return b
}

// cutEndpoint reads what appendEndpoint wrote, and returns what follows it.
func cutEndpoint(b []byte) (e netip.AddrPort, rest []byte, err error) {
	if len(b) == 0 || int(b[0]) > wire.MaxEndpoint || int(b[0]) >= len(b) {
		return e, nil, fmt.Errorf("%w: endpoints break off", ErrInvalid)
	}
	n := 1 + int(b[0])
	if e, err = wire.ParseEndpoint(b[1:n]); err != nil {
		return e, nil, fmt.Errorf("%w: an endpoint of %d bytes is none", ErrInvalid, n-1)
	}
	return e, b[n:], nil
}

// rows says of how many peers columns are, if they fit together.
func rows(m *pb.Sightings) (int, error) {
	n := len(m.GetKeys()) / wgkey.Size
	if len(m.GetKeys())%wgkey.Size != 0 {
		return 0, fmt.Errorf("%w: keys of %d bytes", ErrInvalid, len(m.GetKeys()))
	}
	for _, c := range [][]uint64{m.GetHeard(), m.GetHandshake(), m.GetRx(), m.GetTx()} {
		if len(c) != 0 && len(c) != n {
			return 0, fmt.Errorf("%w: %d values of %d peers", ErrInvalid, len(c), n)
		}
	}
	return n, nil
}

// appendSightings adds what by saw, as of the instant when it was sent.
func appendSightings(list []gateway.Sighting, m *pb.Sightings, by gateway.ID, sent time.Time) ([]gateway.Sighting, error) {
	n, err := rows(m)
	if err != nil {
		return nil, err
	}
	at := len(list)
	list = append(list, make([]gateway.Sighting, n)...)
	ends := m.GetEndpoints()
	cell := func(c []uint64, i int) uint64 {
		if len(c) == 0 {
			return 0
		}
		return c[i]
	}
	for i := range n {
		s := &list[at+i]
		copy(s.Key[:], m.GetKeys()[i*wgkey.Size:])
		s.By, s.Rx, s.Tx = by, cell(m.GetRx(), i), cell(m.GetTx(), i)
		s.Heard, s.Handshake = span.Instant(cell(m.GetHeard(), i), sent), span.Instant(cell(m.GetHandshake(), i), sent)
		if len(m.GetEndpoints()) > 0 {
			if s.Endpoint, ends, err = cutEndpoint(ends); err != nil {
				return nil, err
			}
		}
	}
	if len(ends) > 0 {
		return nil, fmt.Errorf("%w: more endpoints than peers", ErrInvalid)
	}
	return list, nil
}

// toMissing returns the names of gateways; those that are too long are left out.
func toMissing(list []gateway.ID) (out []string) {
	for _, id := range list[:min(len(list), maxOwns)] {
		if len(id) <= maxID {
			out = append(out, string(id))
		}
	}
	return out
}

func fromMissing(list []string) (out []gateway.ID) {
	for _, id := range list {
		out = append(out, gateway.ID(id))
	}
	return out
}
