//go:build linux

package wgdevice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
)

// Packets for peers that siblings carry go there by routes in a table of ours, which a
// rule of ours has everything asked before main: so a prefix that main leads into the
// interface leads to the sibling while it carries the peer.

const (
	// ourTable is the first half of the number of the table; the other half is the
	// port, which interfaces of one machine cannot share.
	ourTable = 0x6867 << 16
	// detourPriority is where the rule stands: next to those of floating addresses.
	detourPriority = sourcePriority + 1
)

// detours are what the table has, and who the siblings are.
type detours struct {
	table    int
	have     map[netip.Prefix]netip.Addr // nil: not looked at yet
	looked   time.Time                   // when it was
	siblings []nextHop                   // that the filter is for
	isolated bool
}

// believed is how long it is taken for true that nobody else changed detours.
const believed = 10 * time.Second

// nextHop is a sibling on a link.
type nextHop struct {
	addr netip.Addr
	link string
	mac  string // as bytes
}

// Detour implements gateway.Detourer. The siblings have to be on a link of the machine,
// as next hops are.
func (d *Device) Detour(ctx context.Context, i gateway.Interface, want []gateway.Detour) error {
	if d.closed {
		return errClosed
	}
	if table := ourTable | int(i.Port); d.detours.table != table {
		if d.detours.table != 0 {
			if err := d.undetour(ctx); err != nil {
				return err
			}
		}
		d.detours = detours{table: table}
	}
	if len(want) == 0 {
		return d.undetour(ctx)
	}
	hops, err := d.nextHops(want)
	errs := []error{err}
	if stale := time.Since(d.detours.looked) > believed; d.detours.have == nil || stale {
		if d.detours.have, err = d.listDetours(ctx); err != nil {
			return err
		}
		d.detours.looked = time.Now()
		if stale { // nor is it sure that nobody changed the rest
			d.detours.siblings = nil
		}
	}
	// Guarded first: no packet takes a detour that could take it again.
	if !slices.Equal(hops, d.detours.siblings) || d.detours.isolated != i.Isolated {
		if err := d.guard.set(hops, i.Isolated); err != nil {
			return join(append(errs, err)...)
		}
		d.detours.siblings, d.detours.isolated = hops, i.Isolated
	}
	errs = append(errs, d.swapDetours(want, hops))
	if err := d.detourRule(true); err != nil {
		errs = append(errs, err)
	}
	if err := join(errs...); err != nil {
		d.detours.have = nil
		return err
	}
	return nil
}

// swapDetours makes the routes be as wanted, as far as the next hops are there.
func (d *Device) swapDetours(want []gateway.Detour, hops []nextHop) error {
	var errs []error
	keep := make(map[netip.Prefix]bool, len(want))
	for _, w := range want {
		if !slices.ContainsFunc(hops, func(h nextHop) bool { return h.addr == w.Via }) {
			continue
		}
		keep[w.To] = true
		if d.detours.have[w.To] == w.Via {
			continue
		}
		if err := d.nl.RouteReplace(d.detourTo(w.To, w.Via)); err != nil {
			errs = append(errs, fmt.Errorf("pass on %s by way of %s: %w", w.To, w.Via, explain(err)))
			continue
		}
		d.detours.have[w.To] = w.Via
	}
	for to, via := range d.detours.have {
		if keep[to] {
			continue
		}
		if err := d.nl.RouteDel(d.detourTo(to, via)); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("no more pass on %s by way of %s: %w", to, via, explain(err)))
			continue
		}
		delete(d.detours.have, to)
	}
	return join(errs...)
}

func (d *Device) detourTo(to netip.Prefix, via netip.Addr) *netlink.Route {
	return &netlink.Route{Dst: ipNet(to), Gw: via.AsSlice(), Table: d.detours.table, Protocol: protocol, Type: unix.RTN_UNICAST}
}

// listDetours reads what an earlier process left.
func (d *Device) listDetours(ctx context.Context) (map[netip.Prefix]netip.Addr, error) {
	out := map[netip.Prefix]netip.Addr{}
	for _, family := range families {
		list, err := again(ctx, func() ([]netlink.Route, error) {
			return d.nl.RouteListFiltered(family, &netlink.Route{Table: d.detours.table}, netlink.RT_FILTER_TABLE)
		})
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) {
			continue // there is no such table
		}
		if err != nil {
			return nil, fmt.Errorf("list routes of table %d: %w", d.detours.table, explain(err))
		}
		for _, r := range list {
			via, _ := netip.AddrFromSlice(r.Gw)
			if r.Protocol == protocol {
				out[destinationOf(r)] = via.Unmap()
			}
		}
	}
	return out, nil
}

// undetour takes away all that has to do with detours.
func (d *Device) undetour(ctx context.Context) error {
	if d.detours.table == 0 {
		return nil
	}
	errs := []error{d.detourRule(false)}
	have, err := d.listDetours(ctx)
	d.detours.have = have
	if err == nil {
		err = d.swapDetours(nil, nil)
	}
	errs = append(errs, err, d.guard.remove())
	d.detours.siblings = nil
	return join(errs...)
}

// detourRule makes the rule of each family be there, or not.
func (d *Device) detourRule(want bool) error {
	var errs []error
	for _, family := range families {
		r := netlink.NewRule()
		r.Family, r.Table, r.Priority, r.Protocol = family, d.detours.table, detourPriority, uint8(protocol)
		err := d.nl.RuleAdd(r)
		if !want {
			err = d.nl.RuleDel(r)
			if errors.Is(err, unix.ENOENT) {
				err = nil
			}
		}
		if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
			errs = append(errs, fmt.Errorf("the routing rule of table %d: %w", d.detours.table, explain(err)))
		}
	}
	return join(errs...)
}

// nextHops finds the siblings, in order, that can be sent to now; an error says which
// cannot. Who has not answered to its address yet is asked by what is sent there.
func (d *Device) nextHops(want []gateway.Detour) ([]nextHop, error) {
	var out []nextHop
	var errs []error
	asked := map[netip.Addr]bool{}
	for _, w := range want {
		if asked[w.Via] {
			continue
		}
		asked[w.Via] = true
		h, err := d.nextHop(w.Via)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b nextHop) int { return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.mac, b.mac)) })
	return out, join(errs...)
}

func (d *Device) nextHop(via netip.Addr) (nextHop, error) {
	_ = d.nl.SetStrictCheck(false) // the library asks in a way that a strict kernel refuses
	defer func() { _ = d.nl.SetStrictCheck(true) }()
	routes, err := d.nl.RouteGet(via.AsSlice())
	if err == nil && len(routes) == 0 {
		err = unix.EHOSTUNREACH
	}
	if err != nil {
		return nextHop{}, fmt.Errorf("find the way to sibling %s: %w", via, explain(err))
	}
	if routes[0].Gw != nil {
		return nextHop{}, fmt.Errorf("sibling %s is behind a router (ip route get %s): packets are passed on within one network only: "+
			"give gateways addresses in a network that they share: %w", via, via, unix.EHOSTUNREACH)
	}
	link, err := d.nl.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return nextHop{}, fmt.Errorf("find the link to sibling %s: %w", via, explain(err))
	}
	list, err := d.nl.NeighList(routes[0].LinkIndex, familyOf(via))
	if err != nil {
		return nextHop{}, fmt.Errorf("list neighbours on %s: %w", link.Attrs().Name, explain(err))
	}
	for _, n := range list {
		if a, ok := netip.AddrFromSlice(n.IP); ok && a.Unmap() == via && len(n.HardwareAddr) > 0 {
			return nextHop{via, link.Attrs().Name, string(n.HardwareAddr)}, nil
		}
	}
	d.knock(via)
	return nextHop{}, fmt.Errorf("sibling %s does not answer on %s yet: %w", via, link.Attrs().Name, unix.EHOSTUNREACH)
}

// knock sends something to an address, so that its neighbour is looked for.
func (d *Device) knock(to netip.Addr) {
	const discard = 9
	_ = d.ns.do(func() error {
		family := unix.AF_INET
		var sa unix.Sockaddr = &unix.SockaddrInet4{Port: discard, Addr: [4]byte(to.AsSlice()[:4])}
		if to.Is6() {
			family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: discard, Addr: to.As16()}
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		return errors.Join(unix.Sendto(fd, nil, 0, sa), unix.Close(fd))
	})
}
