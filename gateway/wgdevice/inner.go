//go:build linux

package wgdevice

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Chains and comments of what has to do with addresses that move on the inner side.
const (
	chainInner   = "inner"       // of what arrives for one of them
	chainStray   = "inner-stray" // of what is on its way to one that is elsewhere
	chainUnknown = "inner-new"   // of that, what belongs to nothing known
	chainLoose   = "inner-loose" // of what leaves, what no connection can be made of

	commentInner = "inner " // goes on with the address
	commentLoose = "loose " // and with the prefix
	commentSelf  = "this machine"
	commentBegin = "who begins something"
)

// innerOf is the inner address that packets of the prefix get: the zero one, if it
// is the machine's own.
func innerOf(p netip.Prefix, inner []netip.Addr) netip.Addr {
	i := slices.IndexFunc(inner, func(a netip.Addr) bool { return a.Is4() == p.Addr().Is4() })
	if i < 0 {
		return netip.Addr{}
	}
	return inner[i]
}

// snatFrom matches packets from p that leave by another interface, and gives them
// the address. A connection that another gateway saw begin is picked up with the
// first packet of its client, which keeps its port as it did there.
func snatFrom(p netip.Prefix, name string, to netip.Addr) []expr.Any {
	const register = 1
	family := uint32(unix.NFPROTO_IPV4)
	if to.Is6() {
		family = unix.NFPROTO_IPV6
	}
	return slices.Concat(outward(p, name), []expr.Any{
		&expr.Immediate{Register: register, Data: to.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: family, RegAddrMin: register, RegAddrMax: register},
	})
}

// outward matches packets from p that leave by another interface.
func outward(p netip.Prefix, name string) []expr.Any {
	return slices.Concat(within(p, source), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: linkName(name)},
	})
}

// loose gives the address to segments of TCP from p of which no connection can be
// made: a client that closes one that began elsewhere, with its first packet, would
// otherwise be heard from an address that the server has never seen.
func loose(p netip.Prefix, name string, to netip.Addr) []expr.Any {
	write := &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseNetworkHeader,
		Offset: source.v4, Len: uint32(to.BitLen() / 8), CsumType: expr.CsumTypeInet, CsumOffset: 10, CsumFlags: unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR,
	}
	if to.Is6() { // there is no checksum but that of TCP, where no further headers are
		write.Offset, write.CsumOffset, write.CsumFlags = source.v6, 40+16, 0
	}
	return slices.Concat(outward(p, name), fits(expr.MetaKeyL4PROTO, unix.IPPROTO_TCP), state(expr.CtStateBitINVALID, true),
		[]expr.Any{&expr.Immediate{Register: 1, Data: to.AsSlice()}, write})
}

// inner works out the rules about addresses that move on the inner side: none, where
// there are none.
//
// A machine answers a segment for one of its addresses that belongs to nothing it
// knows with a reset, and so would end each connection that a server speaks in before
// its client does. Dropped, it comes again. It is dropped before anything is
// remembered of it, too: what the client's packet makes of the connection then has
// the port to itself.
func inner(name string, p policy) []rule {
	if len(p.inner) == 0 {
		return nil
	}
	in := fits(expr.MetaKeyIIFNAME, linkName(name)...)
	var list []rule
	add := func(chain, comment string, exprs ...[]expr.Any) {
		list = append(list, rule{chain, comment, slices.Concat(exprs...)})
	}
	add(chainInner, commentSelf, fits(expr.MetaKeyIIFNAME, linkName("lo")...), accept())
	add(chainInner, commentPeers, in, accept())
	for _, a := range p.inner {
		add(chainInner, commentInner+a.String(), within(netip.PrefixFrom(a, a.BitLen()), destination),
			state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, false), jump(chainUnknown))
	}

	// Neighbours may send here what is for an address that has just left. Passed on, it
	// would be remembered, and be in the way when the address comes back.
	add(chainStray, commentPeers, in, accept())
	for _, a := range p.inner {
		add(chainStray, a.String()+" is elsewhere", within(netip.PrefixFrom(a, a.BitLen()), destination),
			state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, false), jump(chainUnknown))
	}

	add(chainUnknown, commentLink, linkTalk(), accept())
	add(chainUnknown, commentBegin, syn(), accept())
	add(chainUnknown, commentBegin, echo(unix.IPPROTO_ICMP, 8), accept())
	add(chainUnknown, commentBegin, echo(unix.IPPROTO_ICMPV6, 128), accept())
	add(chainUnknown, commentNone, drop())

	for _, m := range p.masquerade {
		if a := innerOf(m, p.inner); a.IsValid() {
			add(chainLoose, commentLoose+m.String(), loose(m, name, a))
		}
	}
	return list
}

// syn matches segments that begin a connection.
func syn() []expr.Any {
	const flags, fin, syn, rst, ack = 13, 0x01, 0x02, 0x04, 0x10
	return slices.Concat(fits(expr.MetaKeyL4PROTO, unix.IPPROTO_TCP), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flags, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{fin | syn | rst | ack}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{syn}},
	})
}

// echo matches requests for an echo, which are of a type of ICMP.
func echo(proto, request byte) []expr.Any {
	return slices.Concat(fits(expr.MetaKeyL4PROTO, proto), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{request}},
	})
}

// state matches packets that connection tracking says one of the bits of, or none.
func state(bits uint32, one bool) []expr.Any {
	const size = 4 // bytes
	op := expr.CmpOpEq
	if one {
		op = expr.CmpOpNeq
	}
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: size,
			Mask: binary.NativeEndian.AppendUint32(nil, bits), Xor: make([]byte, size),
		},
		&expr.Cmp{Op: op, Register: 1, Data: make([]byte, size)},
	}
}
