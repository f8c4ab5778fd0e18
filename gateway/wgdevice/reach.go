//go:build linux

package wgdevice

import (
	"encoding/binary"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// reach works out the rules that keep peers to their destinations and from each
// other: none, where they may reach all. They let pass or drop, and know of no
// connection, since a gateway that has just taken over knows of none either. To
// let pass ends our chain and not the tables of others, who may still drop.
//
// The prefixes are compared one after the other, in chains that only packets of
// the interface get to: plain rules can be compared with what they should be bit
// by bit, and every kernel treats them the same, which is more than can be said
// of sets of intervals. Some hundred of them cost little.
func reach(name string, p policy) []rule {
	in, out := fits(expr.MetaKeyIIFNAME, linkName(name)...), fits(expr.MetaKeyOIFNAME, linkName(name)...)
	across := slices.Concat(in, out)
	var list []rule
	add := func(chain, comment string, exprs ...[]expr.Any) {
		list = append(list, rule{chain, comment, slices.Concat(exprs...)})
	}
	if p.isolated {
		add(chainReach, commentIsolated, across, drop())
	}
	if len(p.destinations) == 0 {
		return list
	}
	if !p.isolated {
		add(chainReach, commentPeers, across, accept())
	}
	add(chainReach, chainTo, in, jump(chainTo))
	add(chainReach, chainFrom, out, jump(chainFrom))
	add(chainReach, commentNone, in, drop())
	add(chainReach, commentNone, out, drop())

	add(chainHost, commentOwn, in, own(), accept())
	add(chainHost, chainTo, in, jump(chainTo))
	for _, proto := range []byte{unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6} {
		add(chainHost, commentError, in, related(proto), accept())
	}
	add(chainHost, commentLink, in, linkTalk(), accept())
	add(chainHost, commentNone, in, drop())

	for _, d := range p.destinations {
		add(chainTo, commentTo+d.String(), within(d, destination), accept())
	}
	for _, d := range p.destinations {
		add(chainFrom, commentFrom+d.String(), within(d, source), accept())
	}
	// Without them no peer would learn the MTU of its path, or that nobody is
	// there.
	for _, proto := range []byte{unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6} {
		add(chainFrom, commentError, related(proto), accept())
	}
	return list
}

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }

func drop() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }

func jump(chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}

// own matches packets for an address of the interface that they came by.
func own() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, FlagIIF: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)},
	}
}

// related matches ICMP errors, of one family, that are about a packet that went
// through here.
func related(proto byte) []expr.Any {
	return slices.Concat(fits(expr.MetaKeyL4PROTO, proto), state(expr.CtStateBitRELATED, true))
}

// linkTalk matches what IPv6 says on a link: who listens to which group, who is
// a router, who has an address.
func linkTalk() []expr.Any {
	const first, last = 130, 136 // types of ICMPv6
	return slices.Concat(fits(expr.MetaKeyNFPROTO, unix.NFPROTO_IPV6), fits(expr.MetaKeyL4PROTO, unix.IPPROTO_ICMPV6), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: 1},
		&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: []byte{first}},
		&expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: []byte{last}},
	})
}
