package main

import (
	"fmt"
	"strings"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/transport/adminrpc"
)

// choose returns the one of a list that a name or an ID means.
func choose[T any](kind, list, arg string, all []T, id, name func(T) string, about func(T) string) (T, error) {
	var found []T
	for _, v := range all {
		if id(v) == arg {
			return v, nil
		}
		if name(v) == arg {
			found = append(found, v)
		}
	}
	var none T
	switch len(found) {
	case 0:
		return none, fmt.Errorf("there is no %s %q: see holdfast %s", kind, arg, list)
	case 1:
		return found[0], nil
	}
	lines := make([]string, len(found))
	for i, v := range found {
		lines[i] = "  " + id(v) + "  " + about(v)
	}
	return none, usage{fmt.Sprintf("%s %q", kind, arg), "is the name of several: use the ID\n" + strings.Join(lines, "\n")}
}

func (e *env) location(arg string) (location.Location, error) {
	all, err := e.Locations(e)
	if err != nil {
		return location.Location{}, err
	}
	return choose("location", "location list", arg, all,
		func(l location.Location) string { return string(l.ID) }, func(l location.Location) string { return l.Name },
		func(l location.Location) string { return joined(l.Networks) })
}

func (e *env) locations(args []string) (ids []location.ID, err error) {
	for _, arg := range args {
		l, err := e.location(arg)
		if err != nil {
			return nil, err
		}
		ids = append(ids, l.ID)
	}
	return ids, nil
}

func (e *env) gateway(arg string) (adminrpc.Gateway, error) {
	all, err := e.Gateways(e)
	if err != nil {
		return adminrpc.Gateway{}, err
	}
	return choose("gateway", "gateway list", arg, all,
		func(g adminrpc.Gateway) string { return string(g.ID) }, func(g adminrpc.Gateway) string { return g.Name },
		func(g adminrpc.Gateway) string { return yes(g.Connected, "connected") })
}

func (e *env) token(arg string) (adminrpc.Token, error) {
	all, err := e.Tokens(e)
	if err != nil {
		return adminrpc.Token{}, err
	}
	return choose("token", "token list", arg, all,
		func(t adminrpc.Token) string { return t.ID }, func(t adminrpc.Token) string { return t.Name },
		func(t adminrpc.Token) string { return string(t.Role) + ", made " + moment(t.Made) })
}

// device finds by name first, and by ID where no device is called that.
func (e *env) device(arg string) (peer.Device, error) {
	var all []peer.Device
	for d, err := range e.Devices(e, adminrpc.DeviceFilter{Name: arg}) {
		if err != nil {
			return peer.Device{}, err
		}
		all = append(all, d)
	}
	const idLength = 26
	if len(arg) == idLength && strings.Trim(arg, "abcdefghijklmnopqrstuvwxyz234567") == "" {
		if d, err := e.Device(e, peer.DeviceID(arg)); err == nil {
			return d, nil
		}
	}
	return choose("device", "device list", arg, all,
		func(d peer.Device) string { return string(d.ID) }, func(d peer.Device) string { return d.Name },
		func(d peer.Device) string { return "of " + owner(d.Owner) + ", key " + d.Key.String() })
}

func owner(name string) string {
	if name == "" {
		return "nobody"
	}
	return name
}

// locationNames are the names of all locations.
func (e *env) locationNames() (map[location.ID]string, error) {
	all, err := e.Locations(e)
	if err != nil {
		return nil, err
	}
	names := map[location.ID]string{}
	for _, l := range all {
		names[l.ID] = l.Name
	}
	return names, nil
}

func nameOr(names map[location.ID]string, id location.ID) string {
	if n := names[id]; n != "" {
		return n
	}
	return string(id)
}
