//go:build linux

package wgdevice

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

const (
	// batchSize is how many packets the library gives and takes at once.
	batchSize = conn.IdealBatchSize
	// controlSize has room for the control messages of a packet: where it came
	// in or leaves, and the size of the pieces.
	controlSize = 128
	// maxDatagram is as much as IPv4 takes, in bytes.
	maxDatagram = 65507
	// maxPieces is how many packets every kernel takes as pieces of one.
	maxPieces = 64
)

// mmsghdr is one datagram of a batch, as sendmmsg(2) and recvmmsg(2) want it.
type mmsghdr struct {
	unix.Msghdr

	len uint32 // how many bytes came
}

// mmsg calls recvmmsg or sendmmsg, and returns how many datagrams came or went.
func mmsg(call, fd uintptr, datagrams []mmsghdr) (int, unix.Errno) {
	for {
		n, _, errno := unix.Syscall6(call, fd,
			uintptr(unsafe.Pointer(&datagrams[0])), //nolint:gosec // there is no other way to make this call
			uintptr(len(datagrams)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// point has v be the buffer.
func point(v *unix.Iovec, buffer []byte) {
	v.Base = nil
	if len(buffer) > 0 {
		v.Base = &buffer[0]
	}
	v.SetLen(len(buffer))
}

// putPieces writes the control message by which the kernel cuts a datagram into
// pieces of a size in bytes (UDP_SEGMENT), and returns how long that is.
func putPieces(b []byte, size int) int {
	e := binary.NativeEndian
	n := unix.CmsgLen(2)
	if unix.SizeofCmsghdr == 16 { // struct cmsghdr begins with a size_t
		e.PutUint64(b, uint64(n))
	} else {
		e.PutUint32(b, uint32(n))
	}
	kind := b[unix.SizeofCmsghdr-8:]
	e.PutUint32(kind, unix.SOL_UDP)
	e.PutUint32(kind[4:], unix.UDP_SEGMENT)
	e.PutUint16(b[unix.CmsgLen(0):], uint16(size))
	return unix.CmsgSpace(2)
}

// readControl reads the control messages that came with a datagram: where it
// came in, and the size of its pieces in bytes, 0 if it is one packet.
func readControl(control []byte) (at arrival, pieces int) {
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			break
		}
		switch {
		case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			// struct in_pktinfo: link, address to answer from, address in the packet
			at = arrival{netip.AddrFrom4([4]byte(data[4:8])), binary.NativeEndian.Uint32(data)}
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			// struct in6_pktinfo: address in the packet, link
			at = arrival{netip.AddrFrom16([16]byte(data[:16])), binary.NativeEndian.Uint32(data[16:])}
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			pieces = int(binary.NativeEndian.Uint32(data))
		}
		control = rest
	}
	if at.src.IsUnspecified() || at.src.IsMulticast() {
		at = arrival{}
	}
	return at, pieces
}
