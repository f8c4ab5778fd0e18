//go:build linux

package testnet

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dumpLines bounds each list of a dump.
const dumpLines = 100

// Dump returns the state of all hosts and switches as text: how to look in,
// links, addresses, routes, rules, neighbours and the nftables ruleset. What
// cannot be read shows as an error in its place.
func (n *Net) Dump() string {
	n.mu.RLock()
	nodes := n.nodes
	n.mu.RUnlock()
	var b strings.Builder
	for _, h := range nodes {
		b.WriteString(h.Dump())
	}
	return b.String()
}

// Dump is [Net.Dump] for one host.
func (h *Host) Dump() string {
	d := &dump{}
	if h.err != nil {
		d.printf("=== %s\n  %v\n", h.name, h.err)
		return d.String()
	}
	nl := h.Netlink()
	d.printf("=== %s\n", h)
	d.links(nl)
	d.routes(nl)
	d.neighbours(nl)
	d.section("nftables", func() ([]string, error) { return h.ruleset() })
	return d.String()
}

// dump is a text under construction.
type dump struct{ strings.Builder }

func (d *dump) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(d, format, args...) // a builder takes all
}

// section writes a bounded list, if there is anything to say.
func (d *dump) section(title string, list func() ([]string, error)) {
	lines, err := list()
	if err != nil {
		lines = append(lines, "error: "+err.Error())
	}
	if len(lines) == 0 {
		return
	}
	d.printf("  %s:\n", title)
	for i, l := range lines {
		if i == dumpLines {
			d.printf("    … and %d more\n", len(lines)-i)
			return
		}
		d.printf("    %s\n", l)
	}
}

func (d *dump) links(nl *netlink.Handle) {
	d.section("links", func() (lines []string, err error) {
		links, err := nl.LinkList()
		for _, l := range links {
			a := l.Attrs()
			facts := []string{fmt.Sprintf("%d %s (%s) %s, flags %s, mtu %d", a.Index, a.Name, l.Type(), a.OperState, a.Flags, a.MTU)}
			if len(a.HardwareAddr) > 0 {
				facts = append(facts, a.HardwareAddr.String())
			}
			addrs, err := nl.AddrList(l, netlink.FAMILY_ALL)
			if err != nil {
				facts = append(facts, "error: "+err.Error())
			}
			for _, x := range addrs {
				facts = append(facts, x.IPNet.String())
			}
			lines = append(lines, strings.Join(facts, ", "))
		}
		return lines, err
	})
}

func (d *dump) routes(nl *netlink.Handle) {
	d.section("rules", func() (lines []string, err error) {
		rules, err := nl.RuleList(netlink.FAMILY_ALL)
		for _, r := range rules {
			if r.Table == unix.RT_TABLE_MAIN || r.Table == unix.RT_TABLE_LOCAL || r.Table == unix.RT_TABLE_DEFAULT {
				continue // what every machine has
			}
			lines = append(lines, r.String())
		}
		return lines, err
	})
	d.section("routes", func() (lines []string, err error) {
		routes, err := nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		for _, r := range routes {
			if r.Table != unix.RT_TABLE_LOCAL {
				lines = append(lines, way(nl, r))
			}
		}
		return lines, err
	})
}

// way is a route as the ip program would write it.
func way(nl *netlink.Handle, r netlink.Route) string {
	text := "default"
	if r.Dst != nil {
		text = r.Dst.String()
	}
	if r.Gw != nil {
		text += " via " + r.Gw.String()
	}
	if r.LinkIndex > 0 {
		dev := fmt.Sprintf("device %d", r.LinkIndex)
		if l, err := nl.LinkByIndex(r.LinkIndex); err == nil {
			dev = l.Attrs().Name
		}
		text += " dev " + dev
	}
	if r.Src != nil {
		text += " src " + r.Src.String()
	}
	if r.Table != unix.RT_TABLE_MAIN {
		text += fmt.Sprintf(" table %d", r.Table)
	}
	return text
}

func (d *dump) neighbours(nl *netlink.Handle) {
	d.section("neighbours", func() (lines []string, err error) {
		all, err := nl.NeighList(0, netlink.FAMILY_ALL)
		for _, x := range all {
			if x.State&unix.NUD_NOARP == 0 {
				lines = append(lines, fmt.Sprintf("%v at %v on device %d, state %#x", x.IP, x.HardwareAddr, x.LinkIndex, x.State))
			}
		}
		return lines, err
	})
}

// ruleset asks the nft program, or counts if there is none.
func (h *Host) ruleset() (lines []string, err error) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		err = h.Do(func() error {
			lines, err = count()
			return err
		})
		return lines, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), settle)
	defer cancel()
	var out []byte
	err = h.Do(func() error {
		cmd := exec.CommandContext(ctx, nft, "list", "ruleset")
		cmd.WaitDelay = time.Second
		out, err = cmd.CombinedOutput()
		return err
	})
	if text := strings.TrimRight(string(out), "\n"); text != "" {
		lines = strings.Split(text, "\n")
	}
	return lines, err
}

// count lists chains with the number of their rules, in the namespace of the
// calling thread.
func count() ([]string, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, err
	}
	lines := make([]string, 0, len(chains))
	for _, ch := range chains {
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			return lines, err
		}
		lines = append(lines, fmt.Sprintf("table %s, chain %s: %d rules", ch.Table.Name, ch.Name, len(rules)))
	}
	return lines, nil
}
