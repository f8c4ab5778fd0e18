//go:build linux

package wgdevice

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice/announce"
)

// Which address WireGuard sends from is a matter of routing: its packets have a
// mark, a rule of ours sends those into a table of the mark's number, and there are
// copies of the main table's routes that prefer the floating address. While the
// machine has none of a family its table leads nowhere, and main is asked next.
//
// The table is also where it is written down which addresses are floating: a route
// of type throw to each, which says "ask the next table", and so changes nothing.
// Whoever looks later finds there what was asked for.

// sourcePriority is where our rules stand: after what others decide for all that
// the machine sends, and well before main (32766) and what programs put right before
// it. With the protocol number of our routes it says that a rule is ours.
const sourcePriority = 10400

// families are those that have rules and tables of their own.
var families = [...]int{netlink.FAMILY_V4, netlink.FAMILY_V6} //nolint:gochecknoglobals // constants, as far as Go has them

// familyOf is the family of an address.
func familyOf(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

// ofFamily returns the addresses that are of a family.
func ofFamily(family int, addrs []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return familyOf(a) != family })
}

// checkMark says whether there can be a table of the mark's number.
func checkMark(mark uint32) error {
	switch mark {
	case 0:
		return fmt.Errorf("floating addresses need a firewall mark, by which their packets are known: %w", unix.EINVAL)
	case unix.RT_TABLE_COMPAT, unix.RT_TABLE_DEFAULT, unix.RT_TABLE_MAIN, unix.RT_TABLE_LOCAL:
		return fmt.Errorf("firewall mark %d: the routing table of this number is the kernel's own: choose another mark: %w", mark, unix.EINVAL)
	case math.MaxUint32:
		return fmt.Errorf("firewall mark %#x: there is no routing table of this number: choose another mark: %w", mark, unix.EINVAL)
	}
	return nil
}

// machine is what matters here of the machine.
type machine struct {
	addrs  map[netip.Addr]int // that can be sent from, and their links
	ether  map[int]ether      // links with Ethernet
	inner  map[int]bool       // links that are WireGuard of ours
	kernel bool               // the interface is the kernel's WireGuard
	owners map[uint32]bool    // ownerOf links that are there
}

// ether is a link with Ethernet.
type ether struct {
	name string
	mac  [announce.MACLen]byte
}

// machineOf sums up what there is; name is that of the interface.
func machineOf(name string, links []netlink.Link, addrs []netlink.Addr) machine {
	m := machine{addrs: map[netip.Addr]int{}, ether: map[int]ether{}, inner: map[int]bool{}, owners: map[uint32]bool{}}
	up := map[int]bool{}
	for _, l := range links {
		a := l.Attrs()
		up[a.Index] = a.Flags&net.FlagUp != 0
		m.owners[ownerOf(a.Name)] = true
		kind := kindOf(l)
		marked := a.Alias == mark || strings.HasPrefix(a.Alias, mark+" ")
		m.inner[a.Index] = a.Name == name || marked && (kind == kindKernel || kind == kindTUN)
		m.kernel = m.kernel || a.Name == name && kind == kindKernel
		if len(a.HardwareAddr) == announce.MACLen {
			m.ether[a.Index] = ether{a.Name, [announce.MACLen]byte(a.HardwareAddr)}
		}
	}
	for _, a := range addrs {
		// The kernel refuses to send from one of IPv6 as long as it looks whether
		// somebody else has it, and when somebody has.
		if p, ok := prefixOf(a.IPNet); ok && up[a.LinkIndex] && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
			m.addrs[p.Addr()] = a.LinkIndex
		}
	}
	return m
}

// owned are those of the floating addresses that the machine has.
func (m machine) owned(floating []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range floating {
		if _, has := m.addrs[a]; has {
			out = append(out, a)
		}
	}
	return out
}

// inside says whether a route leads into WireGuard of ours.
func (m machine) inside(r netlink.Route) bool {
	return m.inner[r.LinkIndex] || slices.ContainsFunc(r.MultiPath, func(h *netlink.NexthopInfo) bool { return m.inner[h.LinkIndex] })
}

// copies are what a table has to have that sends from the first of the addresses
// that the machine has: the routes of main, in the order in which they can be made.
// Only one is wanted for each destination and metric, as the kernel takes the first.
func copies(main []netlink.Route, table int, m machine, floating []netip.Addr) []netlink.Route {
	owned := m.owned(floating)
	if len(owned) == 0 {
		return nil
	}
	var out []netlink.Route
	seen := map[string]bool{}
	for _, r := range main {
		to := destinationOf(r)
		own := to.IsSingleIP() && slices.Contains(floating, to.Addr())
		if r.Type != unix.RTN_UNICAST || r.Flags&unix.RTNH_F_DEAD != 0 || r.Protocol == protocol || own || m.inside(r) {
			continue
		}
		c := copyOf(r, table, owned[0])
		if key := routeKey(c); !seen[key] {
			seen[key] = true
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, byMaking)
	return out
}

// copyOf is r in another table, and sends from another address. To link-local
// destinations it sends from whatever it would without us.
func copyOf(r netlink.Route, table int, from netip.Addr) netlink.Route {
	to := destinationOf(r)
	r.Table, r.Protocol, r.ILinkIndex = table, protocol, 0
	r.Dst, r.Src = ipNet(to), from.AsSlice()
	if to.Bits() > 0 && to.Addr().IsLinkLocalUnicast() {
		r.Src = nil
	}
	r.Flags &= unix.RTNH_F_ONLINK
	hops := r.MultiPath
	r.MultiPath = nil
	for _, h := range hops {
		if h.Flags&unix.RTNH_F_DEAD == 0 {
			c := *h
			c.Flags &= unix.RTNH_F_ONLINK
			r.MultiPath = append(r.MultiPath, &c)
		}
	}
	if len(r.MultiPath) == 1 { // the kernel tells it as a plain route
		h := r.MultiPath[0]
		r.LinkIndex, r.Gw, r.Via, r.Encap, r.Flags, r.MultiPath = h.LinkIndex, h.Gw, h.Via, h.Encap, h.Flags, nil
	}
	return r
}

// recordOf is the route that says that an address is floating, for the interface whose
// ownerOf it has as its metric.
func recordOf(a netip.Addr, table int, owner uint32) netlink.Route {
	return netlink.Route{
		Dst: ipNet(netip.PrefixFrom(a, a.BitLen())), Table: table, Protocol: protocol, Type: unix.RTN_THROW, Priority: int(owner),
	}
}

// destinationOf is where a route leads to.
func destinationOf(r netlink.Route) netip.Prefix {
	if p, ok := prefixOf(r.Dst); ok {
		return p
	}
	if r.Family == netlink.FAMILY_V4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// byMaking compares such that a table is never wrong while it is made: what is
// nearer comes first, and gateways after the networks that they are in.
func byMaking(a, b netlink.Route) int {
	far := func(r netlink.Route) int {
		if r.Gw != nil || r.Via != nil || len(r.MultiPath) > 0 {
			return 1
		}
		return 0
	}
	return cmp.Or(far(a)-far(b), destinationOf(b).Bits()-destinationOf(a).Bits())
}

// table is what is in a table of ours, of one family.
type table struct {
	records []netip.Addr    // of the interface itself, in order
	others  []netlink.Route // records of other interfaces
	routes  []netlink.Route // copies
	foreign bool            // there is something of somebody else's
}

// tableOf sorts what is in a table, for the interface whose ownerOf that is.
func tableOf(list []netlink.Route, owner uint32) table {
	var t table
	for _, r := range list {
		to := destinationOf(r)
		switch {
		case r.Protocol != protocol:
			t.foreign = true
		case r.Type != unix.RTN_THROW || !to.IsSingleIP():
			t.routes = append(t.routes, r)
		case r.Priority == int(owner):
			t.records = append(t.records, to.Addr())
		default:
			t.others = append(t.others, r)
		}
	}
	slices.SortFunc(t.records, netip.Addr.Compare)
	return t
}

// swap works out what is to be made, in order, and then to be taken away, in order.
func (t table) swap(want []netlink.Route) (add, del []netlink.Route) {
	have, keep := map[string]bool{}, map[string]bool{}
	for _, r := range t.routes {
		have[routeText(r)] = true
	}
	for _, r := range want {
		keep[routeKey(r)] = true
		if !have[routeText(r)] {
			add = append(add, r)
		}
	}
	for _, r := range t.routes {
		if !keep[routeKey(r)] {
			del = append(del, r)
		}
	}
	slices.SortStableFunc(del, func(a, b netlink.Route) int { return byMaking(b, a) })
	return add, del
}

// routeKey is what two routes of a table differ in.
func routeKey(r netlink.Route) string {
	return fmt.Sprintf("%v tos %d metric %d", destinationOf(r), r.Tos, r.Priority)
}

// routeText is equal for two routes of a table that lead to the same in the same way.
func routeText(r netlink.Route) string {
	hops := make([]string, len(r.MultiPath))
	for i, h := range r.MultiPath {
		hops[i] = fmt.Sprintf("%d %v %v weight %d flags %d", h.LinkIndex, h.Gw, h.Via, h.Hops, h.Flags&unix.RTNH_F_ONLINK)
	}
	slices.Sort(hops)
	return fmt.Sprintf("%s type %d from %v by %d %v %v flags %d mtu %d %t %v",
		routeKey(r), r.Type, r.Src, r.LinkIndex, r.Gw, r.Via, r.Flags&unix.RTNH_F_ONLINK, r.MTU, r.MTULock, hops)
}

// sourceRule sends what has the mark into the table of its number.
func sourceRule(family int, mark uint32) *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Mark, r.Table, r.Priority, r.Protocol = family, mark, int(mark), sourcePriority, uint8(protocol)
	return r
}

// ourRule says whether a rule is one of ours, of any interface.
func ourRule(r netlink.Rule) bool {
	return r.Priority == sourcePriority && r.Protocol == uint8(protocol) && int64(r.Table) == int64(r.Mark)
}

// wholeRule says whether a rule of ours does all that it shall.
func wholeRule(r netlink.Rule) bool {
	return (r.Mask == nil || *r.Mask == math.MaxUint32) && r.Src == nil && r.Dst == nil && r.IifName == "" && r.OifName == "" &&
		!r.Invert && r.Tos == 0 && r.IPProto == 0 && r.Sport == nil && r.Dport == nil && r.UIDRange == nil && r.TunID == 0 &&
		r.SuppressIfgroup == -1 && r.SuppressPrefixlen == -1 && r.Goto == -1
}
