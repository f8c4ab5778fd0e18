package announce

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Sender sends whole Ethernet frames in one network namespace. Keep it for as long as
// there may be something to send: the kernel takes some 10 ms to close one, for which it
// waits for all its processors, and whoever closes it waits too. It is safe for
// concurrent use; one comes from Open.
type Sender struct {
	mu sync.Mutex // guards what follows
	fd int        // -1: closed
}

// Open makes a Sender of the network namespace of the calling thread. It needs
// CAP_NET_RAW.
func Open() (*Sender, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // of no protocol: it gets nothing
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	return &Sender{fd: fd}, nil
}

// Send sends frames by a device, given by its index, in order, until one cannot be sent.
func (s *Sender) Send(device int, frames ...[]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return fmt.Errorf("send: the packet socket is closed: %w", unix.EBADF)
	}
	for _, b := range frames {
		if err := unix.Sendto(s.fd, b, 0, &unix.SockaddrLinklayer{Ifindex: device}); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}

// Close frees the socket. Closing again is no error.
func (s *Sender) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return nil
	}
	fd := s.fd
	s.fd = -1
	return unix.Close(fd)
}
