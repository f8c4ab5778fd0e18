package main

import (
	"fmt"
	"net"
	"time"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/transport/adminrpc"
	"github.com/holdfastvpn/holdfast/vpn"
)

type gatewayCmd struct {
	Token  gatewayToken  `cmd:"" help:"Make a token that one machine joins with, once, and print the command for it."`
	List   gatewayList   `cmd:"" help:"List all."`
	Rename gatewayRename `cmd:"" help:"Give one another name."`
	Set    gatewaySet    `cmd:"" help:"Change which locations one serves, or whether it does."`
	Remove gatewayRemove `cmd:"" help:"End a gateway for good, and its certificates."`
	Forget gatewayForget `cmd:"" help:"The same for one whose machine is lost and will not come back."`
}

type gatewayToken struct {
	Location []string      `arg:"" help:"What it serves; names or IDs." optional:""`
	Name     string        `help:"What people call it (the location's name and a number)."`
	Rejoin   string        `help:"A gateway that is there is to join again; name or ID." placeholder:"GATEWAY" xor:"name"`
	At       string        `help:"Where the machine listens, and cores dial it." placeholder:"HOST:PORT" xor:"who"`
	Dial     []string      `help:"Or where the machine dials cores." placeholder:"HOST:PORT" xor:"who"`
	Lifetime time.Duration `help:"How long the token works (1h), up to 720h."`
	JSON     bool          `help:"For programs. It holds the token." name:"json"`
}

func (c *gatewayToken) Run(e *env) error {
	q := adminrpc.JoinRequest{Name: c.Name, At: c.At, Cores: c.Dial, Lifetime: c.Lifetime}
	switch {
	case c.At == "" && len(c.Dial) == 0:
		return usagef("--at", "is missing: say where the machine listens, such as 192.0.2.7:7946; or with --dial where it reaches a core")
	case c.Rejoin != "" && (c.Name != "" || len(c.Location) > 0):
		return usagef("--rejoin", "its name and locations are known: leave them out")
	case c.Rejoin == "" && len(c.Location) == 0:
		return usagef("LOCATION", "is missing: say what the machine is to serve")
	}
	var err error
	if c.Rejoin != "" {
		g, err := e.gateway(c.Rejoin)
		if err != nil {
			return err
		}
		q.ID = g.ID
	}
	if q.Locations, err = e.locations(c.Location); err != nil {
		return err
	}
	if q.ID == "" && q.Name == "" {
		if q.Name, err = e.freeName(q.Locations[0]); err != nil {
			return err
		}
	}
	g, token, err := e.JoinToken(e, q)
	if err != nil {
		return err
	}
	command := "gateway join "
	if c.At != "" {
		if _, port, err := net.SplitHostPort(c.At); err == nil {
			command += "--listen :" + port + " "
		}
	}
	command += "'" + token.Reveal() + "'"
	if c.JSON {
		names, err := e.locationNames()
		if err != nil {
			return err
		}
		return e.writeJSON(struct {
			Gateway gatewayJSON `json:"gateway"`
			Token   string      `json:"token"`
			Expires time.Time   `json:"expires"`
			Command string      `json:"command"`
		}{gatewayOf(g, names), token.Reveal(), token.Expires, command})
	}
	fmt.Fprintf(e.err, "gateway %s (%s): on its machine, once, before %s:\n", plain(g.Name), g.ID, moment(token.Expires))
	_, err = fmt.Fprintln(e.out, command)
	return err
}

// freeName is a location's name and the first number that no gateway has.
func (e *env) freeName(at location.ID) (string, error) {
	l, err := e.Location(e, at)
	if err != nil {
		return "", err
	}
	all, err := e.Gateways(e)
	if err != nil {
		return "", err
	}
	taken := map[string]bool{}
	for _, g := range all {
		taken[g.Name] = true
	}
	for i := 1; ; i++ {
		if name := fmt.Sprintf("%s-%d", l.Name, i); !taken[name] {
			return name, nil
		}
	}
}

type gatewayList struct {
	JSON bool `help:"For programs." name:"json"`
}

func (c *gatewayList) Run(e *env) error {
	all, err := e.Gateways(e)
	if err != nil {
		return err
	}
	names, err := e.locationNames()
	if err != nil {
		return err
	}
	if c.JSON {
		out := make([]gatewayJSON, len(all))
		for i, g := range all {
			out[i] = gatewayOf(g, names)
		}
		return e.writeJSON(out)
	}
	t := e.table("NAME", "LOCATIONS", "STATE", "ID")
	for _, g := range all {
		var at []string
		for _, id := range g.Locations {
			at = append(at, nameOr(names, id))
		}
		state := "away"
		switch {
		case g.Disabled:
			state = "disabled"
		case g.Connected:
			state = "connected"
		}
		t.row(g.Name, joinText(at), state, string(g.ID))
	}
	return t.flush()
}

type gatewayRename struct {
	Gateway string `arg:"" help:"Name or ID."`
	Name    string `arg:"" help:"Its new name."`
}

func (c *gatewayRename) Run(e *env) error {
	g, err := e.gateway(c.Gateway)
	if err != nil {
		return err
	}
	now, _, err := e.UpdateGateway(e, vpn.Gateway{ID: g.ID, Name: c.Name}, "name")
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "gateway %s (%s) was %s\n", plain(now.Name), now.ID, plain(g.Name))
	return nil
}

type gatewaySet struct {
	Gateway  string   `arg:"" help:"Name or ID."`
	Location []string `help:"All that it serves; names or IDs; 'none' for none." placeholder:"LOCATION"`
	Disabled *bool    `help:"It is not heard any more. What it has it keeps." negatable:""`
}

func (c *gatewaySet) Run(e *env) error {
	g, err := e.gateway(c.Gateway)
	if err != nil {
		return err
	}
	var fields []string
	if c.Location != nil {
		list, err := parseList("--location", c.Location, parseText)
		if err != nil {
			return err
		}
		if g.Locations, err = e.locations(list); err != nil {
			return err
		}
		fields = append(fields, "locations")
	}
	if c.Disabled != nil {
		g.Disabled, fields = *c.Disabled, append(fields, "disabled")
	}
	if len(fields) == 0 {
		return usagef("gateway set", "says nothing that is to change: see holdfast gateway set --help")
	}
	now, told, err := e.UpdateGateway(e, g.Gateway, fields...)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "gateway %s (%s) is changed\n", plain(now.Name), now.ID)
	switch {
	case now.Disabled && c.Disabled != nil:
		fmt.Fprintln(e.out, "It keeps what it has, and serves clients that reach it; to have it let go, take its locations away: --location none")
	case !told:
		fmt.Fprintln(e.out, "It is NOT connected, and goes on as before until it is")
	}
	return nil
}

type gatewayRemove struct {
	Gateway string `arg:"" help:"Name or ID."`
	Reason  string `help:"For those who ask later."`
}

func (c *gatewayRemove) Run(e *env) error {
	g, err := e.gateway(c.Gateway)
	if err != nil {
		return err
	}
	told, err := e.RemoveGateway(e, g.ID, c.Reason)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "gateway %s (%s) is removed; its certificates and tokens are revoked\n", plain(g.Name), g.ID)
	if told {
		fmt.Fprintln(e.out, "It was connected, and has been told to let go of its locations")
	} else {
		fmt.Fprintln(e.out, "It was NOT connected: it keeps what it has, and serves clients that reach it, until its machine is stopped")
	}
	return nil
}

type gatewayForget struct {
	Gateway string `arg:"" help:"Name or ID."`
}

// Run is remove for a gateway that nobody can tell anything. One that is connected has
// to be told, so that it lets go: it is not forgotten.
func (c *gatewayForget) Run(e *env) error {
	g, err := e.gateway(c.Gateway)
	if err != nil {
		return err
	}
	if g.Connected {
		return usagef("GATEWAY", "%s is connected, and would go on serving: holdfast gateway remove has it let go", plain(g.Name))
	}
	if _, err := e.RemoveGateway(e, g.ID, "lost"); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "gateway %s (%s) is forgotten; its certificates and tokens are revoked, and nobody waits for it\n", plain(g.Name), g.ID)
	fmt.Fprintln(e.out, "Should its machine come back, it serves what it has until it is stopped")
	return nil
}
