//go:build linux

package wgdevice

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// tunPath is where TUN devices come from.
const tunPath = "/dev/net/tun"

// tunnel is a TUN device whose MTU is what we set.
//
// The device as the library makes it watches its link through sockets that
// belong to the namespace of whichever thread opened them, asks for the MTU on
// whichever thread runs, and has WireGuard open its UDP sockets on whichever
// thread hears of "link up". With several namespaces in a process all of this
// goes wrong. So nothing is watched here: who sets the MTU says so (setMTU),
// and the sockets are opened when the interface is made, on a thread that is in
// its namespace.
type tunnel struct {
	tun.Device

	mtu atomic.Int32

	mu     sync.Mutex // guards what follows
	events chan tun.Event
	closed bool
}

// newTunnel makes a TUN device in the namespace of the calling thread. It ends
// when it is closed, and never takes over one that is there already.
func newTunnel(name string, mtu int) (*tunnel, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, tunError(err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make TUN device: %w", explain(err))
	}
	inner, _, err := tun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		if inner != nil {
			_ = inner.Close()
		}
		return nil, fmt.Errorf("set up TUN device: %w", err)
	}
	t := &tunnel{Device: inner, events: make(chan tun.Event, 1)}
	t.mtu.Store(int32(mtu))
	return t, nil
}

// tunError says why there is no TUN here, and what to do.
func tunError(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("WireGuard in user space needs %s, and there is none: load the module tun (modprobe tun), "+
			"or give the device to the container (--device %s), or use a kernel with WireGuard: %w", tunPath, tunPath, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("WireGuard in user space needs %s, and it may not be opened: run as root, "+
			"or allow the device to the container (--device %s): %w", tunPath, tunPath, err)
	default:
		return fmt.Errorf("open %s: %w", tunPath, err)
	}
}

// checkTUN says whether TUN devices can be made. It makes none.
func checkTUN() error {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return tunError(err)
	}
	_ = unix.Close(fd)
	return nil
}

// MTU returns what was set last.
func (t *tunnel) MTU() (int, error) { return int(t.mtu.Load()), nil }

// setMTU tells WireGuard of another MTU of the link.
func (t *tunnel) setMTU(mtu int) {
	if t.mtu.Swap(int32(mtu)) == int32(mtu) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	select {
	case t.events <- tun.EventMTUUpdate:
	default: // one is waiting already
	}
}

// Events tells of MTUs, and of nothing else.
func (t *tunnel) Events() <-chan tun.Event { return t.events }

// Close ends the device and its link.
func (t *tunnel) Close() error {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		close(t.events)
	}
	t.mu.Unlock()
	return t.Device.Close()
}
