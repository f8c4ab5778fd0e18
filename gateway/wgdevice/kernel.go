//go:build linux

package wgdevice

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/holdfastvpn/holdfast/gateway"
)

// configurer is what we use of a [wgctrl.Client].
type configurer interface {
	ConfigureDevice(name string, c wgtypes.Config) error
	Close() error
}

// lister is what we use of a dumper.
type lister interface {
	read(name string, s *gateway.State) error
	close() error
}

var (
	_ configurer = (*wgctrl.Client)(nil)
	_ lister     = (*dumper)(nil)
)

// kernel is the WireGuard of the kernel.
type kernel struct {
	name   string
	client configurer
	list   lister
}

// newKernel connects to WireGuard in the namespace. The link has to be there:
// with it the module is loaded, and a client that did not find the module when
// it was made never looks again.
func newKernel(ns *namespace, name string) (*kernel, error) {
	k := &kernel{name: name}
	err := ns.do(func() error {
		d, err := newDumper()
		if err != nil {
			return err
		}
		c, err := wgctrl.New()
		if err != nil {
			return join(err, d.close())
		}
		k.client, k.list = c, d
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("connect to the kernel's WireGuard: %w", err)
	}
	return k, nil
}

// read asks again when peers went while they were told, since the kernel then
// leaves out others, too. The last answer has to do, and is said to.
func (k *kernel) read(s *gateway.State) error {
	for range tries {
		err := k.list.read(k.name, s)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return absent(err)
		}
	}
	s.Problems = append(s.Problems, fmt.Sprintf(
		"peers changed each of the %d times that they were read, and some may be missing: is something else setting %s?", tries, k.name))
	return nil
}

func (k *kernel) set(s settings) error {
	var c wgtypes.Config
	if s.key != nil {
		key := wgtypes.Key(s.key.Reveal())
		c.PrivateKey = &key
	}
	if s.port != nil {
		port := int(*s.port)
		c.ListenPort = &port
	}
	if s.mark != nil {
		mark := int(*s.mark)
		c.FirewallMark = &mark
	}
	return k.configure(c)
}

// change sends nothing but peers: settings beside them would be done again with
// each message, and a mark makes the kernel walk all peers.
func (k *kernel) change(changes []change) error {
	c := wgtypes.Config{Peers: make([]wgtypes.PeerConfig, 0, len(changes))}
	for _, one := range changes {
		c.Peers = append(c.Peers, peerConfig(one))
	}
	return k.configure(c)
}

func (k *kernel) wipe() error { return k.configure(wgtypes.Config{ReplacePeers: true}) }

func (k *kernel) close() error { return join(k.client.Close(), k.list.close()) }

func (k *kernel) configure(c wgtypes.Config) error {
	return absent(k.client.ConfigureDevice(k.name, c))
}

// peerConfig says in the client's words what to do with a peer.
func peerConfig(c change) wgtypes.PeerConfig {
	out := wgtypes.PeerConfig{PublicKey: wgtypes.Key(c.peer.Key)}
	if c.remove {
		out.Remove = true
		return out
	}
	preshared := wgtypes.Key(c.peer.Preshared.Reveal())
	keepalive := c.peer.Keepalive
	out.PersistentKeepaliveInterval = &keepalive
	if c.peer.Endpoint.IsValid() {
		out.Endpoint = net.UDPAddrFromAddrPort(c.peer.Endpoint)
	}
	if c.kick {
		out.UpdateOnly = true
		return out
	}
	out.PresharedKey = &preshared
	out.ReplaceAllowedIPs = true
	for _, a := range c.peer.AllowedIPs {
		out.AllowedIPs = append(out.AllowedIPs, *ipNet(a))
	}
	return out
}

// absent gives back the number of the error that the client has changed into
// another. An interface of another kind is as good as none, and so is one of a
// module that has gone.
func absent(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("the kernel has no WireGuard interface of this name (any more): %w", unix.ENODEV)
	}
	return err
}

// ipNet and prefixOf change a prefix into what other packages use, and back.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	if bits == 32 {
		a = a.Unmap()
	}
	if a.BitLen() != bits {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, ones), true
}
