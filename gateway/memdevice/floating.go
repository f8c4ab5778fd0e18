package memdevice

import (
	"context"
	"net/netip"
	"slices"

	"github.com/holdfastvpn/holdfast/gateway"
)

// floating is what has to do with addresses that move between machines.
type floating struct {
	machine map[netip.Addr]bool // those that the machine has, floating or not
	mark    uint32              // what is sent with it leaves from link.iface.Floating
	broken  bool                // somebody took that away
	owners  map[*owner]bool
}

// owner is one who wants to know.
type owner struct {
	asked []netip.Addr
	told  []netip.Addr
	out   chan []netip.Addr
}

// SetOwned gives the machine these addresses, and no others. Channels of Own tell of
// it before it returns, also while [Device.Block] blocks.
func (d *Device) SetOwned(addrs ...netip.Addr) {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	d.link.floating.machine = map[netip.Addr]bool{}
	for _, a := range addrs {
		d.link.floating.machine[a] = true
	}
	d.link.flows.forget(d.link.floating.machine)
	d.link.floating.tell()
}

// Own implements gateway.Owner. A handle that is closed tells nothing; one that is
// closed later goes on until ctx ends.
func (d *Device) Own(ctx context.Context, i gateway.Interface) <-chan []netip.Addr {
	o := &owner{asked: slices.Clone(i.Floating), out: make(chan []netip.Addr, 1)}
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return o.out
	}
	l := d.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.floating.owners == nil {
		l.floating.owners = map[*owner]bool{}
	}
	l.floating.owners[o] = true
	o.tell(l.floating.of(o.asked))
	context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.floating.owners, o)
	})
	return o.out
}

// of returns those of the addresses that the machine has.
func (f *floating) of(asked []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range asked {
		if f.machine[a] {
			out = append(out, a)
		}
	}
	return out
}

// tell tells all who do not know.
func (f *floating) tell() {
	for o := range f.owners {
		if now := f.of(o.asked); !slices.Equal(now, o.told) {
			o.tell(now)
		}
	}
}

// tell puts what is true now in place of what nobody has read yet.
func (o *owner) tell(now []netip.Addr) {
	o.told = now
	select {
	case <-o.out:
	default:
	}
	o.out <- slices.Clone(now)
}

// meddle is somebody else's hand on addresses: before and after are what Observe
// gave and what became of it.
func (f *floating) meddle(before, after gateway.State) {
	if f.machine == nil {
		f.machine = map[netip.Addr]bool{}
	}
	for _, a := range before.Owned {
		delete(f.machine, a)
	}
	for _, a := range after.Owned {
		f.machine[a] = true
	}
	f.broken = !after.Sourced
	if after.Sourced {
		f.mark = after.Interface.Mark
	}
	f.tell()
}
