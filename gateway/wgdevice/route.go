//go:build linux

package wgdevice

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// protocol marks our routes, as "proto 104" in what ip(8) prints. The number is
// free: rt_protos(5) of iproute2 goes from 18 to 42, 99 and then 186, and what
// other programs are known to take is outside of it too.
const protocol netlink.RouteProtocol = 104

// routes appends our routes into the link to to, in order.
func (d *Device) routes(ctx context.Context, link netlink.Link, to []netip.Prefix) ([]netip.Prefix, error) {
	filter := &netlink.Route{LinkIndex: link.Attrs().Index, Protocol: protocol}
	list, err := again(ctx, func() ([]netlink.Route, error) {
		return d.nl.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_OIF)
	})
	if err != nil {
		return to, fmt.Errorf("list routes: %w", explain(err))
	}
	for _, r := range list {
		if p, ok := prefixOf(r.Dst); ok && r.Protocol == protocol && r.Type == unix.RTN_UNICAST {
			to = append(to, p)
		}
	}
	slices.SortFunc(to, netip.Prefix.Compare)
	return to, nil
}

// route makes p lead into the link, unless it leads elsewhere already.
func (d *Device) route(ctx context.Context, link netlink.Link, p netip.Prefix) error {
	err := d.nl.RouteAdd(routeTo(link, p))
	if !errors.Is(err, unix.EEXIST) {
		if err != nil {
			return fmt.Errorf("route %s: %w", p, explain(err))
		}
		return nil
	}
	have, listErr := d.routes(ctx, link, nil)
	if listErr != nil {
		return fmt.Errorf("route %s: %w", p, listErr)
	}
	if slices.Contains(have, p) {
		return nil
	}
	return fmt.Errorf("route %s: somebody else's route leads there (ip route show %s): delete it, "+
		"or leave the prefix out of the location: %w", p, p, err)
}

// unroute takes our route to p away from the link.
func (d *Device) unroute(link netlink.Link, p netip.Prefix) error {
	err := d.nl.RouteDel(routeTo(link, p))
	if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove route %s: %w", p, explain(err))
	}
	return nil
}

func routeTo(link netlink.Link, p netip.Prefix) *netlink.Route {
	r := &netlink.Route{
		LinkIndex: link.Attrs().Index,
		Dst:       ipNet(p.Masked()),
		Protocol:  protocol,
		Table:     unix.RT_TABLE_MAIN,
		Type:      unix.RTN_UNICAST,
	}
	if p.Addr().Is4() {
		r.Scope = netlink.SCOPE_LINK
	}
	return r
}
