//go:build linux

package wgdevice

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// configurer is what we use of a [wgctrl.Client].
type configurer interface {
	Device(name string) (*wgtypes.Device, error)
	ConfigureDevice(name string, c wgtypes.Config) error
	Close() error
}

var _ configurer = (*wgctrl.Client)(nil)

// kernel is the WireGuard of the kernel.
type kernel struct {
	name   string
	client configurer
}

// newKernel connects to WireGuard in the namespace. The link has to be there:
// with it the module is loaded, and a client that did not find the module when
// it was made never looks again.
func newKernel(ns *namespace, name string) (*kernel, error) {
	k := &kernel{name: name}
	err := ns.do(func() error {
		c, err := wgctrl.New()
		if err != nil {
			return fmt.Errorf("connect to the kernel's WireGuard: %w", err)
		}
		k.client = c
		return nil
	})
	if err != nil {
		return nil, err
	}
	return k, nil
}

func (k *kernel) read(s *gateway.State) error {
	d, err := k.client.Device(k.name)
	if err != nil {
		return absent(err)
	}
	// The client also knows sockets of WireGuard in user space, by name alone:
	// one of another namespace, when ours has just gone.
	if d.Type != wgtypes.LinuxKernel {
		return absent(os.ErrNotExist)
	}
	s.Interface.Key = wgkey.PrivateFrom(d.PrivateKey)
	s.Interface.Port = uint16(d.ListenPort)
	s.Interface.Mark = uint32(d.FirewallMark)
	s.Peers = s.Peers[:0]
	for i := range d.Peers {
		readPeer(grow(s), &d.Peers[i])
	}
	return nil
}

// readPeer takes over what the kernel says of a peer.
func readPeer(p *gateway.PeerState, from *wgtypes.Peer) {
	p.Key = wgkey.Public(from.PublicKey)
	p.Preshared = wgkey.PresharedFrom(from.PresharedKey)
	p.Keepalive = from.PersistentKeepaliveInterval
	p.Rx, p.Tx = uint64(from.ReceiveBytes), uint64(from.TransmitBytes)
	if t := from.LastHandshakeTime; !t.IsZero() && t.UnixNano() != 0 {
		p.Handshake = t
	}
	if from.Endpoint != nil {
		e := from.Endpoint.AddrPort()
		p.Endpoint = netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
	}
	for _, a := range from.AllowedIPs {
		if prefix, ok := prefixOf(&a); ok {
			p.AllowedIPs = append(p.AllowedIPs, prefix.Masked())
		}
	}
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

func (k *kernel) close() error { return k.client.Close() }

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
	out.PresharedKey = &preshared
	out.PersistentKeepaliveInterval = &keepalive
	out.ReplaceAllowedIPs = true
	if c.peer.Endpoint.IsValid() {
		out.Endpoint = net.UDPAddrFromAddrPort(c.peer.Endpoint)
	}
	for _, a := range c.peer.AllowedIPs {
		out.AllowedIPs = append(out.AllowedIPs, *ipNet(a))
	}
	return out
}

// absent gives back the number of the error that the client has changed into
// another.
func absent(err error) error {
	if errors.Is(err, os.ErrNotExist) {
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
