package wgmodel

import (
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Sizes of WireGuard's messages, in bytes.
const (
	sizeInitiation = 148
	sizeResponse   = 92
	sizeData       = 32 // and what is inside, padded to 16
)

// packet is a datagram on its way.
type packet struct {
	from, to netip.AddrPort
	body     any // *initiation, *response or *data
}

// initiation begins a handshake.
type initiation struct {
	id       uint64       // by which its response finds it
	from, to wgkey.Public // whose: nobody else than to can read it
	stamp    int64
}

// response ends a handshake, for the responder.
type response struct {
	to        uint64 // the initiation
	session   uint64 // that comes of it
	preshared wgkey.Preshared
}

// data is what passes in a session.
type data struct {
	session uint64
	inner   *inner // nil: a keepalive
}

func (d *data) size() uint64 {
	if d.inner == nil {
		return sizeData
	}
	return sizeData + uint64(d.inner.size+15)/16*16
}

// inner is a packet inside the tunnel.
type inner struct {
	size  int
	sent  time.Time // what it answers, for an answer
	reply bool
}

// grain is what the kernel rounds a stamp down to, so that it tells less of the
// clock: the largest power of two in 20 ms.
const grain = int64(1) << 24

// stampOf is the stamp of an initiation that is made at an instant of a machine's
// clock.
func stampOf(clock time.Time) int64 { return clock.UnixNano() &^ (grain - 1) }
