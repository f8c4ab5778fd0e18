//go:build linux

package wgdevice

import (
	"errors"

	"github.com/holdfastvpn/holdfast/gateway"
)

// Records reads the device, which is of the kernel, once, and says how many
// parts of peers came.
func Records(d *Device) (int, error) {
	var s gateway.State
	list, err := d.dumper()
	if err == nil {
		err = list.read(d.name, &s)
	}
	return len(s.Peers), err
}

// Disturb has meanwhile called when the device, which is of the kernel, is read
// next: after the first datagram of the answer. The second function tells how
// many parts of peers came in each answer since.
func Disturb(d *Device, meanwhile func()) (func() []int, error) {
	list, err := d.dumper()
	if err != nil {
		return nil, err
	}
	w := &disturbed{dumper: list, meanwhile: meanwhile}
	d.kernel.list = w
	return func() []int { return w.answers }, nil
}

func (d *Device) dumper() (*dumper, error) {
	link, _, err := d.find()
	if err == nil {
		_, err = d.wireguard(link)
	}
	if err != nil {
		return nil, err
	}
	list, ok := d.kernel.list.(*dumper)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return list, nil
}

// disturbed is a dumper that lets something happen in the middle of its first
// answer.
type disturbed struct {
	*dumper

	meanwhile func()
	answers   []int
}

func (d *disturbed) read(name string, s *gateway.State) error {
	if d.meanwhile == nil {
		err := d.dumper.read(name, s)
		d.answers = append(d.answers, len(s.Peers))
		return err
	}
	s.Peers = s.Peers[:0]
	reply, err := d.ask(name, s)
	if err == nil {
		err = d.next(reply)
	}
	d.meanwhile()
	d.meanwhile = nil
	if err == nil {
		err = d.finish(reply)
	}
	d.answers = append(d.answers, len(s.Peers))
	return err
}
