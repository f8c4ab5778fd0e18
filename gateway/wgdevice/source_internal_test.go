//go:build linux

package wgdevice

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func routeFor(to string, change func(*netlink.Route)) netlink.Route {
	p := netip.MustParsePrefix(to)
	r := netlink.Route{Dst: ipNet(p), Family: familyOf(p.Addr()), Type: unix.RTN_UNICAST, Table: unix.RT_TABLE_MAIN, LinkIndex: 2}
	if change != nil {
		change(&r)
	}
	return r
}

// What a machine has counts when it can be sent from.
func TestMachineOf(t *testing.T) {
	link := func(index int, name, kind, alias string, flags net.Flags) netlink.Link {
		return &netlink.GenericLink{LinkType: kind, LinkAttrs: netlink.LinkAttrs{Index: index, Name: name, Alias: alias, Flags: flags}}
	}
	addr := func(a string, index, flags int) netlink.Addr {
		return netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(a)), LinkIndex: index, Flags: flags}
	}
	m := machineOf("wg0", []netlink.Link{
		link(1, "lo", "device", "", net.FlagUp), link(2, "eth0", "veth", "", net.FlagUp), link(3, "eth1", "veth", "holdfast? no", 0),
		link(4, "wg0", "wireguard", "", net.FlagUp), link(5, "wg1", "wireguard", "holdfast kernel", net.FlagUp),
		link(6, "wg2", "wireguard", "", net.FlagUp), link(7, "wg3", "tun", "holdfast userspace 7", net.FlagUp),
	}, []netlink.Addr{
		addr("192.0.2.1/24", 2, unix.IFA_F_PERMANENT), addr("192.0.2.2/32", 2, unix.IFA_F_SECONDARY), addr("192.0.2.3/32", 3, 0),
		addr("198.51.100.1/32", 1, 0), addr("2001:db8::1/64", 2, unix.IFA_F_DEPRECATED), addr("2001:db8::2/128", 2, unix.IFA_F_TENTATIVE),
		addr("2001:db8::3/128", 2, unix.IFA_F_TENTATIVE|unix.IFA_F_OPTIMISTIC), addr("2001:db8::4/128", 2, unix.IFA_F_OPTIMISTIC),
		addr("2001:db8::5/128", 2, unix.IFA_F_DADFAILED|unix.IFA_F_PERMANENT),
	})
	require.True(t, m.kernel)
	asked := []netip.Addr{
		netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3"),
		netip.MustParseAddr("192.0.2.4"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1"),
		netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::3"), netip.MustParseAddr("2001:db8::4"),
		netip.MustParseAddr("2001:db8::5"),
	}
	require.Equal(t, []netip.Addr{asked[0], asked[1], asked[4], asked[5], asked[8]}, m.owned(asked))
	for index, inner := range map[int]bool{1: false, 2: false, 3: false, 4: true, 5: true, 6: false, 7: true} {
		require.Equal(t, inner, m.inside(netlink.Route{LinkIndex: index}), "link %d", index)
	}
	require.True(t, m.inside(netlink.Route{MultiPath: []*netlink.NexthopInfo{{LinkIndex: 2}, {LinkIndex: 5}}}))
}

// Copies keep what a route says of the way, and come in an order in which a table
// that is half made sends nothing astray.
func TestCopies(t *testing.T) {
	float := netip.MustParseAddr("192.0.2.10")
	v6 := netip.MustParseAddr("2001:db8::10")
	m := machine{addrs: map[netip.Addr]int{float: 1, v6: 1}, inner: map[int]bool{9: true}}
	gw := net.IP{192, 0, 2, 254}
	main := []netlink.Route{
		routeFor("0.0.0.0/0", func(r *netlink.Route) {
			r.Gw, r.Priority, r.Flags = gw, 100, unix.RTNH_F_ONLINK|unix.RTNH_F_LINKDOWN
			r.MTU, r.Protocol = 1400, unix.RTPROT_DHCP
		}),
		routeFor("10.0.0.0/8", func(r *netlink.Route) { r.Gw = gw }),
		routeFor("10.1.0.0/16", func(r *netlink.Route) {
			r.LinkIndex = 0
			r.MultiPath = []*netlink.NexthopInfo{
				{LinkIndex: 2, Gw: gw, Hops: 3, Flags: unix.RTNH_F_LINKDOWN}, {LinkIndex: 3, Flags: unix.RTNH_F_DEAD},
			}
		}),
		routeFor("10.1.0.0/16", func(r *netlink.Route) { r.LinkIndex = 7 }), // the kernel takes the first
		routeFor("192.0.2.0/24", func(r *netlink.Route) { r.Scope = netlink.SCOPE_LINK }),
		routeFor("10.20.0.0/16", func(r *netlink.Route) { r.LinkIndex = 9 }),
		routeFor("172.16.0.0/12", func(r *netlink.Route) { r.Protocol = protocol }),
		routeFor("203.0.113.0/24", func(r *netlink.Route) { r.Type = unix.RTN_BLACKHOLE }),
		routeFor("203.0.113.0/25", func(r *netlink.Route) { r.Flags = unix.RTNH_F_DEAD }),
		routeFor("192.0.2.10/32", nil),
	}
	got := copies(main, 7, m, []netip.Addr{netip.MustParseAddr("192.0.2.9"), float})
	var to []string
	for _, r := range got {
		to = append(to, destinationOf(r).String())
		require.Equal(t, 7, r.Table)
		require.Equal(t, protocol, r.Protocol)
		require.Equal(t, net.IP(float.AsSlice()), r.Src)
	}
	require.Equal(t, []string{"192.0.2.0/24", "10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"}, to)
	last := got[len(got)-1]
	require.Equal(t, []any{100, unix.RTNH_F_ONLINK, 1400, gw}, []any{last.Priority, last.Flags, last.MTU, last.Gw})
	require.Equal(t, []any{0, 2, gw}, []any{len(got[1].MultiPath), got[1].LinkIndex, got[1].Gw}, "of two hops one is dead")
	require.Equal(t, 3, main[2].MultiPath[0].Hops)
	require.NotZero(t, main[2].MultiPath[0].Flags, "what was listed is as it was")

	require.Empty(t, copies(main, 7, m, []netip.Addr{netip.MustParseAddr("192.0.2.9")}), "the machine has none")
	local := copies([]netlink.Route{routeFor("fe80::/64", nil), routeFor("::/0", nil)}, 7, m, []netip.Addr{v6})
	require.Nil(t, local[0].Src, "to neighbours from what is theirs")
	require.Equal(t, net.IP(v6.AsSlice()), local[1].Src)

	// What is there stays, what is of no use goes, the default first.
	none, all := table{}.swap(got)
	require.Len(t, none, len(got))
	require.Empty(t, all)
	add, del := table{routes: got}.swap(got)
	require.Empty(t, add)
	require.Empty(t, del)
	add, del = table{routes: got}.swap(nil)
	require.Empty(t, add)
	require.Equal(t, "0.0.0.0/0", destinationOf(del[0]).String())
	require.Equal(t, "192.0.2.0/24", destinationOf(del[len(del)-1]).String())
	other := copies(main, 7, m, []netip.Addr{float})
	other[0].Src = nil
	add, del = table{routes: other}.swap(got)
	require.Len(t, add, 1, "another source takes its place")
	require.Empty(t, del)
}

// What we change ourselves wakes nobody.
func TestWhatMattersToOwners(t *testing.T) {
	o := &owning{floating: []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")}}
	message := func(kind uint16, data ...byte) syscall.NetlinkMessage {
		return syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: kind}, Data: data}
	}
	route := func(table, proto byte) []byte { return []byte{unix.AF_INET, 24, 0, 0, table, proto, 0, 1, 0, 0, 0, 0} }
	require.True(t, o.matters(message(unix.RTM_NEWROUTE, route(unix.RT_TABLE_MAIN, unix.RTPROT_STATIC)...)))
	require.True(t, o.matters(message(unix.RTM_DELROUTE, route(unix.RT_TABLE_MAIN, unix.RTPROT_KERNEL)...)))
	require.False(t, o.matters(message(unix.RTM_NEWROUTE, route(7, byte(protocol))...)))
	require.False(t, o.matters(message(unix.RTM_NEWROUTE, route(unix.RT_TABLE_UNSPEC, byte(protocol))...)), "a table of a large number")
	require.False(t, o.matters(message(unix.RTM_NEWROUTE, route(unix.RT_TABLE_MAIN, byte(protocol))...)), "a peer's")
	require.False(t, o.matters(message(unix.RTM_NEWROUTE, 2)))
	require.True(t, o.matters(message(unix.RTM_NEWLINK)))
	require.False(t, o.matters(message(unix.RTM_NEWNEIGH)))
	addr := func(kind byte, a ...byte) []byte {
		return append([]byte{unix.AF_INET, 32, 0, 0, 2, 0, 0, 0, byte(4 + len(a)), 0, kind, 0}, a...)
	}
	require.True(t, o.matters(message(unix.RTM_NEWADDR, addr(unix.IFA_LOCAL, 192, 0, 2, 10)...)))
	require.True(t, o.matters(message(unix.RTM_DELADDR, addr(unix.IFA_ADDRESS, netip.MustParseAddr("2001:db8::10").AsSlice()...)...)))
	require.False(t, o.matters(message(unix.RTM_NEWADDR, addr(unix.IFA_LOCAL, 192, 0, 2, 11)...)))
	require.False(t, o.matters(message(unix.RTM_NEWADDR)))
}

func TestRulesThatAreOurs(t *testing.T) {
	mine := *sourceRule(netlink.FAMILY_V6, 0x68660007)
	require.True(t, ourRule(mine) && wholeRule(mine))
	for name, change := range map[string]func(*netlink.Rule){
		"another place": func(r *netlink.Rule) { r.Priority-- },
		"another hand":  func(r *netlink.Rule) { r.Protocol = unix.RTPROT_STATIC },
		"another table": func(r *netlink.Rule) { r.Table = 7 },
	} {
		r := mine
		change(&r)
		require.False(t, ourRule(r), name)
	}
	part := mine
	part.IifName = "lo"
	require.True(t, ourRule(part) && !wholeRule(part), "it is ours, and does too little")
	for _, bad := range []uint32{0, 252, 253, 254, 255, 1<<32 - 1} {
		require.ErrorIs(t, checkMark(bad), unix.EINVAL, "%d", bad)
	}
	require.NoError(t, checkMark(1))
	require.NoError(t, checkMark(256))
}
