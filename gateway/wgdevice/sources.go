//go:build linux

package wgdevice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
)

// sources makes what WireGuard sends leave from floating addresses. A Device has
// one, and whoever is told of addresses (Own) uses the same, also when the Device
// has been closed.
type sources struct {
	name string
	log  *slog.Logger

	flows sync.Mutex // held while connections are forgotten or adopted; before mu

	mu    sync.Mutex // guards what follows, and has one at a time change tables
	users int        // the Device, and who is told
	ns    *namespace
	nl    *netlink.Handle
	wg    *wgctrl.Client // of refresh; nil until it is needed
	last  uint32         // the mark whose rules and table are ours, as far as we know; 0: none
}

// newSources takes handles of its own.
func newSources(ns *namespace, name string, log *slog.Logger) (*sources, error) {
	own, err := ns.clone()
	if err != nil {
		return nil, err
	}
	s := &sources{name: name, log: log, users: 1, ns: own}
	err = own.do(func() error {
		s.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, join(err, own.Close())
	}
	_ = s.nl.SetStrictCheck(true) // as in Device.open
	return s, nil
}

// take says that one more uses s, unless it was closed.
func (s *sources) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		return false
	}
	s.users++
	return true
}

// give is for each who took, and for the first; the last one closes s.
func (s *sources) give() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	s.nl.Close()
	return join(s.unplug(), s.ns.Close())
}

// look sees what the machine has.
func (s *sources) look(ctx context.Context) (machine, error) {
	links, err := again(ctx, s.nl.LinkList)
	if err != nil {
		return machine{}, fmt.Errorf("list links: %w", explain(err))
	}
	addrs, err := again(ctx, func() ([]netlink.Addr, error) { return s.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return machine{}, fmt.Errorf("list addresses: %w", explain(err))
	}
	return machineOf(s.name, links, addrs), nil
}

// list lists the routes of a family in a table; one that is not there has none.
func (s *sources) list(ctx context.Context, family int, number uint32) ([]netlink.Route, error) {
	list, err := again(ctx, func() ([]netlink.Route, error) {
		return s.nl.RouteListFiltered(family, &netlink.Route{Table: int(number)}, netlink.RT_FILTER_TABLE)
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list routes of table %d: %w", number, explain(err))
	}
	return list, nil
}

// table lists what is in the table of the mark.
func (s *sources) table(ctx context.Context, family int, mark uint32) (table, error) {
	list, err := s.list(ctx, family, mark)
	return tableOf(list, ownerOf(s.name)), err
}

// rules lists our rules of the mark, or all of ours for 0. The library asks for rules in a way that a
// strict kernel refuses.
func (s *sources) rules(ctx context.Context, family int, mark uint32) ([]netlink.Rule, error) {
	_ = s.nl.SetStrictCheck(false)
	defer func() { _ = s.nl.SetStrictCheck(true) }()
	list, err := again(ctx, func() ([]netlink.Rule, error) { return s.nl.RuleList(family) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, nil // and to make one will say so
	}
	if err != nil {
		return nil, fmt.Errorf("list routing rules: %w", explain(err))
	}
	return slices.DeleteFunc(list, func(r netlink.Rule) bool {
		return r.Family != family || !ourRule(r) || r.Mark != mark && mark != 0
	}), nil
}

// sourcing is what of floating addresses there is with a mark.
type sourcing struct {
	floating []netip.Addr
	owned    []netip.Addr
	right    bool // what is sent leaves from owned, and will from what comes
}

// settling is how long what is seen may be behind the addresses while somebody is
// told of them.
const settling = 2 * time.Millisecond

// read sees what is there. While an address comes, whoever is told of it takes a
// moment to make the table: that is not what is seen.
func (s *sources) read(ctx context.Context, mark uint32) (sourcing, error) {
	const most = 60
	for n := 1; ; n++ {
		got, busy, err := s.readOnce(ctx, mark)
		if err != nil || got.right || !busy || n == most {
			return got, err
		}
		t := time.NewTimer(settling)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return got, ctx.Err()
		}
	}
}

func (s *sources) readOnce(ctx context.Context, mark uint32) (got sourcing, busy bool, err error) {
	got.right = true
	if checkMark(mark) != nil {
		return got, false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var tables [len(families)]table
	for i, family := range families {
		if tables[i], err = s.table(ctx, family, mark); err != nil {
			return sourcing{}, false, err
		}
		got.floating = append(got.floating, tables[i].records...)
	}
	if len(got.floating) == 0 {
		return got, false, nil
	}
	s.last = mark
	m, err := s.look(ctx)
	if err != nil {
		return sourcing{}, false, err
	}
	got.owned = m.owned(got.floating)
	for i, family := range families {
		right, err := s.right(ctx, family, mark, tables[i], m)
		if err != nil {
			return sourcing{}, false, err
		}
		got.right = got.right && right
	}
	return got, s.users > 1, nil
}

// right says whether the rule and the table of a family are as they shall be.
func (s *sources) right(ctx context.Context, family int, mark uint32, t table, m machine) (bool, error) {
	if len(t.records) == 0 {
		return true, nil // left over, and nobody's way
	}
	rules, err := s.rules(ctx, family, mark)
	if err != nil || len(rules) != 1 || !wholeRule(rules[0]) || t.foreign {
		return false, err
	}
	want, err := s.wanted(ctx, family, mark, m, t.records)
	if err != nil {
		return false, err
	}
	add, del := t.swap(want)
	return len(add) == 0 && len(del) == 0, nil
}

// wanted are the copies that a table shall have.
func (s *sources) wanted(ctx context.Context, family int, mark uint32, m machine, floating []netip.Addr) ([]netlink.Route, error) {
	if len(m.owned(floating)) == 0 {
		return nil, nil
	}
	main, err := s.list(ctx, family, unix.RT_TABLE_MAIN)
	return copies(main, int(mark), m, floating), err
}

// move makes what is sent with a mark leave from the floating addresses, in place of
// what was sent with the mark before. In between set gives WireGuard the mark: what
// it sends finds a table by either. If the new table cannot be made, everything goes
// on by the old one, and set is told to leave the mark.
func (s *sources) move(ctx context.Context, from, to uint32, floating []netip.Addr, set func(mark bool) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.last
	changed, err := s.put(ctx, to, floating)
	errs := []error{err, set(err == nil)}
	if err != nil {
		if from != to {
			_, err = s.put(ctx, to, nil) // what could be made
			errs, s.last = append(errs, err), before
		}
		return join(errs...)
	}
	left, err := s.leftovers(ctx)
	errs = append(errs, err)
	for _, old := range append(left, from, before) {
		if old != to {
			_, err := s.put(ctx, old, nil)
			errs = append(errs, err)
		}
	}
	if changed && from == to {
		if m, err := s.look(ctx); err == nil && m.kernel {
			errs = append(errs, s.refresh(to))
		}
	}
	return join(errs...)
}

// recorded are the floating addresses of a mark, as they were configured.
func (s *sources) recorded(ctx context.Context, mark uint32) ([]netip.Addr, error) {
	got, err := s.read(ctx, mark)
	return got.floating, err
}

// remove takes away what is of a mark, and of the one that was configured last.
func (s *sources) remove(ctx context.Context, mark uint32) error {
	return s.move(ctx, mark, 0, nil, func(bool) error { return nil })
}

// put makes the rules and the tables of a mark be for the floating addresses; with
// none they go. s.mu is held.
func (s *sources) put(ctx context.Context, mark uint32, floating []netip.Addr) (changed bool, err error) {
	if err := checkMark(mark); err != nil {
		if len(floating) == 0 {
			return false, nil // there never was one
		}
		return false, err
	}
	m, err := s.look(ctx)
	if err != nil {
		return false, err
	}
	var errs []error
	for _, family := range families {
		fresh, err := s.putFamily(ctx, family, mark, m, ofFamily(family, floating))
		changed = changed || fresh
		errs = append(errs, err)
	}
	switch {
	case len(floating) > 0:
		s.last = mark
	case s.last == mark:
		s.last = 0
	}
	return changed, join(errs...)
}

// putFamily is put for one family; changed says that packets may leave from
// elsewhere now. The record comes first and goes last, so that whatever a crash
// leaves is found.
func (s *sources) putFamily(ctx context.Context, family int, mark uint32, m machine, floating []netip.Addr) (changed bool, err error) {
	t, err := s.table(ctx, family, mark)
	if err != nil {
		return false, err
	}
	if t.foreign && len(floating) > 0 {
		return false, fmt.Errorf("routing table %d has routes of somebody else (ip %s route show table %d): "+
			"choose another firewall mark for the location, or another table for them: %w", mark, option(family), mark, unix.EEXIST)
	}
	if t.shared(m) {
		if len(floating) == 0 {
			return false, s.unrecord(t, mark, m, nil)
		}
		return false, fmt.Errorf("routing table %d is that of another location on this machine, which has the same firewall mark: "+
			"give each its own (holdfast location set NAME --mark), or 0 for one of ours: %w", mark, unix.EEXIST)
	}
	if len(floating) == 0 {
		if err := s.putRule(ctx, family, mark, false); err != nil {
			return false, err
		}
	}
	for _, a := range floating {
		if !slices.Contains(t.records, a) {
			r := recordOf(a, int(mark), ownerOf(s.name))
			if err := s.nl.RouteAdd(&r); err != nil && !errors.Is(err, unix.EEXIST) {
				return false, fmt.Errorf("note in routing table %d that %s is floating: %w", mark, a, explain(err))
			}
		}
	}
	changed, err = s.fill(ctx, family, mark, t, m, floating)
	if err == nil && len(floating) > 0 {
		err = s.putRule(ctx, family, mark, true)
	}
	return changed, join(err, s.unrecord(t, mark, m, floating))
}

// option is what ip(8) calls a family.
func option(family int) string {
	if family == netlink.FAMILY_V4 {
		return "-4"
	}
	return "-6"
}

// putRule makes the one rule of a family and a mark be there, and whole, or not.
func (s *sources) putRule(ctx context.Context, family int, mark uint32, want bool) error {
	rules, err := s.rules(ctx, family, mark)
	if err != nil {
		return err
	}
	have := false
	for _, r := range rules {
		if want && !have && wholeRule(r) {
			have = true
			continue
		}
		if err := s.nl.RuleDel(&r); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove the routing rule of mark %#x: %w", mark, explain(err))
		}
	}
	if !want || have {
		return nil
	}
	err = s.nl.RuleAdd(sourceRule(family, mark))
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("this kernel has no routing by mark for family %s: it needs CONFIG_IP_MULTIPLE_TABLES and "+
			"CONFIG_IPV6_MULTIPLE_TABLES, and IPv6 switched on for IPv6: %w", option(family), err)
	case err != nil && !errors.Is(err, unix.EEXIST):
		return fmt.Errorf("add a routing rule for mark %#x: %w", mark, explain(err))
	}
	return nil
}

// fill makes the table of a family, which has t, send from the first of the floating
// addresses that the machine has. What is in the way of a route may pass, for
// addresses, links and routes change meanwhile, so it tries more than once.
func (s *sources) fill(ctx context.Context, family int, mark uint32, t table, m machine, floating []netip.Addr) (changed bool, err error) {
	const rounds = 3
	for n := 0; ; n++ {
		want, err := s.wanted(ctx, family, mark, m, floating)
		if err != nil {
			return changed, err
		}
		add, del := t.swap(want)
		if err = s.change(add, del); len(add)+len(del) > 0 {
			changed = true
		}
		if err == nil || n == rounds-1 || ctx.Err() != nil {
			return changed, err
		}
		if m, err = s.look(ctx); err == nil {
			t, err = s.table(ctx, family, mark)
		}
		if err != nil {
			return changed, err
		}
	}
}

// change changes a table of ours.
func (s *sources) change(add, del []netlink.Route) error {
	var errs []error
	for _, r := range add {
		if err := s.nl.RouteReplace(&r); err != nil {
			errs = append(errs, fmt.Errorf("copy the route to %s into table %d, to send from %v: %w", destinationOf(r), r.Table, r.Src, explain(err)))
		}
	}
	for _, r := range del {
		if err := s.nl.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove the route to %s from table %d: %w", destinationOf(r), r.Table, explain(err)))
		}
	}
	return join(errs...)
}
