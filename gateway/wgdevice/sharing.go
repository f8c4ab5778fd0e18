//go:build linux

package wgdevice

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Tables are known by marks, and interfaces by names. Who asked for a table stands in
// it: records have as their metric a number made of the interface's name. So an interface
// leaves alone what is another one's, and takes away what is its own, or that of one
// that has gone: of a process that was killed while it changed a mark, for instance.

// ownerOf makes a number of an interface's name: never 0, and no metric that the kernel
// gives by itself.
func ownerOf(name string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	return h.Sum32()&(1<<31-1) | 1<<30
}

// shared says whether the table is another interface's, which is there.
func (t table) shared(m machine) bool {
	return slices.ContainsFunc(t.others, func(r netlink.Route) bool { return m.owners[uint32(r.Priority)] })
}

// leftovers are the marks of ours that have a rule and a table which belong to this
// interface, or to none that is there. s.mu is held.
func (s *sources) leftovers(ctx context.Context) (marks []uint32, err error) {
	m, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	for _, family := range families {
		rules, err := s.rules(ctx, family, 0)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			t, err := s.table(ctx, family, r.Mark)
			if err != nil {
				return nil, err
			}
			if len(t.records)+len(t.others) > 0 && !t.shared(m) {
				marks = append(marks, r.Mark)
			}
		}
	}
	return marks, nil
}

// unrecord takes away the records of this interface that are not for floating addresses,
// and those of interfaces that have gone.
func (s *sources) unrecord(t table, mark uint32, m machine, floating []netip.Addr) error {
	var gone []netlink.Route
	for _, a := range t.records {
		if !slices.Contains(floating, a) {
			gone = append(gone, recordOf(a, int(mark), ownerOf(s.name)))
		}
	}
	for _, r := range t.others {
		if !m.owners[uint32(r.Priority)] {
			gone = append(gone, recordOf(destinationOf(r).Addr(), int(mark), uint32(r.Priority)))
		}
	}
	var errs []error
	for _, r := range gone {
		if err := s.nl.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("note in routing table %d that %s is not floating: %w", mark, destinationOf(r).Addr(), explain(err)))
		}
	}
	return join(errs...)
}
