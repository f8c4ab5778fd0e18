//go:build linux

package testnet

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Markf writes a line of the caller's into the timeline and, at debug level, into
// the log. The network itself marks cuts and moves of addresses.
func (n *Net) Markf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	n.log.Debug("mark", "what", text)
	n.ring.add(n.packets, sight{at: time.Since(n.start), mark: text})
}

// Timeline returns what the captured hosts saw on all of their links, and the
// marks, in order of time: a line each, the newest Config.Packets of them. It
// may be read after Close.
func (n *Net) Timeline() string { return n.ring.text() }

// Capture has the timeline show the packets of this host from now on, until the
// network is closed. Asking again is no error.
func (h *Host) Capture() error {
	if h.err != nil {
		return h.err
	}
	h.once.Do(func() { h.captured = h.capture() })
	return h.captured
}

func (h *Host) capture() error {
	fd := -1
	err := h.Do(func() (err error) {
		fd, err = packetSocket()
		return err
	})
	if err != nil {
		return fmt.Errorf("testnet: capture at host %s: %w", h.name, err)
	}
	c := &camera{host: h, nl: h.Netlink(), file: os.NewFile(uintptr(fd), "packets of "+h.name), links: make(map[int]string)}
	if err := h.net.employ(c); err != nil {
		return errors.Join(err, c.file.Close())
	}
	c.done.Go(c.watch)
	return nil
}

// packetSocket sees all packets of the namespace of the calling thread, both
// ways, from the network header on, with the kernel's time of each.
func packetSocket() (int, error) {
	all := int(htons(unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all)
	if err != nil {
		return -1, fmt.Errorf("open a packet socket: %w", err)
	}
	cut := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: snap}}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20),
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &cut[0]}),
	)
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("set up a packet socket: %w", err)
	}
	return fd, nil
}

// htons is v in network byte order.
func htons(v uint16) uint16 { return v<<8 | v>>8 }

// camera reads the packets of one host.
type camera struct {
	host  *Host
	nl    *netlink.Handle
	file  *os.File
	links map[int]string
	done  sync.WaitGroup
}

// Close ends the capture.
func (c *camera) Close() error {
	err := c.file.Close()
	c.done.Wait()
	return err
}

func (c *camera) watch() {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return
	}
	var oob [64]byte
	for {
		var s sight
		var n, o int
		var from unix.Sockaddr
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, o, _, from, failed = unix.Recvmsg(int(fd), s.data[:], oob[:], 0)
			return !errors.Is(failed, unix.EAGAIN) && !errors.Is(failed, unix.EINTR)
		})
		if err != nil {
			return // closed
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if failed != nil || !ok {
			continue // a link went down; the socket lives on
		}
		s.at, s.size = c.when(oob[:o]), n
		s.kind, s.out = htons(link.Protocol), link.Pkttype == unix.PACKET_OUTGOING
		s.host, s.link = c.host.name, c.link(link.Ifindex)
		c.host.net.ring.add(c.host.net.packets, s)
	}
}

// when is the kernel's time of a packet, by its age, so that a clock that was
// set meanwhile does no harm.
func (c *camera) when(oob []byte) time.Duration {
	now := time.Now()
	at := now.Sub(c.host.net.start)
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return at
	}
	for _, m := range messages {
		if m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			stamp := *(*unix.Timespec)(unsafe.Pointer(&m.Data[0])) //nolint:gosec // the kernel's own form
			at -= max(0, time.Duration(now.UnixNano()-stamp.Nano()))
		}
	}
	return at
}

// link is the name of a device.
func (c *camera) link(index int) string {
	name, ok := c.links[index]
	if !ok {
		name = fmt.Sprintf("device %d", index)
		if l, err := c.nl.LinkByIndex(index); err == nil {
			name = l.Attrs().Name
		}
		c.links[index] = name
	}
	return name
}
