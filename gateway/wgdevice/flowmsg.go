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

// flowMessage is what asks connection tracking to make a connection. Without sequence
// numbers in it the kernel takes those of the first packet that it sees of each
// direction, and being liberal it minds none.
func flowMessage(f gateway.Flow, seq uint32) []byte {
	family, proto, idle := uint8(unix.AF_INET), uint8(unix.IPPROTO_TCP), uint32(idleTCP)
	if f.From.Addr().Is6() {
		family = unix.AF_INET6
	}
	if f.UDP {
		proto, idle = unix.IPPROTO_UDP, idleUDP
	}
	r := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|nl.IPCTNL_MSG_CT_NEW, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	r.Seq = seq
	r.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	r.AddData(tupleAttr(nl.CTA_TUPLE_ORIG, proto, f.From, f.To))
	r.AddData(tupleAttr(nl.CTA_TUPLE_REPLY, proto, f.To, f.From)) // the kernel translates it
	r.AddData(natAttr(f.Inner))
	r.AddData(nl.NewRtAttr(nl.CTA_STATUS, nl.BEUint32Attr(ipsConfirmed|ipsSeenReply|ipsAssured)))
	r.AddData(nl.NewRtAttr(nl.CTA_TIMEOUT, nl.BEUint32Attr(idle)))
	if !f.UDP {
		info := nl.NewRtAttr(nl.CTA_PROTOINFO|unix.NLA_F_NESTED, nil)
		tcp := info.AddRtAttr(nl.CTA_PROTOINFO_TCP|unix.NLA_F_NESTED, nil)
		tcp.AddRtAttr(nl.CTA_PROTOINFO_TCP_STATE, nl.Uint8Attr(nl.TCP_CONNTRACK_ESTABLISHED))
		liberal := []byte{tcpBeLiberal, tcpBeLiberal} // the flags, and which of them are meant
		tcp.AddRtAttr(nl.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, liberal)
		tcp.AddRtAttr(nl.CTA_PROTOINFO_TCP_FLAGS_REPLY, liberal)
		r.AddData(info)
	}
	return r.Serialize()
}

// tupleAttr is one direction of a connection.
func tupleAttr(kind int, proto uint8, from, to netip.AddrPort) *nl.RtAttr {
	t := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	src, dst := nl.CTA_IP_V4_SRC, nl.CTA_IP_V4_DST
	if from.Addr().Is6() {
		src, dst = nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
	}
	ip := t.AddRtAttr(nl.CTA_TUPLE_IP|unix.NLA_F_NESTED, nil)
	ip.AddRtAttr(src, from.Addr().AsSlice())
	ip.AddRtAttr(dst, to.Addr().AsSlice())
	p := t.AddRtAttr(nl.CTA_TUPLE_PROTO|unix.NLA_F_NESTED, nil)
	p.AddRtAttr(nl.CTA_PROTO_NUM, nl.Uint8Attr(proto))
	p.AddRtAttr(nl.CTA_PROTO_SRC_PORT, nl.BEUint16Attr(from.Port()))
	p.AddRtAttr(nl.CTA_PROTO_DST_PORT, nl.BEUint16Attr(to.Port()))
	return t
}

// natAttr gives the source one address and port.
func natAttr(to netip.AddrPort) *nl.RtAttr {
	n := nl.NewRtAttr(ctaNATSrc|unix.NLA_F_NESTED, nil)
	least, most := ctaNATv4Min, ctaNATv4Max
	if to.Addr().Is6() {
		least, most = ctaNATv6Min, ctaNATv6Max
	}
	n.AddRtAttr(least, to.Addr().AsSlice())
	n.AddRtAttr(most, to.Addr().AsSlice())
	p := n.AddRtAttr(ctaNATProto|unix.NLA_F_NESTED, nil)
	p.AddRtAttr(ctaNATPortMin, nl.BEUint16Attr(to.Port()))
	p.AddRtAttr(ctaNATPortMax, nl.BEUint16Attr(to.Port()))
	return n
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
