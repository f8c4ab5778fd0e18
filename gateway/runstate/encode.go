package runstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// A file is a line that names the format and its version, a checksum of what
// follows, and the fields in the order of this file: numbers as varints, lists and
// text with their lengths ahead. A change of it is a new version: a gateway that was
// upgraded starts with what devices tell, as after a boot.
const (
	head  = "holdfast heard 1\n"
	names = "holdfast heard "
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// What a peer has beside its counters.
const (
	hasHeard = 1 << iota
	hasConfirmed
	hasGone
	hasHandshake
	isTold

	hasAll = 1<<iota - 1
)

func encode(id gateway.ID, m gateway.Remembered) []byte {
	b := make([]byte, 0, 256+112*len(m.Peers))
	b = append(b, head...)
	b = append(b, 0, 0, 0, 0)
	b = text(b, string(id))
	b = text(b, string(m.Location))
	b = text(b, m.Boot)
	b = binary.AppendVarint(b, int64(m.At))
	b = binary.AppendUvarint(b, uint64(len(m.Peers)))
	for i := range m.Peers {
		b = peer(b, &m.Peers[i])
	}
	binary.BigEndian.PutUint32(b[len(head):], checksum(b[len(head)+4:]))
	return b
}

func text(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }

func peer(b []byte, p *gateway.RememberedPeer) []byte {
	b = append(b, p.Key[:]...)
	flags := len(b)
	b = append(b, 0)
	for i, at := range []time.Duration{p.Heard, p.Confirmed, p.Gone} {
		if at != gateway.Never {
			b[flags] |= 1 << i
			b = binary.AppendVarint(b, int64(at))
		}
	}
	if !p.Handshake.IsZero() {
		b[flags] |= hasHandshake
		b = binary.AppendVarint(b, p.Handshake.Unix())
		b = binary.AppendUvarint(b, uint64(p.Handshake.Nanosecond()))
	}
	if p.Told {
		b[flags] |= isTold
	}
	for _, n := range []uint64{p.Rx, p.Tx, p.DeviceRx, p.DeviceTx} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func decode(id gateway.ID, at gateway.LocationID, b []byte) (gateway.Remembered, error) {
	none := gateway.Remembered{}
	if len(b) < len(head)+4 || string(b[:len(head)]) != head {
		if line, _, ok := strings.Cut(string(b[:min(len(b), 40)]), "\n"); ok && strings.HasPrefix(line, names) {
			return none, fmt.Errorf("it is of version %.20q, and this software reads 1", line[len(names):])
		}
		return none, errors.New("it is none of ours, or damaged")
	}
	b = b[len(head):]
	if binary.BigEndian.Uint32(b) != checksum(b[4:]) {
		return none, errors.New("it is damaged")
	}
	r := reader{b: b[4:]}
	if r.text() != string(id) || r.text() != string(at) {
		return none, errors.New("it is of another gateway or location")
	}
	m := gateway.Remembered{Location: at, Boot: r.text(), At: time.Duration(r.int())}
	const least = wgkey.Size + 5 // bytes of a peer
	n := r.uint()
	if n > uint64(len(r.b)/least) {
		r.fail()
		n = 0
	}
	m.Peers = make([]gateway.RememberedPeer, n)
	for i := range m.Peers {
		r.peer(&m.Peers[i])
		if i > 0 && m.Peers[i-1].Key.Compare(m.Peers[i].Key) >= 0 {
			r.fail()
		}
	}
	if r.bad || len(r.b) > 0 {
		return none, errors.New("what is in it makes no sense")
	}
	return m, nil
}

// reader takes apart what encode wrote. After the first thing that is wrong it is
// bad, and returns zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

// uint reads a number that is written in the one way there is.
func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	u := r.uint()
	v := int64(u >> 1)
	if u&1 != 0 {
		v = ^v
	}
	return v
}

func (r *reader) bytes(n uint64) []byte {
	if uint64(len(r.b)) < n {
		r.fail()
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) text() string { return string(r.bytes(r.uint())) }

func (r *reader) peer(p *gateway.RememberedPeer) {
	copy(p.Key[:], r.bytes(wgkey.Size))
	var flags byte
	if one := r.bytes(1); one != nil {
		flags = one[0]
	}
	if flags&^hasAll != 0 {
		r.fail()
	}
	for i, at := range []*time.Duration{&p.Heard, &p.Confirmed, &p.Gone} {
		*at = gateway.Never
		if flags&(1<<i) == 0 {
			continue
		}
		if *at = time.Duration(r.int()); *at == gateway.Never {
			r.fail()
		}
	}
	if flags&hasHandshake != 0 {
		seconds, nanos := r.int(), r.uint()
		p.Handshake = time.Unix(seconds, int64(nanos%uint64(time.Second)))
		if nanos >= uint64(time.Second) || bits.Len64(uint64(max(seconds, -seconds))) > 40 || p.Handshake.IsZero() {
			r.fail()
		}
	}
	p.Told = flags&isTold != 0
	for _, n := range []*uint64{&p.Rx, &p.Tx, &p.DeviceRx, &p.DeviceTx} {
		*n = r.uint()
	}
}
