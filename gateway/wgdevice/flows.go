//go:build linux

package wgdevice

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
)

const (
	// flowGather is how long changes are gathered before they are told.
	flowGather = 50 * time.Millisecond
	// flowRepair is how often all connections are looked at: with
	// net.netfilter.nf_conntrack_events=2 (the default since Linux 5.19) the kernel tells
	// nothing of those that began while nobody listened.
	flowRepair = 30 * time.Second
	// flowRest is the least time between two looks, and flowShare how many times longer
	// than a look took: a machine that makes connections faster than they can be told
	// has something better to do.
	flowRest  = time.Second
	flowShare = 20
)

// Flows implements gateway.Tracker. It goes on when the Device is closed, until ctx ends.
func (d *Device) Flows(ctx context.Context, i gateway.Interface) iter.Seq[gateway.FlowChange] {
	return func(yield func(gateway.FlowChange) bool) {
		if len(i.Inner) == 0 || len(i.Masquerade) == 0 || d.sources == nil || !d.sources.take() {
			return
		}
		ctx, end := context.WithCancel(ctx) // whoever stops reading ends it, too
		defer end()
		t := &tracking{sources: d.sources, face: i, moved: make(chan struct{}, 1), told: make(chan struct{}, 1)}
		defer func() { _ = t.give() }()
		for again := false; ctx.Err() == nil; again = true {
			if again {
				wait(ctx, flowRest)
			}
			err := t.run(ctx, yield)
			if errors.Is(err, errUnread) {
				return
			}
			if err != nil && ctx.Err() == nil {
				t.log.Warn("siblings are not told of connections, which may hang when they take over", "interface", t.name, "err", err)
			}
		}
	}
}

// Adopt implements gateway.Tracker. It waits for connections to be forgotten whose address
// had left.
func (d *Device) Adopt(ctx context.Context, i gateway.Interface, flows []gateway.Flow) error {
	flows = slices.DeleteFunc(slices.Clone(flows), func(f gateway.Flow) bool { return !i.Translates(f) })
	if len(flows) == 0 {
		return nil
	}
	if d.sources == nil || !d.sources.take() {
		return errClosed
	}
	s := d.sources
	defer func() { _ = s.give() }()
	s.flows.Lock()
	defer s.flows.Unlock()
	t, err := openFlowTable(s.ns)
	if err != nil {
		return fmt.Errorf("wgdevice: %s: %w", s.name, err)
	}
	defer func() { _ = t.close() }()
	if err := t.add(ctx, flows); err != nil {
		return fmt.Errorf("wgdevice: %s: %w", s.name, err)
	}
	return nil
}

// errUnread says that nobody reads on.
var errUnread = errors.New("nobody reads on")

// tracking is one call of Flows.
type tracking struct {
	*sources

	face  gateway.Interface
	moved chan struct{} // an address came or went
	told  chan struct{} // there is something in news

	here    []netip.Addr
	looked  time.Time     // when the last look at all connections ended
	rest    time.Duration // until the next one at the earliest
	changed bool          // there may be something that news does not say

	ears sync.Mutex // guards what follows
	news map[gateway.Flow]bool
	lost bool // more than news says
}

// run follows connections until ctx ends, or something is wrong with it.
func (t *tracking) run(ctx context.Context, yield func(gateway.FlowChange) bool) error {
	inner, end := context.WithCancel(ctx)
	var hearing sync.WaitGroup
	defer hearing.Wait()
	defer end()
	events, err := openFlowTable(t.ns, unix.NFNLGRP_CONNTRACK_NEW, unix.NFNLGRP_CONNTRACK_UPDATE, unix.NFNLGRP_CONNTRACK_DESTROY)
	if err != nil {
		return err
	}
	context.AfterFunc(inner, func() { _ = events.close() })
	if err := t.hearAddresses(inner); err != nil {
		return err
	}
	t.news, t.changed = map[gateway.Flow]bool{}, true
	hearing.Go(func() { t.hear(events) })
	repair := time.NewTicker(flowRepair)
	defer repair.Stop()
	leaveWord(t.moved)
	var gathered <-chan time.Time // nil: there is nothing to gather
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.told:
			if gathered == nil {
				gathered = time.After(flowGather)
			}
			continue
		case <-repair.C:
			t.changed = true
		case <-t.moved:
		case <-gathered:
		}
		gathered = nil
		again, err := t.tell(ctx, yield)
		if err != nil {
			return err
		}
		if again > 0 {
			gathered = time.After(again)
		}
	}
}

// tell tells what there is to tell, and after how long to come again, if there will be.
func (t *tracking) tell(ctx context.Context, yield func(gateway.FlowChange) bool) (again time.Duration, err error) {
	here, err := t.has(ctx, t.face.Inner)
	if err != nil {
		return 0, err
	}
	came := slices.ContainsFunc(here, func(a netip.Addr) bool { return !slices.Contains(t.here, a) })
	first := t.looked.IsZero()
	if came || first || !slices.Equal(here, t.here) {
		t.here = here
		if !yield(gateway.FlowChange{Here: slices.Clone(here), All: len(here) == 0}) {
			return 0, errUnread
		}
	}
	news, lost := t.heard()
	if t.changed = t.changed || lost || came || first; t.changed {
		if wait := t.rest - time.Since(t.looked); !came && wait > 0 {
			return wait, nil
		}
		return 0, t.tellAll(ctx, yield)
	}
	c := gateway.FlowChange{Here: slices.Clone(here)}
	for f, is := range news {
		switch ours := slices.Contains(here, f.Inner.Addr()); {
		case ours && is:
			c.Began = append(c.Began, f)
		case ours:
			c.Ended = append(c.Ended, f)
		}
	}
	if len(c.Began)+len(c.Ended) > 0 && !yield(c) {
		return 0, errUnread
	}
	return 0, nil
}

// tellAll looks at all connections and tells them. What news said before is in it.
func (t *tracking) tellAll(ctx context.Context, yield func(gateway.FlowChange) bool) error {
	began := time.Now()
	c := gateway.FlowChange{Here: slices.Clone(t.here), All: true}
	if len(t.here) > 0 {
		table, err := openFlowTable(t.ns)
		if err != nil {
			return err
		}
		err = table.dump(ctx, func(f gateway.Flow) {
			if t.face.Translates(f) && slices.Contains(t.here, f.Inner.Addr()) {
				c.Began = append(c.Began, f)
			}
		})
		if err := errors.Join(err, table.close()); err != nil {
			return err
		}
		// Nothing is told of what was forgotten with an address that has left meanwhile.
		now, err := t.has(ctx, t.face.Inner)
		if err != nil {
			return err
		}
		if !slices.Equal(now, t.here) {
			leaveWord(t.moved)
			return nil
		}
	}
	t.looked, t.changed = time.Now(), false
	t.rest = max(flowRest, flowShare*t.looked.Sub(began))
	if !yield(c) {
		return errUnread
	}
	return nil
}

// heard takes what was heard of.
func (t *tracking) heard() (news map[gateway.Flow]bool, lost bool) {
	t.ears.Lock()
	defer t.ears.Unlock()
	news, lost = t.news, t.lost
	t.news, t.lost = map[gateway.Flow]bool{}, false
	return news, lost
}

// hear hears of connections until the socket is closed.
func (t *tracking) hear(events *flowTable) {
	for {
		var flow gateway.Flow
		news := flowNothing
		err := events.messages(func(kind uint16, _ uint32, v []byte) { flow, news = parseFlow(kind, v) })
		lost := errors.Is(err, unix.ENOBUFS)
		if err != nil && !lost && !errors.Is(err, errMalformed) {
			return
		}
		if !lost && (news == flowNothing || !t.face.Translates(flow)) {
			continue
		}
		t.ears.Lock()
		if lost || len(t.news) >= maxFlowNews {
			t.lost, t.news = true, map[gateway.Flow]bool{}
		} else {
			t.news[flow] = news == flowIs
		}
		t.ears.Unlock()
		leaveWord(t.told)
	}
}

// maxFlowNews is how many changes are remembered until they are told: with more, all
// are looked at.
const maxFlowNews = 1 << 14

// hearAddresses signals when an inner address comes or goes.
func (t *tracking) hearAddresses(ctx context.Context) error {
	return t.ns.do(func() error {
		socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
		if err != nil {
			return fmt.Errorf("hear of addresses: %w", explain(err))
		}
		context.AfterFunc(ctx, socket.Close)
		go listen(socket, func(m syscall.NetlinkMessage) bool { return addressOf(m.Data, t.face.Inner) }, t.moved)
		return nil
	})
}

// leaveWord leaves word for whoever reads c.
func leaveWord(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // there is one
	}
}

// wait waits for a time, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
