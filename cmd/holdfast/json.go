package main

import (
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/transport/adminrpc"
	"github.com/holdfastvpn/holdfast/vpn"
)

// The forms that --json writes. Fields get added, never changed or removed; lists
// are never null. docs/commands.md shows them.

type locationJSON struct {
	ID              string   `json:"id"`
	Name            string   `json:"name"`
	Networks        []string `json:"networks"`
	Gateway         []string `json:"gateway"`
	Reserved        []string `json:"reserved"`
	AllowOverlap    bool     `json:"allow_overlap"`
	Host            string   `json:"host"`
	Floating        []string `json:"floating"`
	Port            uint16   `json:"port"`
	MTU             int      `json:"mtu"`
	Mark            uint32   `json:"mark"`
	Inner           string   `json:"inner"`
	InnerFloating   []string `json:"inner_floating"`
	DNS             []string `json:"dns"`
	Search          []string `json:"search"`
	AllowedIPs      []string `json:"allowed_ips"`
	Destinations    []string `json:"destinations"`
	Isolated        bool     `json:"isolated"`
	ClientKeepalive int      `json:"client_keepalive"` // seconds; 0: none
	Disabled        bool     `json:"disabled"`
	PublicKey       string   `json:"public_key"`
}

func locationOf(l location.Location) locationJSON {
	return locationJSON{
		ID: string(l.ID), Name: l.Name, Networks: texts(l.Networks), Gateway: texts(l.Gateway), Reserved: texts(l.Reserved),
		AllowOverlap: l.AllowOverlap, Host: l.Host, Floating: texts(l.Floating), Port: l.Port, MTU: l.MTU, Mark: l.Mark, Inner: string(l.Inner), InnerFloating: texts(l.InnerFloating), DNS: texts(l.DNS),
		Search: some(l.Search), AllowedIPs: texts(l.AllowedIPs), Destinations: texts(l.Destinations), Isolated: l.Isolated,
		ClientKeepalive: int(max(l.ClientKeepalive, 0) / time.Second), Disabled: l.Disabled, PublicKey: l.PublicKey.String(),
	}
}

type deviceJSON struct {
	ID            string      `json:"id"`
	Name          string      `json:"name"`
	Owner         string      `json:"owner"`
	PublicKey     string      `json:"public_key"`
	Disabled      bool        `json:"disabled"`
	OwnerDisabled bool        `json:"owner_disabled"`
	Places        []placeJSON `json:"places"`
}

type placeJSON struct {
	Location     string   `json:"location"`
	LocationName string   `json:"location_name"`
	Addresses    []string `json:"addresses"`
	Routes       []string `json:"routes"`
	Disabled     bool     `json:"disabled"`
}

func deviceOf(d peer.Device, names map[location.ID]string) deviceJSON {
	out := deviceJSON{
		ID: string(d.ID), Name: d.Name, Owner: d.Owner, PublicKey: d.Key.String(), Disabled: d.Disabled,
		OwnerDisabled: d.Standing.Disabled, Places: []placeJSON{},
	}
	for _, p := range d.Peers {
		out.Places = append(out.Places, placeJSON{string(p.Location), names[p.Location], texts(p.Addrs), texts(p.Routes), p.Disabled})
	}
	return out
}

type gatewayJSON struct {
	ID        string      `json:"id"`
	Name      string      `json:"name"`
	Locations []namedJSON `json:"locations"`
	Disabled  bool        `json:"disabled"`
	Connected bool        `json:"connected"`
}

type namedJSON struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func gatewayOf(g adminrpc.Gateway, names map[location.ID]string) gatewayJSON {
	out := gatewayJSON{ID: string(g.ID), Name: g.Name, Locations: []namedJSON{}, Disabled: g.Disabled, Connected: g.Connected}
	for _, at := range g.Locations {
		out.Locations = append(out.Locations, namedJSON{string(at), names[at]})
	}
	return out
}

type ownerJSON struct {
	Name     string   `json:"name"`
	Disabled bool     `json:"disabled"`
	Groups   []string `json:"groups"`
	Devices  int      `json:"devices"`
}

func ownerOf(o vpn.OwnerDevices) ownerJSON {
	return ownerJSON{o.Name, o.Disabled, some(o.Groups), o.Devices}
}

type tokenJSON struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Role    string     `json:"role"`
	Made    time.Time  `json:"made"`
	By      string     `json:"by"`
	Expires *time.Time `json:"expires"` // null: never
}

func tokenOf(t adminrpc.Token) tokenJSON {
	return tokenJSON{t.ID, t.Name, string(t.Role), t.Made, t.By, optional(t.Expires)}
}

func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func joinText(list []string) string { return strings.Join(list, " ") }

func compare(a, b string) int { return strings.Compare(a, b) }

func endpoint(l location.Location) string {
	return net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port)))
}

// quoted is a word of a shell.
func quoted(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@%+=,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
