package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strconv"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
)

type deviceImport struct {
	File             string `arg:"" help:"A wg-quick file of a server."`
	Location         string `help:"Where they get their places; name or ID." placeholder:"LOCATION" required:""`
	Owner            string `help:"Whom they belong to; none for network devices." placeholder:"NAME"`
	DryRun           bool   `help:"Check everything, and write nothing."`
	WithoutPreshared bool   `help:"Import peers with a preshared key without it: it has to go from their own files, too."`
	AnyKey           bool   `help:"The file's private key need not be that of the location."`
}

func (c *deviceImport) Run(e *env) error {
	s, err := readServer(c.File)
	if err != nil {
		return err
	}
	l, err := e.location(c.Location)
	if err != nil {
		return err
	}
	if s.Key.Public() != l.PublicKey && !c.AnyKey {
		return usagef("--location", "%s has another key than %s, so these peers could not connect to it: take the key over with holdfast location import, or say --any-key and give them new profiles", l.Name, c.File)
	}
	for _, p := range s.Peers {
		if !p.Preshared {
			continue
		}
		if !c.WithoutPreshared {
			return usagef("FILE", "%s: the peer of line %d has a preshared key, which devices have none of here: say --without-preshared, and take the line PresharedKey out of its own file", c.File, p.Line)
		}
		fmt.Fprintf(e.err, "line %d: take PresharedKey out of the peer's own file, or it cannot connect\n", p.Line)
	}
	all, err := s.Devices(l)
	if err != nil {
		return usagef("FILE", "%s:\n%v", c.File, err)
	}
	if len(all) == 0 {
		return usagef("FILE", "%s has no [Peer]", c.File)
	}
	for i := range all {
		all[i].Owner = c.Owner
	}
	added, err := e.ImportDevices(e, all, c.DryRun)
	if err != nil {
		return inFile(c.File, s, err)
	}
	t := e.table("NAME", "ADDRESSES", "ROUTES", "PUBLIC KEY")
	for i, n := range all {
		place := n.Places[0]
		if !c.DryRun {
			p, _ := added[i].At(l.ID)
			place.Addrs = p.Addrs
		}
		t.row(n.Name, joined(place.Addrs), joined[netip.Prefix](place.Routes), n.Key.String())
	}
	if err := t.flush(); err != nil {
		return err
	}
	if c.DryRun {
		fmt.Fprintf(e.err, "%d devices fit; nothing was written\n", len(all))
		return nil
	}
	fmt.Fprintf(e.err, "%d devices have their places in %s\n", len(all), plain(l.Name))
	return nil
}

func readServer(file string) (peer.Server, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return peer.Server{}, usagef("FILE", "%v", err)
	}
	s, err := peer.ParseServer(string(text))
	if err != nil {
		return peer.Server{}, usagef("FILE", "%s: %v", file, err)
	}
	return s, nil
}

var row = regexp.MustCompile(`^devices\[(\d+)\]`)

// inFile says which line of a file an error of an import is about.
func inFile(file string, s peer.Server, err error) error {
	field, ok := errors.AsType[*location.FieldError](err)
	if !ok {
		return err
	}
	m := row.FindStringSubmatch(field.Field)
	if m == nil {
		return err
	}
	i, aerr := strconv.Atoi(m[1])
	if aerr != nil || i >= len(s.Peers) {
		return err
	}
	return fmt.Errorf("%s: the peer of line %d: %s; nothing was written", file, s.Peers[i].Line, field.Reason)
}
