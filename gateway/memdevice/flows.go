package memdevice

import (
	"context"
	"iter"
	"maps"
	"net/netip"
	"os"
	"slices"

	"github.com/holdfastvpn/holdfast/gateway"
)

// flows are connections that the machine knows, whatever they are translated to.
type flows struct {
	all     map[gateway.Flow]bool
	changed chan struct{} // closed when there is something new; nil: nobody waits
}

// Connect has peers have connections by way of the machine, as their packets would make
// them, and Disconnect ends them.
func (d *Device) Connect(list ...gateway.Flow) {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	for _, f := range list {
		d.link.flows.add(f)
	}
	d.link.flows.wake()
}

// Disconnect is said with Connect.
func (d *Device) Disconnect(list ...gateway.Flow) {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	for _, f := range list {
		delete(d.link.flows.all, f)
	}
	d.link.flows.wake()
}

// Connections returns those that the machine knows, in no order.
func (d *Device) Connections() []gateway.Flow {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	return slices.Collect(maps.Keys(d.link.flows.all))
}

// add takes in a connection, unless it is in the way of another one.
func (f *flows) add(n gateway.Flow) {
	for have := range f.all {
		same := have.UDP == n.UDP && have.To == n.To
		if same && (have.From == n.From || have.Inner == n.Inner) {
			return
		}
	}
	if f.all == nil {
		f.all = map[gateway.Flow]bool{}
	}
	f.all[n] = true
}

func (f *flows) wake() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// forget forgets connections whose addresses the machine has not.
func (f *flows) forget(machine map[netip.Addr]bool) {
	maps.DeleteFunc(f.all, func(f gateway.Flow, _ bool) bool { return !machine[f.Inner.Addr()] })
	f.wake()
}

// Flows implements gateway.Tracker.
func (d *Device) Flows(ctx context.Context, i gateway.Interface) iter.Seq[gateway.FlowChange] {
	return func(yield func(gateway.FlowChange) bool) {
		d.mu.Lock()
		closed := d.closed
		d.mu.Unlock()
		if closed || len(i.Inner) == 0 || len(i.Masquerade) == 0 {
			return
		}
		r := flowReader{face: i}
		for ctx.Err() == nil {
			c, some, changed := r.next(d.link)
			if some {
				if !yield(c) {
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// flowReader is what one who reads was told.
type flowReader struct {
	face gateway.Interface
	here []netip.Addr
	told map[gateway.Flow]bool
	all  bool // all is to be told
	some bool // something was
}

// next works out what to tell, or what to wait for.
func (r *flowReader) next(l *link) (c gateway.FlowChange, some bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	here := l.floating.of(r.face.Inner)
	now := map[gateway.Flow]bool{}
	for f := range l.flows.all {
		if r.face.Translates(f) && slices.Contains(here, f.Inner.Addr()) {
			now[f] = true
		}
	}
	c.Here = slices.Clone(here)
	if !r.some || !slices.Equal(here, r.here) {
		came := slices.ContainsFunc(here, func(a netip.Addr) bool { return !slices.Contains(r.here, a) })
		r.some, r.all, r.here = true, r.all || came, here
		maps.DeleteFunc(r.told, func(f gateway.Flow, _ bool) bool { return !slices.Contains(here, f.Inner.Addr()) })
		c.All = len(here) == 0
		return c, true, nil
	}
	for f := range now {
		if r.all || !r.told[f] {
			c.Began = append(c.Began, f)
		}
	}
	for f := range r.told {
		if !now[f] && !r.all {
			c.Ended = append(c.Ended, f)
		}
	}
	if c.All, r.all = r.all, false; c.All || len(c.Began)+len(c.Ended) > 0 {
		r.told = now
		return c, true, nil
	}
	if l.flows.changed == nil {
		l.flows.changed = make(chan struct{})
	}
	return c, false, l.flows.changed
}

// Adopt implements gateway.Tracker.
func (d *Device) Adopt(ctx context.Context, i gateway.Interface, list []gateway.Flow) error {
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return fail("adopt", os.ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return fail("adopt", err)
	}
	list = slices.DeleteFunc(slices.Clone(list), func(f gateway.Flow) bool { return !i.Translates(f) })
	d.Connect(list...)
	return nil
}
