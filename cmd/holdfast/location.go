package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn/seal"
)

type locationCmd struct {
	Create locationCreate `cmd:"" help:"Add a location."`
	List   locationList   `cmd:"" help:"List all."`
	Show   locationShow   `cmd:"" help:"Show one."`
	Set    locationSet    `cmd:"" help:"Change one: only what is given. 'none' empties a list."`
	Delete locationDelete `cmd:"" help:"Delete one; its devices stay, and their places in it grant nothing."`
	Import locationImport `cmd:"" help:"Take over key, port and networks of a wg-quick server file."`
}

// shape are the flags that say what a location is.
type shape struct {
	Network        []string `help:"Where peers get their addresses, such as 10.20.0.0/16 or fd20::/64; may be repeated." placeholder:"PREFIX"`
	Endpoint       *string  `help:"DNS name or IP address that clients dial." placeholder:"HOST"`
	Floating       []string `help:"Public address that moves between the gateways, by keepalived for instance; may be repeated." placeholder:"IP"`
	Port           *uint16  `help:"UDP port of clients and gateways (51820)."`
	GatewayAddress []string `help:"The gateways' own address in a network (its first)." placeholder:"IP"`
	Reserve        []string `help:"Addresses that are never given unasked." placeholder:"PREFIX"`
	AllowOverlap   *bool    `help:"Networks may overlap those of other locations." negatable:""`
	MTU            *int     `help:"Bytes, 1280 to 9000 (1420)." name:"mtu"`
	Mark           *uint32  `help:"Firewall mark of what gateways send; 0 for none, or for one of ours where addresses float."`
	Inner          *string  `help:"How the network behind sees peers: snat, routed or carried (snat)."`
	InnerFloating  []string `help:"Address towards the network behind that moves with the public one, one of each family at most; may be repeated." placeholder:"IP"`
	DNS            []string `help:"Resolvers of clients." name:"dns" placeholder:"IP"`
	Search         []string `help:"Search domains of clients." placeholder:"DOMAIN"`
	AllowedIP      []string `help:"What clients send through the tunnel beside the networks; 0.0.0.0/0,::/0 for everything." name:"allowed-ip" placeholder:"PREFIX"`
	Destination    []string `help:"What peers may reach beyond the tunnel (all)." placeholder:"PREFIX"`
	Isolated       *bool    `help:"Peers do not reach each other." negatable:""`
	Keepalive      *string  `help:"Persistent keepalive of clients in seconds, or off (25)." placeholder:"SECONDS"`
	Disabled       *bool    `help:"No peer is on any gateway." negatable:""`
}

// fill sets in l what flags say, and returns the names of those fields.
func (s shape) fill(l *location.Location) (fields []string, err error) {
	set := func(given bool, field string, do func() error) {
		if given && err == nil {
			fields = append(fields, field)
			err = do()
		}
	}
	set(s.Network != nil, "networks", func() (err error) {
		l.Networks, err = parseList("--network", s.Network, location.ParsePrefix)
		return err
	})
	set(s.GatewayAddress != nil, "gateway", func() (err error) {
		l.Gateway, err = parseList("--gateway-address", s.GatewayAddress, parseAddr)
		return err
	})
	set(s.Reserve != nil, "reserved", func() (err error) {
		l.Reserved, err = parseList("--reserve", s.Reserve, location.ParsePrefix)
		return err
	})
	set(s.Floating != nil, "floating", func() (err error) {
		l.Floating, err = parseList("--floating", s.Floating, parseAddr)
		return err
	})
	set(s.InnerFloating != nil, "inner_floating", func() (err error) {
		l.InnerFloating, err = parseList("--inner-floating", s.InnerFloating, parseAddr)
		return err
	})
	set(s.DNS != nil, "dns", func() (err error) { l.DNS, err = parseList("--dns", s.DNS, parseAddr); return err })
	set(s.Search != nil, "search", func() (err error) { l.Search, err = parseList("--search", s.Search, parseText); return err })
	set(s.AllowedIP != nil, "allowed_ips", func() (err error) {
		l.AllowedIPs, err = parseList("--allowed-ip", s.AllowedIP, location.ParsePrefix)
		return err
	})
	set(s.Destination != nil, "destinations", func() (err error) {
		l.Destinations, err = parseList("--destination", s.Destination, location.ParsePrefix)
		return err
	})
	set(s.Endpoint != nil, "host", func() error { l.Host = *s.Endpoint; return nil })
	set(s.Port != nil, "port", func() error { l.Port = *s.Port; return nonzero("--port", *s.Port) })
	set(s.AllowOverlap != nil, "allow_overlap", func() error { l.AllowOverlap = *s.AllowOverlap; return nil })
	set(s.MTU != nil, "mtu", func() error { l.MTU = *s.MTU; return nonzero("--mtu", *s.MTU) })
	set(s.Mark != nil, "mark", func() error { l.Mark = *s.Mark; return nil })
	set(s.Inner != nil, "inner", func() error { l.Inner = location.Inner(*s.Inner); return nil })
	set(s.Isolated != nil, "isolated", func() error { l.Isolated = *s.Isolated; return nil })
	set(s.Keepalive != nil, "client_keepalive", func() (err error) {
		l.ClientKeepalive, err = parseKeepalive(*s.Keepalive)
		return err
	})
	set(s.Disabled != nil, "disabled", func() error { l.Disabled = *s.Disabled; return nil })
	return fields, err
}

// nonzero refuses what the core would take for "the default".
func nonzero[T int | uint16](flag string, n T) error {
	if n <= 0 {
		return usagef(flag, "%d is too small", n)
	}
	return nil
}

func parseKeepalive(s string) (time.Duration, error) {
	if s == "off" {
		return location.KeepaliveOff, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, usagef("--keepalive", "%q: use 1 to 65535 seconds, or off", s)
	}
	return time.Duration(n) * time.Second, nil
}

type locationCreate struct {
	Name string `arg:"" help:"What people call it."`
	shape
}

func (c *locationCreate) Run(e *env) error {
	l := location.Location{Name: c.Name}
	if _, err := c.fill(&l); err != nil {
		return err
	}
	if len(l.Networks) == 0 {
		return usagef("--network", "is missing: give at least one, such as 10.20.0.0/16")
	}
	if l.Host == "" {
		return usagef("--endpoint", "is missing: give the DNS name or IP address that clients dial")
	}
	l, err := e.CreateLocation(e, l)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "location %s (%s): public key %s\nNext: holdfast gateway token %s --at HOST:PORT\n", plain(l.Name), l.ID, l.PublicKey, quoted(l.Name))
	return nil
}

type locationList struct {
	JSON bool `help:"For programs." name:"json"`
}

func (c *locationList) Run(e *env) error {
	all, err := e.Locations(e)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b location.Location) int { return compare(a.Name, b.Name) })
	if c.JSON {
		out := make([]locationJSON, len(all))
		for i, l := range all {
			out[i] = locationOf(l)
		}
		return e.writeJSON(out)
	}
	t := e.table("NAME", "NETWORKS", "ENDPOINT", "STATE", "ID")
	for _, l := range all {
		t.row(l.Name, joined(l.Networks), endpoint(l), yes(l.Disabled, "disabled"), string(l.ID))
	}
	return t.flush()
}

type locationShow struct {
	Location string `arg:"" help:"Name or ID."`
	JSON     bool   `help:"For programs." name:"json"`
}

func (c *locationShow) Run(e *env) error {
	l, err := e.location(c.Location)
	if err != nil {
		return err
	}
	if c.JSON {
		return e.writeJSON(locationOf(l))
	}
	return e.showLocation(l)
}

func (e *env) showLocation(l location.Location) error {
	keepalive := l.ClientKeepalive.String()
	if l.ClientKeepalive == location.KeepaliveOff {
		keepalive = "off"
	}
	mark := ""
	if l.Mark != 0 {
		mark = fmt.Sprintf("%#x", l.Mark)
	}
	return e.facts("name", l.Name, "id", string(l.ID), "state", yes(l.Disabled, "disabled"), "networks", joined(l.Networks),
		"gateways", joined(l.GatewayAddrs()), "reserved", joined(l.Reserved), "overlap", yes(l.AllowOverlap, "allowed"),
		"endpoint", endpoint(l), "floating", joined(l.Floating), "public key", l.PublicKey.String(), "mtu", strconv.Itoa(l.MTU), "mark", mark, "inner", string(l.Inner),
		"inner floating", joined(l.InnerFloating), "dns", joined(l.DNS), "search", joinText(l.Search), "allowed ips", joined(l.AllowedIPs), "destinations", joined(l.Destinations),
		"isolated", yes(l.Isolated, "yes"), "keepalive", keepalive)
}

type locationSet struct {
	Location string  `arg:"" help:"Name or ID."`
	Name     *string `help:"Another name."`
	shape
}

func (c *locationSet) Run(e *env) error {
	l, err := e.location(c.Location)
	if err != nil {
		return err
	}
	fields, err := c.fill(&l)
	if c.Name != nil {
		l.Name, fields = *c.Name, append(fields, "name")
	}
	switch {
	case err != nil:
		return err
	case len(fields) == 0:
		return usagef("location set", "says nothing that is to change: see holdfast location set --help")
	}
	l, confirmed, err := e.UpdateLocation(e, l, fields...)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "location %s (%s) is changed\n", plain(l.Name), l.ID)
	e.confirmed(confirmed)
	return nil
}

type locationDelete struct {
	Location string `arg:"" help:"Name or ID."`
}

func (c *locationDelete) Run(e *env) error {
	l, err := e.location(c.Location)
	if err != nil {
		return err
	}
	confirmed, err := e.DeleteLocation(e, l.ID)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "location %s (%s) is deleted\n", plain(l.Name), l.ID)
	e.confirmed(confirmed)
	return nil
}

type locationImport struct {
	File   string `arg:"" help:"A wg-quick file of a server."`
	Name   string `help:"What people call it." required:""`
	DryRun bool   `help:"Check everything, and write nothing."`
	shape
}

func (c *locationImport) Run(e *env) error {
	s, err := readServer(c.File)
	if err != nil {
		return err
	}
	l := s.Location()
	l.Name = c.Name
	if _, err := c.fill(&l); err != nil {
		return err
	}
	if len(l.Networks) == 0 {
		return usagef("--network", "is missing: no Address of %s has a network's length", c.File)
	}
	if l.Host == "" {
		return usagef("--endpoint", "is missing: give the DNS name or IP address that clients dial already")
	}
	if err := e.checkNew(l); err != nil {
		return err
	}
	for _, left := range s.Left {
		fmt.Fprintf(e.err, "not taken over: %s\n", left)
	}
	if c.DryRun {
		l = l.WithDefaults()
		l.PublicKey = s.Key.Public()
		fmt.Fprintln(e.err, "nothing was written; the location would be:")
		return e.showLocation(l)
	}
	l, err = e.ImportLocation(e, l, s.Key)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "location %s (%s) has the key of %s: %s\nNext: holdfast device import %s --location %s\n",
		plain(l.Name), l.ID, c.File, l.PublicKey, quoted(c.File), quoted(l.Name))
	return nil
}

// checkNew looks whether a location can be created, as far as one can see.
func (e *env) checkNew(l location.Location) error {
	row := l.WithDefaults()
	row.ID, row.PublicKey[0], row.Key = "new", 1, seal.Text("new")
	if err := row.Validate(); err != nil {
		return err
	}
	all, err := e.Locations(e)
	if err != nil {
		return err
	}
	for _, o := range all {
		if o.Name == l.Name {
			return usagef("--name", "%q belongs to another location: choose another name", l.Name)
		}
		for _, n := range l.Networks {
			if i := slices.IndexFunc(o.Networks, n.Overlaps); i >= 0 && !l.AllowOverlap {
				return usagef("--network", "%s overlaps %s of location %q: choose another, or --allow-overlap", n, o.Networks[i], o.Name)
			}
		}
	}
	return nil
}
