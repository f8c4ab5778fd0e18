//go:build linux

package wgdevice

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Where forwarding is switched on, by address family.
const (
	forward4 = "net/ipv4/ip_forward"
	forward6 = "net/ipv6/conf/all/forwarding"
)

// forwards lists the switches for the families of the addresses.
func forwards(addrs []netip.Prefix) []string {
	var v4, v6 bool
	for _, a := range addrs {
		v4 = v4 || a.Addr().Is4()
		v6 = v6 || a.Addr().Is6()
	}
	var out []string
	if v4 {
		out = append(out, forward4)
	}
	if v6 {
		out = append(out, forward6)
	}
	return out
}

// forwarding says whether packets of the families of the addresses are
// forwarded.
func (d *Device) forwarding(addrs []netip.Prefix) (on bool, err error) {
	on = true
	err = d.ns.do(func() error {
		for _, path := range forwards(addrs) {
			v, err := readSwitch(path)
			if err != nil {
				return err
			}
			on = on && v
		}
		return nil
	})
	return on && err == nil, err
}

// forward switches forwarding on. What it could not do, and why, it returns in
// words: a gateway that cannot forward is still one that people connect to, and
// the one who looks after it reads them in the overview.
func (d *Device) forward(ctx context.Context, addrs []netip.Prefix) (problems []string) {
	err := d.ns.do(func() error {
		for _, path := range forwards(addrs) {
			if err := d.switchOn(ctx, path); err != nil {
				problems = append(problems, err.Error())
			}
		}
		return nil
	})
	if err != nil {
		problems = append(problems, fmt.Sprintf("switch on forwarding: %v", err))
	}
	return problems
}

// switchOn sets one switch, if that does no harm.
func (d *Device) switchOn(ctx context.Context, path string) error {
	name := strings.ReplaceAll(path, "/", ".")
	on, err := readSwitch(path)
	if err != nil || on {
		return err
	}
	if path == forward6 {
		via, err := d.advertised(ctx)
		if err != nil {
			return err
		}
		if via != "" {
			return fmt.Errorf("IPv6 is not forwarded: with %s=1 this machine would lose the default route that it learned "+
				"from a router on %s: set net.ipv6.conf.%s.accept_ra=2, or a default route by hand", name, via, via)
		}
	}
	err = os.WriteFile("/proc/sys/"+path, []byte("1\n"), 0)
	switch {
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("packets are not forwarded: %s may not be changed here: set it to 1 for the machine "+
			"or the container (sysctl -w %s=1): %w", name, name, err)
	case err != nil:
		return fmt.Errorf("switch on %s: %w", name, err)
	}
	return nil
}

// readSwitch reads a file under /proc/sys, which shows what is true in the
// namespace of the thread.
func readSwitch(path string) (bool, error) {
	b, err := os.ReadFile("/proc/sys/" + path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("see whether packets are forwarded: there is no /proc/sys/%s: "+
			"this kernel lacks the protocol, or /proc is not mounted: %w", path, err)
	}
	if err != nil {
		return false, fmt.Errorf("see whether packets are forwarded: %w", err)
	}
	v := strings.TrimSpace(string(b))
	return v != "0" && v != "", nil
}

// advertised names a link whose default route for IPv6 the kernel learned from
// router advertisements and would forget on becoming a router. Programs that
// listen to advertisements themselves set accept_ra to 0, and keep their routes.
func (d *Device) advertised(ctx context.Context) (string, error) {
	list, err := again(ctx, func() ([]netlink.Route, error) {
		return d.nl.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{}, 0)
	})
	if err != nil {
		return "", fmt.Errorf("list routes: %w", explain(err))
	}
	for _, r := range list {
		if ones := bits(r); ones != 0 || r.Protocol != unix.RTPROT_RA {
			continue
		}
		link, err := d.nl.LinkByIndex(r.LinkIndex)
		if err != nil {
			continue // it has just gone, and its route with it
		}
		name := link.Attrs().Name
		if v, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/accept_ra"); err == nil && strings.TrimSpace(string(v)) == "1" {
			return name, nil
		}
	}
	return "", nil
}

// bits is the length of the route's prefix.
func bits(r netlink.Route) int {
	if r.Dst == nil {
		return 0
	}
	ones, _ := r.Dst.Mask.Size()
	return ones
}
