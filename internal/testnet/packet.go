package testnet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// describe says in one line what a packet is: kind is its EtherType, b begins
// with its network header and may be cut off. It never fails: what it does not
// know it gives by number and length.
func describe(kind uint16, b []byte) string {
	switch {
	case kind == etherARP:
		return describeARP(b)
	case kind == etherIPv4 && len(b) >= 20 && b[0]>>4 == 4:
		return describeIPv4(b)
	case kind == etherIPv6 && len(b) >= 40 && b[0]>>4 == 6:
		return describeIPv6(b)
	default:
		return fmt.Sprintf("EtherType %#04x, %d bytes", kind, len(b))
	}
}

// Lengths and numbers of what is described.
const (
	macLen    = 6
	etherLen  = 14
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
	protoICMP = 58 // in IPv6
)

func describeARP(b []byte) string {
	if len(b) < 28 || b[4] != macLen || b[5] != 4 {
		return fmt.Sprintf("ARP, %d bytes", len(b))
	}
	sender, target := netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
	switch op := binary.BigEndian.Uint16(b[6:]); {
	case sender == target:
		return fmt.Sprintf("ARP %v is at %s (announced)", sender, mac(b[8:14]))
	case op == 1:
		return fmt.Sprintf("ARP who has %v? tell %v", target, sender)
	case op == 2:
		return fmt.Sprintf("ARP %v is at %s", sender, mac(b[8:14]))
	default:
		return fmt.Sprintf("ARP operation %d from %v", op, sender)
	}
}

func mac(b []byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5])
}

func describeIPv4(b []byte) string {
	head, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	src, dst := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	if head < 20 || head > len(b) || total < head {
		return fmt.Sprintf("%v > %v IPv4, bad header", src, dst)
	}
	if offset := binary.BigEndian.Uint16(b[6:]) & 0x1fff; offset > 0 {
		return fmt.Sprintf("%v > %v fragment of protocol %d at %d, %d bytes", src, dst, b[9], int(offset)*8, total-head)
	}
	return segment{src, dst, b[9], total - head, b[head:min(total, len(b))]}.describe()
}

func describeIPv6(b []byte) string {
	src, dst := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	s := segment{src, dst, b[6], int(binary.BigEndian.Uint16(b[4:])), b[40:]}
	if s.protocol == 0 && len(s.body) >= 8 { // options for every hop come first
		skip := 8 + 8*int(s.body[1])
		s.protocol, s.size, s.body = s.body[0], s.size-skip, s.body[min(skip, len(s.body)):]
	}
	return s.describe()
}

// segment is what an IP header carries; body may be shorter than size.
type segment struct {
	src, dst netip.Addr
	protocol byte
	size     int
	body     []byte
}

func (s segment) describe() string {
	b := s.body
	switch {
	case s.protocol == 17 && len(b) >= 8:
		return fmt.Sprintf("%s UDP %d%s", s.ports(), s.size-8, describeUDP(s.size-8, b[8:]))
	case s.protocol == 6 && len(b) >= 20:
		return fmt.Sprintf("%s TCP %d %s", s.ports(), s.size-int(b[12]>>4)*4, flags(b[13]))
	case s.protocol == 1 && s.src.Is4() && len(b) >= 2:
		return fmt.Sprintf("%v > %v ICMP %s", s.src, s.dst, describeICMP(b))
	case s.protocol == protoICMP && s.src.Is6() && len(b) >= 2:
		return fmt.Sprintf("%v > %v ICMPv6 %s", s.src, s.dst, describeICMPv6(b))
	default:
		return fmt.Sprintf("%v > %v protocol %d, %d bytes", s.src, s.dst, s.protocol, s.size)
	}
}

// ports is both ends of a UDP or TCP segment.
func (s segment) ports() string {
	return fmt.Sprintf("%v > %v",
		netip.AddrPortFrom(s.src, binary.BigEndian.Uint16(s.body)),
		netip.AddrPortFrom(s.dst, binary.BigEndian.Uint16(s.body[2:])))
}

// describeUDP knows WireGuard by type and length, and our own probes. b may be
// cut off; size is the true length.
func describeUDP(size int, b []byte) string {
	if size == datagram && len(b) >= datagram && string(b[:4]) == magic {
		return fmt.Sprintf(" probe #%d", binary.BigEndian.Uint64(b[4:]))
	}
	if len(b) < 16 || b[1]|b[2]|b[3] != 0 {
		return ""
	}
	first, second := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
	switch counter := binary.LittleEndian.Uint64(b[8:]); {
	case b[0] == 1 && size == 148:
		return fmt.Sprintf(" WireGuard initiation from %08x", first)
	case b[0] == 2 && size == 92:
		return fmt.Sprintf(" WireGuard response from %08x to %08x", first, second)
	case b[0] == 3 && size == 64:
		return fmt.Sprintf(" WireGuard cookie to %08x", first)
	case b[0] == 4 && size == 32:
		return fmt.Sprintf(" WireGuard keepalive to %08x #%d", first, counter)
	case b[0] == 4 && size > 32 && size%16 == 0:
		return fmt.Sprintf(" WireGuard data to %08x #%d", first, counter)
	default:
		return ""
	}
}

// flags are the TCP flags that tell what a segment is for.
func flags(b byte) string {
	var on []string
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK"} {
		if b>>i&1 == 1 {
			on = append(on, name)
		}
	}
	return strings.Join(on, " ")
}

func describeICMP(b []byte) string {
	switch b[0] {
	case 0:
		return "echo reply"
	case 3:
		return fmt.Sprintf("unreachable, code %d", b[1])
	case 5:
		return "redirect"
	case 8:
		return "echo request"
	case 11:
		return "time exceeded"
	default:
		return fmt.Sprintf("type %d, code %d", b[0], b[1])
	}
}

func describeICMPv6(b []byte) string {
	switch b[0] {
	case 1:
		return fmt.Sprintf("unreachable, code %d", b[1])
	case 2:
		return "packet too big"
	case 3:
		return "time exceeded"
	case 128:
		return "echo request"
	case 129:
		return "echo reply"
	case 135, 136:
		return describeNeighbour(b)
	case 143:
		return "multicast report"
	default:
		return fmt.Sprintf("type %d, code %d", b[0], b[1])
	}
}

// describeNeighbour is for neighbour solicitations and advertisements.
func describeNeighbour(b []byte) string {
	if len(b) < 24 {
		return fmt.Sprintf("neighbour message %d, cut off", b[0])
	}
	target := netip.AddrFrom16([16]byte(b[8:24]))
	if b[0] == 135 {
		return fmt.Sprintf("who has %v?", target)
	}
	text := fmt.Sprintf("%v is here", target)
	if len(b) >= 32 && b[24] == 2 {
		text = fmt.Sprintf("%v is at %s", target, mac(b[26:32]))
	}
	if b[4]&0x40 == 0 {
		text += " (announced)"
	}
	return text
}
