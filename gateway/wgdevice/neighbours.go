//go:build linux

package wgdevice

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice/announce"
)

// crier tells the neighbours where addresses are. It is for one goroutine at a time.
type crier struct {
	ns     *namespace
	sender *announce.Sender // nil: it could not be made
}

// ready opens what it takes, if that is not open: before there is anything to tell,
// since everybody waits then.
func (c *crier) ready() error {
	if c.sender != nil {
		return nil
	}
	return c.ns.do(func() (err error) {
		c.sender, err = announce.Open()
		return err
	})
}

// announce tells the neighbours where addresses are now, as whoever moved them does,
// too, but perhaps a moment later: until they have heard it, what clients answer goes
// to the machine that had the addresses before. On links without Ethernet nobody asks.
func (c *crier) announce(m machine, fresh []netip.Addr) error {
	if err := c.ready(); err != nil {
		return err
	}
	var errs []error
	for _, a := range fresh {
		index, has := m.addrs[a]
		link, ethernet := m.ether[index]
		if !has || !ethernet {
			continue
		}
		frame := announce.Frame(a, link.mac, a.Is6() && c.routes(link.name))
		if err := c.sender.Send(index, frame, frame); err != nil {
			errs = append(errs, fmt.Errorf("announce %s on %s: %w", a, link.name, err))
		}
	}
	return errors.Join(errs...)
}

// routes says whether the machine is a router for IPv6 on the link: an announcement
// that denied it would have neighbours drop their routes.
func (c *crier) routes(link string) (yes bool) {
	_ = c.ns.do(func() (err error) {
		yes, err = readSwitch("net/ipv6/conf/" + link + "/forwarding")
		return err
	})
	return yes
}

// close frees what is open. The kernel takes some 10 ms for it.
func (c *crier) close() error {
	if c.sender == nil {
		return nil
	}
	return c.sender.Close()
}
