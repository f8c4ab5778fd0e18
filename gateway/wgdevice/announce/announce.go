// Package announce tells the neighbours on an Ethernet segment that an address is
// now at another machine: by an unsolicited ARP reply (RFC 5227) or an unsolicited
// neighbour advertisement (RFC 4861, section 7.2.6).
package announce

import (
	"encoding/binary"
	"net/netip"
)

// MACLen is the length of an Ethernet address in bytes.
const MACLen = 6

// Numbers of the frames below.
const (
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
	protoICMP = 58 // in IPv6
)

// Frame is the Ethernet frame that tells a segment that addr is now at
// mac: an unsolicited ARP reply, or an unsolicited neighbour advertisement.
func Frame(addr netip.Addr, mac [MACLen]byte, router bool) []byte {
	if addr.Is4() {
		return arpReply(addr, mac)
	}
	return advertisement(addr, mac, router)
}

// arpReply names mac as the target as well. Linux takes an unsolicited reply for
// an announcement only in that form; otherwise it may ignore one that comes
// within a second of the last change.
func arpReply(addr netip.Addr, mac [MACLen]byte) []byte {
	ip := addr.As4()
	b := ether([MACLen]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, etherARP)
	b = append(b, 0, 1, 8, 0, MACLen, 4, 0, 2) // Ethernet, IPv4, reply
	b = append(b, mac[:]...)
	b = append(b, ip[:]...)
	b = append(b, mac[:]...)
	return append(b, ip[:]...)
}

// advertisement has the override flag, and the router flag if the sender is one:
// without it, neighbours would drop their routes through it.
func advertisement(addr netip.Addr, mac [MACLen]byte, router bool) []byte {
	src, dst := addr.As16(), netip.IPv6LinkLocalAllNodes().As16()
	flags := byte(0x20)
	if router {
		flags |= 0x80
	}
	icmp := []byte{136, 0, 0, 0, flags, 0, 0, 0}
	icmp = append(icmp, src[:]...)
	icmp = append(icmp, 2, 1) // target link-layer address, in units of 8 bytes
	icmp = append(icmp, mac[:]...)

	pseudo := append(append([]byte{}, src[:]...), dst[:]...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(icmp)))
	pseudo = append(pseudo, 0, 0, 0, protoICMP)
	binary.BigEndian.PutUint16(icmp[2:], checksum(append(pseudo, icmp...)))

	b := ether([MACLen]byte{0x33, 0x33, 0, 0, 0, 1}, mac, etherIPv6)
	b = append(b, 6<<4, 0, 0, 0, 0, byte(len(icmp)), protoICMP, 255)
	b = append(b, src[:]...)
	b = append(b, dst[:]...)
	return append(b, icmp...)
}

// ether is a frame's header.
func ether(to, from [MACLen]byte, kind uint16) []byte {
	b := make([]byte, 0, 128)
	b = append(b, to[:]...)
	b = append(b, from[:]...)
	return binary.BigEndian.AppendUint16(b, kind)
}

// checksum is the one of the Internet protocols; the length of b is even.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
