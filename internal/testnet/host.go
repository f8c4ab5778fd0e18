//go:build linux

package testnet

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Host is a machine of the network: a network namespace. Make one with
// [Net.Host].
type Host struct {
	net  *Net
	name string
	err  error // why it could not be made

	ns netns.NsHandle
	nl *netlink.Handle

	once     sync.Once // of Capture
	captured error
}

// names are fit for device names as well.
var names = regexp.MustCompile(`^[a-z][a-z0-9-]{0,14}$`)

// settings are what a host starts with. A new namespace takes several of them
// over from the machine, and then one and the same test would pass on one
// machine and fail on the other.
func settings() []struct{ key, value string } {
	return []struct{ key, value string }{
		{"net.ipv4.ip_forward", "0"},
		{"net.ipv4.conf.all.rp_filter", "0"},
		{"net.ipv4.conf.default.rp_filter", "0"},
		{"net.ipv4.conf.all.arp_ignore", "0"},
		{"net.ipv4.conf.default.arp_ignore", "0"},
		{"net.ipv4.conf.all.arp_announce", "0"},
		{"net.ipv4.conf.default.arp_announce", "0"},
		{"net.ipv6.conf.all.disable_ipv6", "0"},
		{"net.ipv6.conf.default.disable_ipv6", "0"},
		{"net.ipv6.conf.all.forwarding", "0"},
		// An address is usable at once, and nobody but the test configures any.
		{"net.ipv6.conf.all.accept_dad", "0"},
		{"net.ipv6.conf.default.accept_dad", "0"},
		{"net.ipv6.conf.all.accept_ra", "0"},
		{"net.ipv6.conf.default.accept_ra", "0"},
		{"net.ipv6.conf.all.router_solicitations", "0"},
		{"net.ipv6.conf.default.router_solicitations", "0"},
	}
}

// Host makes a machine without links, but with its loopback up. The name is 1 to
// 15 of a-z, 0-9 and -, begins with a letter, and is given once.
//
// Host never returns nil: if the machine could not be made, each of its methods
// and [Net.Err] say why.
func (n *Net) Host(name string) *Host {
	h := n.node(name)
	if h.err == nil && n.capture {
		h.err = h.Capture()
	}
	return h
}

// node makes the namespace of a host or a switch.
func (n *Net) node(name string) *Host {
	h := &Host{net: n, name: name, ns: netns.None()}
	if h.err = n.admit(h); h.err != nil {
		return h
	}
	if err := h.setup(); err != nil {
		_ = h.free()
		h.err = fmt.Errorf("testnet: make host %s: %w", name, err)
	}
	return h
}

// admit enters h into the network under its name.
func (n *Net) admit(h *Host) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrClosed
	}
	var err error
	if !names.MatchString(h.name) {
		err = fmt.Errorf("testnet: host name %q: want 1 to 15 of a-z, 0-9 and -, beginning with a letter", h.name)
	}
	for _, o := range n.nodes {
		if o.name == h.name {
			err = fmt.Errorf("testnet: host name %q is taken", h.name)
		}
	}
	n.nodes = append(n.nodes, h)
	return err
}

// setup makes the namespace.
func (h *Host) setup() error {
	ns, err := newNS()
	if err != nil {
		return err
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.ns = ns
	if h.net.closed {
		return ErrClosed
	}
	if h.nl, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	err = away(func() error { return unix.Setns(int(ns), unix.CLONE_NEWNET) }, func() error {
		for _, s := range settings() {
			if err := writeSysctl(s.key, s.value); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err // not there: this kernel lacks the feature, and so has nothing to set
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	lo, err := h.nl.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	return h.nl.LinkSetUp(lo)
}

// free gives the namespace back. The caller holds h.net.mu, or is the only one
// that knows h.
func (h *Host) free() error {
	if h.nl != nil {
		h.nl.Close()
		h.nl = nil
	}
	if !h.ns.IsOpen() {
		return nil
	}
	return h.ns.Close() // sets it to none
}

// Name returns the name that the host was made with.
func (h *Host) Name() string { return h.name }

// String returns the name and, while the network is open, a command that opens
// a shell in the host.
func (h *Host) String() string {
	if !h.NS().IsOpen() {
		return h.name
	}
	return fmt.Sprintf("%s (%s)", h.name, h.Shell())
}

// Shell returns a command that opens a shell in the host for as long as this
// process and its network live. It has to be run by root or by the user who
// runs this process.
func (h *Host) Shell() string {
	pid, fd := os.Getpid(), int(h.NS())
	if m, err := os.ReadFile("/proc/self/uid_map"); err == nil && strings.Join(strings.Fields(string(m)), " ") != "0 0 4294967295" {
		return fmt.Sprintf("nsenter --preserve-credentials --user=/proc/%d/ns/user --net=/proc/%d/fd/%d", pid, pid, fd)
	}
	return fmt.Sprintf("nsenter --net=/proc/%d/fd/%d", pid, fd)
}

// Do runs f on a thread of its own that stands in the host's namespace, and
// returns what f returns. Goroutines that f starts do not stand there; sockets,
// files below /proc/thread-self and processes that f starts do. A panic of f
// goes through to the caller, and so does t.FailNow.
func (h *Host) Do(f func() error) error {
	if h.err != nil {
		return h.err
	}
	return away(h.enter, f)
}

// enter moves the calling thread into the host.
func (h *Host) enter() error {
	return h.net.use(func() error {
		if err := unix.Setns(int(h.ns), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("testnet: enter host %s: %w", h.name, err)
		}
		return nil
	})
}

// NS returns the namespace for APIs that take one, such as netlink.NewHandleAt
// and nftables.WithNetNSFd. It stays the network's: do not close it, and do not
// use it after [Net.Close] (duplicate it to keep it longer). It is not open if
// the host could not be made, or the network is closed.
func (h *Host) NS() netns.NsHandle {
	h.net.mu.RLock()
	defer h.net.mu.RUnlock()
	return h.ns
}

// Netlink returns a handle for links, addresses and routes of the host (no other
// netlink family). Do not close it. Once the network is closed, or if the host
// could not be made, all that it does fails.
func (h *Host) Netlink() *netlink.Handle {
	h.net.mu.RLock()
	defer h.net.mu.RUnlock()
	// A copy, because a handle that was closed falls back on the namespace of
	// the calling thread, which is the machine's. The copy's sockets just fail.
	nl := h.net.dead
	if h.nl != nil {
		nl = *h.nl
	}
	return &nl
}

// Sysctl sets a kernel parameter of the host, such as net.ipv4.ip_forward. In
// keys that name a device with a dot in it, separate the parts with slashes.
// Only keys below net. are taken, for all others are the machine's.
func (h *Host) Sysctl(key, value string) error {
	return h.Do(func() error { return writeSysctl(key, value) })
}

// Forward makes the host pass packets on between its links, IPv4 and IPv6.
func (h *Host) Forward() error {
	return h.Do(func() error {
		return errors.Join(writeSysctl("net.ipv4.ip_forward", "1"), writeSysctl("net.ipv6.conf.all.forwarding", "1"))
	})
}

// writeSysctl sets a parameter in the namespace of the calling thread.
func writeSysctl(key, value string) error {
	path, err := sysctlPath(key)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, unix.EROFS) {
		return fmt.Errorf("testnet: set %s: /proc/sys is read-only (in a container: run it privileged, or mount /proc/sys writable): %w", key, err)
	}
	if err != nil {
		return fmt.Errorf("testnet: set %s: %w", key, err)
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("testnet: set %s to %q: %w", key, value, err)
	}
	return nil
}

// readSysctl reads a parameter in the namespace of the calling thread.
func readSysctl(key string) (string, error) {
	path, err := sysctlPath(key)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("testnet: read %s: %w", key, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// sysctlPath refuses what does not belong to a namespace.
func sysctlPath(key string) (string, error) {
	path := key
	if !strings.Contains(key, "/") {
		path = strings.ReplaceAll(key, ".", "/")
	}
	if !strings.HasPrefix(path, "net/") || strings.Contains(path, "..") {
		return "", fmt.Errorf("testnet: %q is no parameter of a network namespace, want net.…", key)
	}
	return "/proc/sys/" + path, nil
}
