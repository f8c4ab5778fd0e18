//go:build linux

package wgdevice

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
)

// Device is one WireGuard interface. See the package's documentation for what
// is ours and what is not. It is for one goroutine at a time, but for Own,
// Flows and Adopt.
type Device struct {
	name    string
	adopt   bool
	fixed   bool // the backend was chosen, not found
	backend Backend
	log     *slog.Logger

	ns     *namespace
	nl     *netlink.Handle
	filter *filter
	guard  guard   // beside it, of detours
	kernel *kernel // nil until it is needed
	space  space

	sources *sources // which address WireGuard sends from
	detours detours  // what is passed on to siblings

	// known is the index of the link that was ours when we looked last: it stays
	// ours when somebody puts another alias in place of our mark.
	known int
	// unforwarded is why packets are not forwarded, in words, when forwarding
	// was asked for last.
	unforwarded []string
	closed      bool
}

var (
	_ gateway.Device   = (*Device)(nil)
	_ gateway.Notifier = (*Device)(nil)
	_ gateway.Owner    = (*Device)(nil)
	_ gateway.Detourer = (*Device)(nil)
	_ gateway.Tracker  = (*Device)(nil)
)

// errClosed is what every use of a closed Device gives.
var errClosed = fmt.Errorf("wgdevice: the device is closed: %w", os.ErrClosed)

// Open checks that an interface of the name can be had, and changes nothing.
// Whatever is in the way it names, with what to do: missing rights
// (syscall.EPERM), a missing TUN device, a kernel without WireGuard, a name that
// something else has (gateway.ErrForeign), a namespace that is not there.
func Open(c Config) (*Device, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	d := &Device{name: c.Name, adopt: c.Adopt, fixed: c.Backend != Auto, backend: c.Backend, log: c.Log, space: newSpace(c)}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if err := d.open(c.NetNS); err != nil {
		_ = d.Close()
		if errors.Is(err, gateway.ErrForeign) {
			return nil, err
		}
		return nil, fmt.Errorf("wgdevice: open %s: %w", c.Name, err)
	}
	return d, nil
}

// open takes the handles and looks around.
func (d *Device) open(path string) (err error) {
	if d.ns, err = openNamespace(path); err != nil {
		return err
	}
	d.filter, d.guard = newFilter(d.ns, d.name), newGuard(d.ns, d.name)
	err = d.ns.do(func() error {
		d.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return err
	}
	// Then the kernel leaves out what a list is not about; an old one, which
	// cannot, tells all of it.
	_ = d.nl.SetStrictCheck(true)
	if d.sources, err = newSources(d.ns, d.name, d.log); err != nil {
		return err
	}
	link, whose, err := d.find()
	if err != nil && whose != stranger {
		return err
	}
	if link != nil {
		if err := d.settle(link); err != nil {
			return err
		}
	}
	return d.checkBackend(link != nil)
}

// checkBackend settles on a backend and sees whether it can be had, without
// making anything.
func (d *Device) checkBackend(there bool) error {
	if d.backend == Userspace {
		if err := probe(d.nl, kindTUN); errors.Is(err, unix.EPERM) {
			return explain(err)
		}
		if there {
			return nil
		}
		return checkTUN()
	}
	err := probe(d.nl, kindKernel)
	switch {
	case err == nil:
		d.backend = Kernel
		return nil
	case !errors.Is(err, unix.EOPNOTSUPP):
		return explain(err)
	case d.backend == Kernel:
		return noKernel(err)
	default:
		d.backend = Userspace
		return checkTUN()
	}
}

// Backend returns whose WireGuard the device uses, or would use: Kernel or
// Userspace.
func (d *Device) Backend() Backend { return d.backend }

// Close frees handles and leaves the interface as it is, running. Closing again
// is no error.
func (d *Device) Close() error {
	if d.closed {
		return nil
	}
	d.closed = true
	var errs []error
	if d.kernel != nil {
		errs = append(errs, d.kernel.close())
	}
	d.forget()
	if d.filter != nil {
		errs = append(errs, d.filter.close(), d.guard.close())
	}
	if d.nl != nil {
		d.nl.Close()
	}
	if d.sources != nil {
		errs = append(errs, d.sources.give())
	}
	if d.ns != nil {
		errs = append(errs, d.ns.Close())
	}
	return errors.Join(errs...)
}

// spot is where WireGuard in user space would run for this device.
func (d *Device) spot() spot { return spot{d.ns.place, d.name} }

// settle takes over the backend of a link that is there, if it may.
func (d *Device) settle(link netlink.Link) error {
	is := Kernel
	if kindOf(link) == kindTUN {
		is = Userspace
	}
	if d.fixed && d.backend != is {
		return fmt.Errorf("the interface runs on the %s backend, and %s was chosen: choose %s, or destroy it first", is, d.backend, is)
	}
	d.backend = is
	return nil
}

// wireguard returns the WireGuard behind a link that is ours.
func (d *Device) wireguard(link netlink.Link) (wireguard, error) {
	if err := d.settle(link); err != nil {
		return nil, err
	}
	if d.backend == Userspace {
		if u := d.user(link); u != nil {
			return u, nil
		}
		return nil, errEnded
	}
	if d.kernel == nil {
		k, err := newKernel(d.ns, d.name)
		if err != nil {
			return nil, explain(err)
		}
		d.kernel = k
	}
	return d.kernel, nil
}
