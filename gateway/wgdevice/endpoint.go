//go:build linux

package wgdevice

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// endpoint is where a peer is, and from where it is answered. Nothing changes in
// it but what is atomic, since the library hands it around.
type endpoint struct {
	dst netip.AddrPort // its zone is a number
	arrival

	name    sockname // dst for the kernel
	control []byte   // the source for the kernel; nil: none

	// The source is used while routes say so: checked is the state of theirs in
	// which it was found right.
	checked atomic.Uint64
	cleared atomic.Bool // for good
}

// arrival is where a packet came in: the address that was asked, not valid if
// nobody knows, and the link.
type arrival struct {
	src  netip.Addr // no zone: link is it
	link uint32
}

var _ conn.Endpoint = (*endpoint)(nil)

// newEndpoint makes the endpoint of a peer at dst, zone being the number of a
// link.
func newEndpoint(dst netip.AddrPort, zone uint32, from arrival) *endpoint {
	addr := dst.Addr().Unmap().WithZone("")
	if zone != 0 && addr.Is6() {
		addr = addr.WithZone(strconv.FormatUint(uint64(zone), 10))
	}
	dst = netip.AddrPortFrom(addr, dst.Port())
	return &endpoint{dst: dst, arrival: from, name: nameOf(dst, zone), control: from.control()}
}

// ClearSrc forgets the source, until a packet comes in.
func (e *endpoint) ClearSrc() { e.cleared.Store(true) }

// SrcIP is the address that answers leave from; it is not valid if the kernel
// shall choose.
func (e *endpoint) SrcIP() netip.Addr {
	if e.cleared.Load() {
		return netip.Addr{}
	}
	return e.src
}

// SrcToString is SrcIP as text, empty if there is none.
func (e *endpoint) SrcToString() string {
	if src := e.SrcIP(); src.IsValid() {
		return src.String()
	}
	return ""
}

// DstIP is the address of the peer.
func (e *endpoint) DstIP() netip.Addr { return e.dst.Addr() }

// DstToString is address and port of the peer.
func (e *endpoint) DstToString() string { return e.dst.String() }

// DstToBytes is different for each address and port.
func (e *endpoint) DstToBytes() []byte {
	b, _ := e.dst.MarshalBinary() // never fails
	return b
}

// control is the message that has the kernel send from there. The link is not
// part of it, unless the address needs one: routes decide where packets leave.
func (a arrival) control() []byte {
	switch {
	case !a.src.IsValid():
		return nil
	case a.src.Is4():
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: a.src.As4()})
	default:
		info := unix.Inet6Pktinfo{Addr: a.src.As16()}
		if a.src.IsLinkLocalUnicast() {
			info.Ifindex = a.link
		}
		return unix.PktInfo6(&info)
	}
}

// sockname is a struct sockaddr_in or sockaddr_in6: family, port, then the
// address, or flow, address and scope. What is not used is zero.
type sockname [unix.SizeofSockaddrInet6]byte

// nameOf is dst for the kernel.
func nameOf(dst netip.AddrPort, zone uint32) (n sockname) {
	binary.BigEndian.PutUint16(n[2:], dst.Port())
	if dst.Addr().Is4() {
		binary.NativeEndian.PutUint16(n[:], unix.AF_INET)
		addr := dst.Addr().As4()
		copy(n[4:], addr[:])
		return n
	}
	binary.NativeEndian.PutUint16(n[:], unix.AF_INET6)
	addr := dst.Addr().As16()
	copy(n[8:], addr[:])
	binary.NativeEndian.PutUint32(n[24:], zone)
	return n
}

// read takes the name apart; ok is false if it is of another family.
func (n *sockname) read() (dst netip.AddrPort, zone uint32, ok bool) {
	port := binary.BigEndian.Uint16(n[2:])
	switch binary.NativeEndian.Uint16(n[:]) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(n[4:8])), port), 0, true
	case unix.AF_INET6:
		zone = binary.NativeEndian.Uint32(n[24:])
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(n[8:24])), port), zone, true
	default:
		return netip.AddrPort{}, 0, false
	}
}

// size is how much of the name the kernel wants.
func (n *sockname) size() uint32 {
	if binary.NativeEndian.Uint16(n[:]) == unix.AF_INET {
		return unix.SizeofSockaddrInet4
	}
	return unix.SizeofSockaddrInet6
}

// slot is a number that differs between most names, for a table of a size that
// is a power of two.
func (n *sockname) slot(size uint32) uint32 {
	last := n[4:8]
	if binary.NativeEndian.Uint16(n[:]) == unix.AF_INET6 {
		last = n[20:24]
	}
	h := binary.BigEndian.Uint32(last)*31 + uint32(binary.BigEndian.Uint16(n[2:]))
	return h * 0x9e3779b1 >> 8 & (size - 1)
}
