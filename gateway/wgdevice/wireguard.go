package wgdevice

import "github.com/holdfastvpn/holdfast/gateway"

// wireguard is what differs between the backends: the device's own settings and
// its peers. All else of an interface is done alike.
type wireguard interface {
	// read overwrites the key, port and mark of s.Interface, and s.Peers: in no
	// order, and a peer may come in two parts, one after the other. It reuses
	// the memory of s.
	read(s *gateway.State) error
	// set changes what is not nil.
	set(s settings) error
	// change makes the peers as they shall be, in one message: no key twice, and
	// no more than fits (see batch).
	change(c []change) error
	// wipe ends all peers.
	wipe() error
	// close frees handles and leaves the interface as it is.
	close() error
}
