package snapshot

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// reader takes apart what a writer wrote. After the first thing that is wrong it
// is bad, and returns zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() {
	r.b, r.bad = nil, true
}

// uint reads a number of at most so many bits, written in the one way there is.
func (r *reader) uint(most int) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || bits.Len64(v) > most || n > 1 && r.b[n-1] == 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	u := r.uint(64)
	v := int64(u >> 1)
	if u&1 != 0 {
		v = ^v
	}
	return v
}

func (r *reader) bool() bool { return r.uint(1) == 1 }

// length reads how many things follow that have at least so many bytes each.
func (r *reader) length(least int) int {
	n := r.uint(32)
	if n > uint64(len(r.b)/least) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) bytes(n int) []byte {
	if len(r.b) < n {
		r.fail()
		return make([]byte, n)
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) text() string { return string(r.bytes(r.length(1))) }

func (r *reader) siblings() []gateway.Sibling {
	const least = 2 // bytes of one
	n := r.length(least)
	if n == 0 {
		return nil
	}
	out := make([]gateway.Sibling, n)
	for i := range out {
		out[i] = gateway.Sibling{ID: gateway.ID(r.text()), Addr: r.text()}
	}
	return out
}

func (r *reader) key() (k [wgkey.Size]byte) {
	if r.bool() {
		copy(k[:], r.bytes(wgkey.Size))
		if k == [wgkey.Size]byte{} {
			r.fail()
		}
	}
	return k
}

func (r *reader) addr() netip.Addr {
	switch n := r.uint(8); n {
	case 0:
	case 4:
		return netip.AddrFrom4([4]byte(r.bytes(4)))
	case 16:
		return netip.AddrFrom16([16]byte(r.bytes(16)))
	default:
		r.fail()
	}
	return netip.Addr{}
}

func (r *reader) prefixes() []netip.Prefix {
	n := r.length(2)
	if n == 0 {
		return nil
	}
	out := make([]netip.Prefix, n)
	for i := range out {
		a, length := r.addr(), int(r.uint(8))-1
		out[i] = netip.PrefixFrom(a, length)
		if out[i].IsValid() != (length >= 0) { // invalid ones are written as such
			r.fail()
		}
	}
	return out
}

func (r *reader) addrs() []netip.Addr {
	n := r.length(1)
	if n == 0 {
		return nil
	}
	out := make([]netip.Addr, n)
	for i := range out {
		if err := out[i].UnmarshalBinary(r.bytes(r.length(1))); err != nil {
			r.fail()
		}
	}
	return out
}

func (r *reader) port() (e netip.AddrPort) {
	if err := e.UnmarshalBinary(r.bytes(r.length(1))); err != nil {
		r.fail()
	}
	return e
}
