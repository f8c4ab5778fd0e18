//go:build linux

package wgdevice

import (
	"errors"

	"github.com/vishvananda/netlink"

	"github.com/holdfastvpn/holdfast/gateway"
)

// Disturbed reads the device, which is of the kernel, as Observe does, but once
// only and unsorted. Between the first datagram and the next it calls meanwhile.
// It says whether the kernel told that something was changed.
func Disturbed(d *Device, s *gateway.State, meanwhile func()) (interrupted bool, err error) {
	link, _, err := d.find()
	if err != nil {
		return false, err
	}
	if _, err = d.wireguard(link); err != nil {
		return false, err
	}
	list, ok := d.kernel.list.(*dumper)
	if !ok {
		return false, errors.ErrUnsupported
	}
	s.Peers = s.Peers[:0]
	reply, err := list.ask(d.name, s)
	if err == nil {
		err = list.next(reply)
	}
	meanwhile()
	for err == nil && !reply.done {
		err = list.next(reply)
	}
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		return true, nil
	}
	return err == nil && reply.interrupted, err
}
