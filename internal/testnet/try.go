//go:build linux

package testnet

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// try tries one requirement; nil means that it is met.
func try(r Requirement) *MissingError {
	tests := map[Requirement]struct {
		test func() error
		fix  func(error) string
	}{
		Netns:           {tryNetns, fixNetns},
		TUN:             {tryTUN, fixTUN},
		Nftables:        {tryNftables, fixNftables},
		KernelWireGuard: {tryWireGuard, fixWireGuard},
		Netem:           {tryNetem, fixNetem},
		Keepalived:      {tryKeepalived, fixKeepalived},
		WGTools:         {tryWGTools, fixWGTools},
	}
	t, ok := tests[r]
	if !ok {
		return &MissingError{What: r, Why: errors.New("unknown requirement"), Fix: "ask for one that this package names"}
	}
	err := away(fresh, t.test)
	switch {
	case err == nil:
		return nil
	case r != Netns && errors.Is(err, errFresh):
		return &MissingError{What: r, Why: err, Fix: fixNetns(err)}
	default:
		return &MissingError{What: r, Why: err, Fix: t.fix(err)}
	}
}

// tryNetns makes sure that the new namespace can also be configured.
func tryNetns() error {
	if err := writeSysctl("net.ipv4.ip_forward", "0"); err != nil {
		return err
	}
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a"}, PeerName: "b"})
	if err != nil {
		return fmt.Errorf("make a veth pair: %w", err)
	}
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "c"}}); err != nil {
		return fmt.Errorf("make a bridge: %w", err)
	}
	return nil
}

func fixNetns(err error) string {
	switch {
	case errors.Is(err, unix.EPERM):
		return "run it as root, or have the program call testnet.Enter first (tests: testnet.Main in TestMain)"
	case errors.Is(err, unix.EOPNOTSUPP):
		return "the kernel needs the modules veth and bridge: modprobe veth bridge"
	case errors.Is(err, unix.ENOSPC):
		return "raise the limit: sysctl user.max_net_namespaces=10000"
	default:
		return "a Linux kernel with network namespaces is needed, and a container must be privileged"
	}
}

// tryTUN makes a device, which goes with the file.
func tryTUN() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	ifr, err := unix.NewIfreq("tun0")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("make a TUN device: %w", err)
	}
	return nil
}

func fixTUN(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "as root: modprobe tun, and if the file is still missing: mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200; start a container with --device /dev/net/tun"
	case errors.Is(err, unix.EACCES):
		return "let ordinary users open it, as distributions do (as root: chmod 666 /dev/net/tun), or run this as root"
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return "the file is there, the driver is not: modprobe tun, or a kernel with CONFIG_TUN"
	case errors.Is(err, unix.EPERM):
		return "start the container with --device /dev/net/tun, or run this as root"
	default:
		return "a kernel with CONFIG_TUN is needed"
	}
}

// tryNftables sets up what a router needs.
func tryNftables() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	masquerade(c, "wan0")
	if err := c.Flush(); err != nil {
		return fmt.Errorf("load a table with masquerade: %w", err)
	}
	return nil
}

func fixNftables(error) string {
	return "load the modules (as root: modprobe -a nf_tables nft_masq nft_ct nft_chain_nat) or take a kernel with CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_CT, CONFIG_NFT_NAT and CONFIG_NFT_MASQ"
}

// tryWireGuard makes a device of the kernel's own WireGuard.
func tryWireGuard() error {
	if err := netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: "wg0"}}); err != nil {
		return fmt.Errorf("make a WireGuard device: %w", err)
	}
	return nil
}

func fixWireGuard(error) string {
	return "load the module (as root: modprobe wireguard) or take a kernel of 5.6 or newer with CONFIG_WIREGUARD; without it, user-space WireGuard works"
}

// tryKeepalived looks for the daemon, and for what its example asks the gateway with.
func tryKeepalived() error { return commands("keepalived", "curl") }

func fixKeepalived(error) string {
	return "as root: apt-get install --no-install-recommends keepalived curl (other systems: the packages of these names)"
}

func tryWGTools() error { return commands("wg", "ip") }

func fixWGTools(error) string {
	return "as root: apt-get install --no-install-recommends wireguard-tools iproute2 (other systems: the packages of these names)"
}
