package announce

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Send sends whole Ethernet frames by a device, given by its index, in the network
// namespace of the calling thread. It needs CAP_NET_RAW.
func Send(device int, frames ...[]byte) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a packet socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	for _, b := range frames {
		if err := unix.Sendto(fd, b, 0, &unix.SockaddrLinklayer{Ifindex: device}); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}
