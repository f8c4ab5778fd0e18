package sim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// sites is how many locations there are.
const sites = 2

// fact is what may be true of a device. Facts are compared with ==.
type fact struct {
	there, disabled bool
	key             int // which of its two keys
	spots           [sites]spot
}

// spot is a device's place in a location.
type spot struct {
	in, off bool
	addr    string // "" is one that nobody was told
	route   string // "" is none
}

// form is what may be true of a location.
type form struct {
	disabled, isolated, routed bool
	mtu                        int
}

// shows is what a gateway has of a device in a location, under one of its keys:
// "" is nothing, anything is some row.
func (f fact) shows(at, key int) string {
	s := f.spots[at]
	switch {
	case !f.there || f.disabled || f.key != key || !s.in || s.off:
		return ""
	case s.addr == "":
		return anything
	}
	all := []string{s.addr + "/32"}
	if s.route != "" {
		all = append(all, s.route)
	}
	return words(all)
}

func words(all []string) string {
	slices.Sort(all)
	return strings.Join(all, " ")
}

// fits says that got is what f says, where f may leave addresses open.
func (f fact) fits(got fact) bool {
	for i := range f.spots {
		if f.spots[i].in && f.spots[i].addr == "" {
			f.spots[i].addr = got.spots[i].addr
		}
	}
	return f == got
}

// duty is what may be true of a gateway.
type duty struct {
	sites int    // a set of locations that it serves
	addr  string // where it is dialled
}

// at says whether a location is among them.
func (d duty) at(at int) bool { return d.sites&(1<<at) != 0 }

// dutyOf is what a row says.
func dutyOf(gw vpn.Gateway, ids [sites]location.ID) duty {
	d := duty{addr: gw.Address}
	for at, id := range ids {
		if slices.Contains(gw.Locations, id) {
			d.sites |= 1 << at
		}
	}
	return d
}

// factOf is what a row says.
func factOf(d peer.Device, keys [2]wgkey.Public, ids [sites]location.ID) fact {
	if d.ID == "" {
		return fact{}
	}
	f := fact{there: true, disabled: d.Disabled}
	if d.Key == keys[1] {
		f.key = 1
	}
	for i, id := range ids {
		p, in := d.At(id)
		if !in {
			continue
		}
		f.spots[i] = spot{in: true, off: p.Disabled, addr: p.Addrs[0].String()}
		if len(p.Routes) > 0 {
			f.spots[i].route = p.Routes[0].String()
		}
	}
	return f
}

// formOf is what a location's row says.
func formOf(l location.Location) form {
	return form{disabled: l.Disabled, isolated: l.Isolated, routed: l.Inner == location.Routed, mtu: l.MTU}
}

// shows is what a gateway's interface is.
func (f form) shows(at int) string {
	if f.disabled {
		return ""
	}
	masquerade := network(at)
	if f.routed {
		masquerade = ""
	}
	return face(port(at), f.mtu, gatewayAddr(at), masquerade, f.isolated)
}

func face(port uint16, mtu int, addrs, masquerade string, isolated bool) string {
	return fmt.Sprintf("port %d, MTU %d, addresses [%s], masquerades [%s], isolated %t", port, mtu, addrs, masquerade, isolated)
}

func network(at int) string     { return fmt.Sprintf("10.%d.0.0/16", 20+at) }
func gatewayAddr(at int) string { return fmt.Sprintf("10.%d.0.1/16", 20+at) }
func port(at int) uint16        { return uint16(51820 + at) }
