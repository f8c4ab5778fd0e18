package wire

import (
	"net/netip"
	"slices"
)

// MaxEndpoint is how many bytes of an endpoint cross, zone included.
const MaxEndpoint = 64

// AppendEndpoint appends the bytes of an endpoint: none for the zero one, and for one
// whose zone is too long.
func AppendEndpoint(b []byte, e netip.AddrPort) []byte {
	if e == (netip.AddrPort{}) {
		return b
	}
	at := len(b)
	b, err := e.AppendBinary(slices.Grow(b, e.Addr().BitLen()/8+2))
	if err != nil || len(b)-at > MaxEndpoint {
		return b[:at]
	}
	return b
}

// ParseEndpoint reads what AppendEndpoint wrote. No bytes are the zero endpoint; the
// error says nothing of what was there.
func ParseEndpoint(b []byte) (e netip.AddrPort, err error) {
	if len(b) > 0 {
		err = e.UnmarshalBinary(b)
	}
	return e, err
}
