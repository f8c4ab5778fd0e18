package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/transport/adminrpc"
	"github.com/holdfastvpn/holdfast/vpn"
)

type ownerCmd struct {
	List    ownerList    `cmd:"" help:"List owners of devices."`
	Disable ownerDisable `cmd:"" help:"Take all devices of an owner off all gateways, and those that are added later."`
	Enable  ownerEnable  `cmd:"" help:"End what disable did."`
}

type ownerList struct {
	JSON bool `help:"For programs." name:"json"`
}

func (c *ownerList) Run(e *env) error {
	all, err := e.Owners(e)
	if err != nil {
		return err
	}
	if c.JSON {
		out := make([]ownerJSON, len(all))
		for i, o := range all {
			out[i] = ownerOf(o)
		}
		return e.writeJSON(out)
	}
	t := e.table("NAME", "DEVICES", "GROUPS", "STATE")
	for _, o := range all {
		t.row(o.Name, fmt.Sprint(o.Devices), joinText(o.Groups), yes(o.Disabled, "disabled"))
	}
	return t.flush()
}

type ownerDisable struct {
	Name string `arg:"" help:"As devices have it."`
}

func (c *ownerDisable) Run(e *env) error {
	o, confirmed, err := e.DisableOwner(e, c.Name)
	return e.ownerChanged(o, confirmed, err, "disabled")
}

type ownerEnable struct {
	Name string `arg:"" help:"As devices have it."`
}

func (c *ownerEnable) Run(e *env) error {
	o, confirmed, err := e.EnableOwner(e, c.Name)
	return e.ownerChanged(o, confirmed, err, "enabled")
}

func (e *env) ownerChanged(o vpn.OwnerDevices, confirmed []adminrpc.Confirmation, err error, what string) error {
	if err != nil {
		return err
	}
	noun := "devices"
	if o.Devices == 1 {
		noun = "device"
	}
	fmt.Fprintf(e.out, "owner %s is %s: %d %s\n", plain(o.Name), what, o.Devices, noun)
	e.confirmed(confirmed)
	return nil
}

type overviewCmd struct {
	Watch bool `help:"Again every second, until interrupted." short:"w"`
	JSON  bool `help:"For programs; with --watch a line each." name:"json"`
}

func (c *overviewCmd) Run(e *env) error {
	if !c.Watch {
		o, err := e.Overview(e)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return e.writeJSON(o)
		}
		return o.WriteText(e.out)
	}
	screen := isTerminal(e.out)
	for o, err := range e.WatchOverview(e) {
		switch {
		case err != nil:
			return err
		case c.JSON:
			err = e.writeLine(o)
		case screen:
			fmt.Fprint(e.out, "\x1b[H\x1b[2J")
			err = o.WriteText(e.out)
		default:
			fmt.Fprintf(e.out, "\n%s\n", moment(o.At))
			err = o.WriteText(e.out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

type eventsCmd struct {
	Follow   bool   `help:"Wait for more, until interrupted." short:"f"`
	Limit    int    `default:"100" help:"The latest ones only."`
	What     string `help:"Only this kind, such as device or gateway.lost." placeholder:"KIND"`
	Location string `help:"Only those that concern it." placeholder:"LOCATION"`
	JSON     bool   `help:"For programs, a line each." name:"json"`
}

func (c *eventsCmd) Run(e *env) error {
	if c.Limit < 1 || c.Limit > 10_000 {
		return usagef("--limit", "%d: use 1 to 10000", c.Limit)
	}
	f := vpn.EventFilter{What: c.What, Limit: c.Limit}
	if c.Location != "" {
		l, err := e.location(c.Location)
		if err != nil {
			return err
		}
		f.Location = l.ID
	}
	names, err := e.locationNames()
	if err != nil {
		return err
	}
	all, err := e.Events(e, f)
	if err != nil {
		return err
	}
	write := func(v vpn.Event) error {
		if c.JSON {
			return e.writeLine(v)
		}
		by := "core " + v.Core
		if v.By != "" {
			by = v.By + " from " + v.From
		}
		name := v.Name
		if name == "" {
			name = v.Subject
		}
		var at strings.Builder
		for _, id := range v.Locations {
			if string(id) != v.Subject {
				at.WriteString(" in " + nameOr(names, id))
			}
		}
		_, err := fmt.Fprintf(e.out, "%s  %-18s %s%s, by %s%s\n", moment(v.At), plain(v.What), plain(name), plain(at.String()), plain(by), plain(text(v.Text)))
		return err
	}
	for _, v := range all {
		if err := write(v); err != nil {
			return err
		}
		f.After = v.ID
	}
	if !c.Follow {
		return nil
	}
	for v, err := range e.FollowEvents(e, f) {
		if err == nil {
			err = write(v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func text(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

type tokenCmd struct {
	Create tokenCreate `cmd:"" help:"Make a token for the API. It is written once, and kept nowhere."`
	List   tokenList   `cmd:"" help:"List all, without what is secret."`
	Revoke tokenRevoke `cmd:"" help:"Make a token useless, at once."`
}

type tokenCreate struct {
	Name     string        `arg:"" help:"Who uses it, for events."`
	Role     string        `default:"read-only" enum:"admin,read-only" help:"What it is good for: admin or read-only."`
	Lifetime time.Duration `help:"How long it works (until it is revoked)."`
	Out      string        `help:"Write it to a file that is not there yet, for its owner alone." placeholder:"FILE"`
}

func (c *tokenCreate) Run(e *env) error {
	out, err := newProfileWriter(e, false, c.Out)
	if err != nil {
		return err
	}
	t, secret, err := e.CreateToken(e, adminrpc.Token{Name: c.Name, Role: adminrpc.Role(c.Role)}, c.Lifetime)
	if err != nil {
		out.cancel()
		return err
	}
	until := "it is revoked"
	if !t.Expires.IsZero() {
		until = moment(t.Expires)
	}
	fmt.Fprintf(e.err, "token %s (%s), %s until %s\n", plain(t.Name), t.ID, t.Role, until)
	if out.file != nil {
		_, err = fmt.Fprintln(out.file, secret.Reveal())
		err = errors.Join(err, out.file.Sync(), out.file.Close())
	} else {
		_, err = fmt.Fprintln(e.out, secret.Reveal())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write the token: %w", err), e.RevokeToken(e, t.ID))
	}
	return nil
}

type tokenList struct {
	JSON bool `help:"For programs." name:"json"`
}

func (c *tokenList) Run(e *env) error {
	all, err := e.Tokens(e)
	if err != nil {
		return err
	}
	if c.JSON {
		out := make([]tokenJSON, len(all))
		for i, t := range all {
			out[i] = tokenOf(t)
		}
		return e.writeJSON(out)
	}
	t := e.table("NAME", "ROLE", "MADE", "BY", "EXPIRES", "ID")
	for _, v := range all {
		t.row(v.Name, string(v.Role), moment(v.Made), v.By, moment(v.Expires), v.ID)
	}
	return t.flush()
}

type tokenRevoke struct {
	Token string `arg:"" help:"Name or ID."`
}

func (c *tokenRevoke) Run(e *env) error {
	t, err := e.token(c.Token)
	if err != nil {
		return err
	}
	if err := e.RevokeToken(e, t.ID); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "token %s (%s) is revoked\n", plain(t.Name), t.ID)
	return nil
}

type versionCmd struct{}

// version is set by who builds a release (-ldflags "-X main.version=v1.2.3").
var version string

func (c *versionCmd) Run(e *env) error {
	v := version
	if info, ok := debug.ReadBuildInfo(); ok && v == "" {
		v = info.Main.Version
	}
	if v == "" {
		v = "(devel)"
	}
	_, err := fmt.Fprintf(e.out, "holdfast %s %s %s/%s\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
