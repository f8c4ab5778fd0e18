//go:build linux

package wgdevice

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Chains of our table.
const (
	chainNAT     = "postrouting"
	chainForward = "forward"
	chainReach   = "reach"        // of what is forwarded
	chainHost    = "reach-host"   // of what is for this machine
	chainTo      = "destinations" // asked by both
	chainFrom    = "sources"      // asked by the first
)

// What the comments of our rules say. Those that end with a space go on with a
// prefix.
const (
	commentNAT      = "masquerade "
	commentMSS      = "MSS fits the path"
	commentIsolated = "peers are isolated"
	commentPeers    = "from peer to peer"
	commentTo       = "to "
	commentFrom     = "from "
	commentOwn      = "own addresses"
	commentError    = "errors about packets of peers"
	commentLink     = "neighbours"
	commentNone     = "nothing else"
)

// rule is one rule of our table.
type rule struct {
	chain   string
	comment string
	exprs   []expr.Any
}

// rules works out what is in the table of the interface.
func rules(name string, p policy) []rule {
	out := make([]rule, 0, len(p.masquerade)+2*len(p.destinations)+20)
	for _, m := range p.masquerade {
		exprs := masqueradeFrom(m, name)
		if a := innerOf(m, p.inner); a.IsValid() {
			exprs = snatFrom(m, name, a)
		}
		out = append(out, rule{chainNAT, commentNAT + m.String(), exprs})
	}
	// A segment that is too long for the tunnel, or for the way to it, would be
	// dropped, and often nobody would tell the sender.
	out = append(out,
		rule{chainForward, commentMSS, clamp(expr.MetaKeyIIFNAME, name)},
		rule{chainForward, commentMSS, clamp(expr.MetaKeyOIFNAME, name)})
	return slices.Concat(out, inner(name, p), reach(name, p))
}

// masqueradeFrom matches packets from p that leave by another interface.
func masqueradeFrom(p netip.Prefix, name string) []expr.Any {
	return append(outward(p, name), &expr.Masq{})
}

// end is one of the two ends of a packet's way: where its header has them in
// IPv4 and IPv6.
type end struct{ v4, v6 uint32 }

// The ends.
var (
	source      = end{12, 8}  //nolint:gochecknoglobals // constants, as far as Go has them
	destination = end{16, 24} //nolint:gochecknoglobals // constants, as far as Go has them
)

// within matches packets of which that end is in p.
func within(p netip.Prefix, of end) []expr.Any {
	family, offset := byte(unix.NFPROTO_IPV4), of.v4
	if p.Addr().Is6() {
		family, offset = unix.NFPROTO_IPV6, of.v6
	}
	out := fits(expr.MetaKeyNFPROTO, family)
	// As nft(8) would write it: whole bytes without a mask.
	size, whole := p.Addr().BitLen()/8, p.Bits()%8 == 0
	if whole {
		size = p.Bits() / 8
	}
	if size > 0 {
		out = append(out, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(size)})
		if !whole {
			out = append(out, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(size), Mask: ipNet(p).Mask, Xor: make([]byte, size)})
		}
		out = append(out, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()[:size]})
	}
	return out
}

// fits matches packets of which key is as given.
func fits(key expr.MetaKey, data ...byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data},
	}
}

// clamp sets the maximum segment size of a TCP connection that goes through the
// interface, by the side that key says, to what the path takes; it is never
// raised.
func clamp(key expr.MetaKey, name string) []expr.Any {
	const (
		flags, syn, rst = 13, 0x02, 0x04 // where TCP has its flags, and two of them
		option, at, two = 2, 2, 2        // the option that has the size, where, and in how many bytes
	)
	return slices.Concat(fits(key, linkName(name)...), fits(expr.MetaKeyL4PROTO, unix.IPPROTO_TCP), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flags, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn | rst}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{syn}},
		&expr.Rt{Register: 1, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: two, Size: two},
		&expr.Exthdr{SourceRegister: 1, Type: option, Offset: at, Len: two, Op: expr.ExthdrOpTcpopt},
	})
}

// linkName is a name as the kernel compares it.
func linkName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// asked says what the rules ask for, by their comments.
func asked(comments []string) policy {
	return policy{
		masquerade:   prefixes(comments, commentNAT),
		inner:        addresses(comments, commentInner),
		destinations: prefixes(comments, commentTo),
		isolated:     slices.Contains(comments, commentIsolated),
	}
}

// prefixes are those of the comments that begin with a word.
func prefixes(comments []string, word string) []netip.Prefix {
	var out []netip.Prefix
	for _, c := range comments {
		text, ok := strings.CutPrefix(c, word)
		if !ok {
			continue
		}
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

// addresses are those of the comments that begin with a word, in order.
func addresses(comments []string, word string) []netip.Addr {
	var out []netip.Addr
	for _, c := range comments {
		text, ok := strings.CutPrefix(c, word)
		if a, err := netip.ParseAddr(text); ok && err == nil {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// text writes a rule down such that two rules that do the same in the same way
// have the same text. It is made from what goes over the wire, because the
// library does not read all that it writes.
func (r rule) text() (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q", r.chain, r.comment)
	for _, e := range r.exprs {
		raw, err := expr.Marshal(byte(nftables.TableFamilyINet), e)
		if err != nil {
			return "", err
		}
		if err := writeExpr(&b, raw); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// liveRule is text for a rule as the kernel tells it.
func liveRule(message []byte) (text, comment string, err error) {
	if len(message) < nl.SizeofNfgenmsg {
		return "", "", fmt.Errorf("a message of %d bytes", len(message))
	}
	attrs, err := nl.ParseRouteAttr(message[nl.SizeofNfgenmsg:])
	if err != nil {
		return "", "", err
	}
	var chain string
	var b strings.Builder
	for _, a := range attrs {
		switch a.Attr.Type & typeMask {
		case unix.NFTA_RULE_CHAIN:
			chain = strings.TrimRight(string(a.Value), "\x00")
		case unix.NFTA_RULE_USERDATA:
			comment = commentOf(a.Value)
		case unix.NFTA_RULE_EXPRESSIONS:
			list, err := nl.ParseRouteAttr(a.Value)
			if err != nil {
				return "", "", err
			}
			for _, e := range list {
				if err := writeExpr(&b, e.Value); err != nil {
					return "", "", err
				}
			}
		}
	}
	return fmt.Sprintf("%s %q", chain, comment) + b.String(), comment, nil
}

// writeExpr writes an expression: its name, and its attributes in order. An
// attribute of zero is as good as none, and left out: the kernel tells them
// all, the library sends some.
func writeExpr(b *strings.Builder, raw []byte) error {
	attrs, err := nl.ParseRouteAttr(raw)
	if err != nil {
		return err
	}
	var name string
	var data []string
	for _, a := range attrs {
		switch a.Attr.Type & typeMask {
		case unix.NFTA_EXPR_NAME:
			name = strings.TrimRight(string(a.Value), "\x00")
		case unix.NFTA_EXPR_DATA:
			fields, err := nl.ParseRouteAttr(a.Value)
			if err != nil {
				return err
			}
			for _, f := range fields {
				if name == "immediate" {
					clearNested(f.Value)
				}
				if name == "nat" && f.Attr.Type&typeMask == unix.NFTA_NAT_FLAGS {
					clearMapped(f.Value)
				}
				if slices.ContainsFunc(f.Value, func(c byte) bool { return c != 0 }) {
					data = append(data, fmt.Sprintf("%02d=%x", f.Attr.Type&typeMask, f.Value))
				}
			}
		}
	}
	slices.Sort(data)
	fmt.Fprintf(b, "; %s %s", name, strings.Join(data, " "))
	return nil
}

// clearNested takes a flag off the attribute that b begins with: in a verdict the
// library sends it, and the kernel does not tell it.
func clearNested(b []byte) {
	const typ = 2 // where an attribute has its type
	if len(b) >= unix.SizeofNlAttr {
		binary.NativeEndian.PutUint16(b[typ:], binary.NativeEndian.Uint16(b[typ:])&typeMask)
	}
}

// clearMapped takes a flag off those of an address translation: that there is an
// address, which the register says already, the kernel tells and the library does not.
func clearMapped(flags []byte) {
	const mapped = 1 // NF_NAT_RANGE_MAP_IPS
	if len(flags) > 0 {
		flags[len(flags)-1] &^= mapped
	}
}

// typeMask leaves out the flags of an attribute's type.
const typeMask = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)

// commentType is the kind of user data that nft(8) shows as a comment.
const commentType = 0

// commentData is a comment as user data.
func commentData(s string) []byte {
	return append([]byte{commentType, byte(len(s) + 1)}, s+"\x00"...)
}

// commentOf finds the comment in user data, whoever wrote them.
func commentOf(b []byte) string {
	for len(b) >= 2 {
		kind, size := b[0], int(b[1])
		b = b[2:]
		if size > len(b) {
			break
		}
		if kind == commentType {
			return strings.TrimRight(string(b[:size]), "\x00")
		}
		b = b[size:]
	}
	return ""
}

// dumpRules is the request for the rules of a chain.
func dumpRules(table, chain string) *nl.NetlinkRequest {
	const subsystem = unix.NFNL_SUBSYS_NFTABLES << 8
	r := nl.NewNetlinkRequest(subsystem|unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP)
	r.AddData(&nl.Nfgenmsg{NfgenFamily: uint8(nftables.TableFamilyINet), Version: nl.NFNETLINK_V0})
	r.AddData(nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(table)))
	r.AddData(nl.NewRtAttr(unix.NFTA_RULE_CHAIN, nl.ZeroTerminated(chain)))
	return r
}
