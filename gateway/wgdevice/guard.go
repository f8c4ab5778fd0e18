//go:build linux

package wgdevice

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// guard is the table of nftables that keeps detours in order. It is apart from the
// other one, which is made from the configuration alone.
type guard struct{ *filter }

func newGuard(ns *namespace, link string) guard {
	f := newFilter(ns, link)
	f.table += "-detours"
	return guard{f}
}

// Chains of the table.
const (
	chainPass   = "pass"   // of what is forwarded
	chainAgain  = "again"  // of that, what a sibling has passed on
	chainOutput = "output" // of what the machine says
)

// set makes the table be for these siblings, in place of the one that may be there.
func (g guard) set(hops []nextHop, isolated bool) error {
	if err := g.open(); err != nil {
		return err
	}
	t := g.clear()
	g.conn.AddTable(t)
	policy, after := nftables.ChainPolicyAccept, *nftables.ChainPriorityFilter+1
	chains := map[string]*nftables.Chain{}
	for _, c := range []*nftables.Chain{
		{Name: chainAgain, Table: t},
		{Name: chainPass, Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: &after, Policy: &policy},
		{Name: chainOutput, Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: &after, Policy: &policy},
	} {
		chains[c.Name] = g.conn.AddChain(c)
	}
	for _, r := range guards(g.link, hops, isolated) {
		g.conn.AddRule(&nftables.Rule{Table: t, Chain: chains[r.chain], Exprs: r.exprs, UserData: commentData(r.comment)})
	}
	return g.flush("make")
}

// guards works out the rules: what a sibling passed on is not passed on again, peers
// that are kept from each other are so by way of siblings, too, and no host behind is
// told to send to the sibling by itself.
func guards(name string, hops []nextHop, isolated bool) []rule {
	in := fits(expr.MetaKeyIIFNAME, linkName(name)...)
	var list []rule
	add := func(chain, comment string, exprs ...[]expr.Any) {
		list = append(list, rule{chain, comment, slices.Concat(exprs...)})
	}
	for _, h := range hops {
		add(chainPass, "from "+h.addr.String(), fits(expr.MetaKeyIIFNAME, linkName(h.link)...), sentBy(h.mac), jump(chainAgain))
		add(chainAgain, "to "+h.addr.String(), nextIs(h.addr), drop())
		if isolated {
			add(chainPass, commentIsolated, in, nextIs(h.addr), drop())
		}
		if h.addr.Is4() {
			add(chainOutput, "no redirect to "+h.addr.String(), redirects(h.addr), drop())
		}
	}
	return list
}

// sentBy matches what came from an Ethernet address.
func sentBy(mac string) []expr.Any {
	const from, size = 6, 6 // where a frame has it
	return append(fits(expr.MetaKeyIIFTYPE, ethernet()...),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: from, Len: size},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(mac)})
}

// nextIs matches what is about to go by way of an address.
func nextIs(a netip.Addr) []expr.Any {
	key, family := expr.RtNexthop4, byte(unix.NFPROTO_IPV4)
	if a.Is6() {
		key, family = expr.RtNexthop6, unix.NFPROTO_IPV6
	}
	return append(fits(expr.MetaKeyNFPROTO, family),
		&expr.Rt{Register: 1, Key: key},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()})
}

// redirects matches what tells a host to send to an address by itself. In IPv6 only
// those are told of that go to a link-local address, as ours do not.
func redirects(to netip.Addr) []expr.Any {
	const redirect, at, size = 5, 4, 4
	return slices.Concat(fits(expr.MetaKeyNFPROTO, unix.NFPROTO_IPV4), fits(expr.MetaKeyL4PROTO, unix.IPPROTO_ICMP), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{redirect}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: at, Len: size},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: to.AsSlice()},
	})
}

// ethernet is the type of such a link, as the kernel compares it.
func ethernet() []byte { return binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_ETHER) }
