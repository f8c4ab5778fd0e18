//go:build linux

package wgdevice

import (
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
)

// What unix and nl do not have of linux/netfilter/nfnetlink_conntrack.h,
// nf_conntrack_common.h and nf_conntrack_tcp.h.
const (
	ctaNATSrc = 6

	ctaNATv4Min = 1
	ctaNATv4Max = 2
	ctaNATProto = 3
	ctaNATv6Min = 4
	ctaNATv6Max = 5

	ctaNATPortMin = 1
	ctaNATPortMax = 2

	ipsSeenReply = 1 << 1 // both ends have spoken
	ipsAssured   = 1 << 2 // and it is not forgotten early
	ipsConfirmed = 1 << 3 // it is in the table

	tcpBeLiberal = 1 << 3 // numbers of segments are not looked at
)

const (
	// idleTCP is how long a connection of TCP has to be remembered that nothing is heard
	// of (RFC 5382, REQ-5), and idleUDP one of UDP (RFC 4787, REQ-5). From its first
	// packet on, the system's own times hold.
	idleTCP = 2*60*60 + 4*60 // seconds
	idleUDP = 2 * 60
)

// appendFlow appends the message that asks connection tracking to make a connection.
// Without sequence numbers in it the kernel takes those of the first packet that it sees
// of each direction, and being liberal it minds none.
func appendFlow(b []byte, f gateway.Flow, seq uint32) []byte {
	family, proto, idle := byte(unix.AF_INET), byte(unix.IPPROTO_TCP), uint32(idleTCP)
	if f.From.Addr().Is6() {
		family = unix.AF_INET6
	}
	if f.UDP {
		proto, idle = unix.IPPROTO_UDP, idleUDP
	}
	const flags = unix.NLM_F_REQUEST | unix.NLM_F_CREATE | unix.NLM_F_EXCL | unix.NLM_F_ACK
	at, e := len(b), binary.NativeEndian
	b = e.AppendUint32(b, 0)
	b = e.AppendUint16(b, unix.NFNL_SUBSYS_CTNETLINK<<8|nl.IPCTNL_MSG_CT_NEW)
	b = e.AppendUint16(b, flags)
	b = e.AppendUint32(b, seq)
	b = e.AppendUint32(b, 0)
	b = append(b, family, nl.NFNETLINK_V0, 0, 0)
	m := flowRequest(b)
	m.tuple(nl.CTA_TUPLE_ORIG, proto, f.From, f.To)
	m.tuple(nl.CTA_TUPLE_REPLY, proto, f.To, f.From) // the kernel translates it
	m.source(f.Inner)
	m.put(nl.CTA_STATUS, binary.BigEndian.AppendUint32(nil, ipsConfirmed|ipsSeenReply|ipsAssured))
	m.put(nl.CTA_TIMEOUT, binary.BigEndian.AppendUint32(nil, idle))
	if !f.UDP {
		m.nest(nl.CTA_PROTOINFO, func() {
			m.nest(nl.CTA_PROTOINFO_TCP, func() {
				m.put(nl.CTA_PROTOINFO_TCP_STATE, []byte{nl.TCP_CONNTRACK_ESTABLISHED})
				liberal := []byte{tcpBeLiberal, tcpBeLiberal} // the flags, and which of them are meant
				m.put(nl.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, liberal)
				m.put(nl.CTA_PROTOINFO_TCP_FLAGS_REPLY, liberal)
			})
		})
	}
	e.PutUint32(m[at:], uint32(len(m)-at))
	return m
}

// flowRequest is a message in the making.
type flowRequest []byte

func (m *flowRequest) put(kind uint16, v []byte) {
	*m = binary.NativeEndian.AppendUint16(*m, uint16(unix.SizeofNlAttr+len(v)))
	*m = binary.NativeEndian.AppendUint16(*m, kind)
	*m = append(*m, v...)
	for len(*m)%unix.NLA_ALIGNTO != 0 {
		*m = append(*m, 0)
	}
}

// nest puts what add puts into an attribute of its own.
func (m *flowRequest) nest(kind uint16, add func()) {
	at := len(*m)
	m.put(kind|unix.NLA_F_NESTED, nil)
	add()
	binary.NativeEndian.PutUint16((*m)[at:], uint16(len(*m)-at))
}

func (m *flowRequest) port(kind, port uint16) { m.put(kind, binary.BigEndian.AppendUint16(nil, port)) }

// tuple is one direction of a connection.
func (m *flowRequest) tuple(kind uint16, proto byte, from, to netip.AddrPort) {
	src, dst := uint16(nl.CTA_IP_V4_SRC), uint16(nl.CTA_IP_V4_DST)
	if from.Addr().Is6() {
		src, dst = nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
	}
	m.nest(kind, func() {
		m.nest(nl.CTA_TUPLE_IP, func() {
			m.put(src, from.Addr().AsSlice())
			m.put(dst, to.Addr().AsSlice())
		})
		m.nest(nl.CTA_TUPLE_PROTO, func() {
			m.put(nl.CTA_PROTO_NUM, []byte{proto})
			m.port(nl.CTA_PROTO_SRC_PORT, from.Port())
			m.port(nl.CTA_PROTO_DST_PORT, to.Port())
		})
	})
}

// source gives the source one address and port.
func (m *flowRequest) source(to netip.AddrPort) {
	least, most := uint16(ctaNATv4Min), uint16(ctaNATv4Max)
	if to.Addr().Is6() {
		least, most = ctaNATv6Min, ctaNATv6Max
	}
	m.nest(ctaNATSrc, func() {
		m.put(least, to.Addr().AsSlice())
		m.put(most, to.Addr().AsSlice())
		m.nest(ctaNATProto, func() {
			m.port(ctaNATPortMin, to.Port())
			m.port(ctaNATPortMax, to.Port())
		})
	})
}

// flowNews is what a message of connection tracking says of a connection.
type flowNews uint8

const (
	flowNothing flowNews = iota // that matters
	flowIs                      // it is established, or has an answer
	flowEnds
)

// parseFlow reads a message of connection tracking, without the header of netlink.
// What it cannot read says nothing.
func parseFlow(kind uint16, data []byte) (gateway.Flow, flowNews) {
	var m flowParts
	if len(data) < nl.SizeofNfgenmsg || eachAttribute(data[nl.SizeofNfgenmsg:], m.add) != nil {
		return gateway.Flow{}, flowNothing
	}
	there, back := m.there, m.back
	udp := there.proto == unix.IPPROTO_UDP
	if !udp && there.proto != unix.IPPROTO_TCP || back.proto != there.proto || back.ends[0] != there.ends[1] || !back.ends[1].IsValid() {
		return gateway.Flow{}, flowNothing
	}
	f := gateway.Flow{UDP: udp, From: there.ends[0], To: there.ends[1], Inner: back.ends[1]}
	switch {
	case kind&0xff == nl.IPCTNL_MSG_CT_DELETE:
		return f, flowEnds
	case udp && m.status&ipsAssured != 0, !udp && m.state == nl.TCP_CONNTRACK_ESTABLISHED:
		return f, flowIs
	case !udp && m.state > nl.TCP_CONNTRACK_ESTABLISHED:
		return f, flowEnds
	default:
		return f, flowNothing // it begins, or its state has not changed
	}
}

// flowParts is what matters of a message.
type flowParts struct {
	there, back direction
	status      uint32
	state       byte // of TCP; 0: it is not said
}

// direction is one of a connection: from the first end to the second.
type direction struct {
	proto byte
	ends  [2]netip.AddrPort
}

func (m *flowParts) add(kind uint16, v []byte) (err error) {
	switch kind {
	case nl.CTA_TUPLE_ORIG:
		m.there, err = parseTuple(v)
	case nl.CTA_TUPLE_REPLY:
		m.back, err = parseTuple(v)
	case nl.CTA_STATUS:
		if len(v) != 4 {
			return errMalformed
		}
		m.status = binary.BigEndian.Uint32(v)
	case nl.CTA_PROTOINFO:
		return eachAttribute(v, m.addState)
	}
	return err
}

// addState is for what stands within one that says how far a protocol is.
func (m *flowParts) addState(kind uint16, v []byte) error {
	if kind != nl.CTA_PROTOINFO_TCP {
		return nil
	}
	return eachAttribute(v, func(kind uint16, v []byte) error {
		if kind == nl.CTA_PROTOINFO_TCP_STATE && len(v) == 1 {
			m.state = v[0]
		}
		return nil
	})
}

func parseTuple(data []byte) (d direction, err error) {
	var addrs [2]netip.Addr
	var ports [2]uint16
	err = eachAttribute(data, func(part uint16, v []byte) error {
		return eachAttribute(v, func(kind uint16, v []byte) error {
			switch {
			case part == nl.CTA_TUPLE_IP && kind >= nl.CTA_IP_V4_SRC && kind <= nl.CTA_IP_V6_DST:
				addrs[(kind-nl.CTA_IP_V4_SRC)%2], _ = netip.AddrFromSlice(v)
			case part == nl.CTA_TUPLE_PROTO && kind == nl.CTA_PROTO_NUM && len(v) == 1:
				d.proto = v[0]
			case part == nl.CTA_TUPLE_PROTO && (kind == nl.CTA_PROTO_SRC_PORT || kind == nl.CTA_PROTO_DST_PORT) && len(v) == 2:
				ports[kind-nl.CTA_PROTO_SRC_PORT] = binary.BigEndian.Uint16(v)
			}
			return nil
		})
	})
	for i := range d.ends {
		d.ends[i] = netip.AddrPortFrom(addrs[i], ports[i])
	}
	return d, err
}
