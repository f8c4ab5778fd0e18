package main

import (
	"fmt"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
)

// seat are the words that say whose place in which location is meant.
type seat struct {
	Device   string `arg:"" help:"Name or ID."`
	Location string `help:"Name or ID." placeholder:"LOCATION" required:""`
}

// find looks both up, whether or not the device has a place there.
func (s seat) find(e *env) (peer.Device, location.Location, error) {
	d, err := e.device(s.Device)
	if err != nil {
		return peer.Device{}, location.Location{}, err
	}
	l, err := e.location(s.Location)
	return d, l, err
}

type devicePlace struct {
	seat

	Address  []string `help:"Static addresses (those that it has, or the next free ones)." placeholder:"IP"`
	Route    []string `help:"Networks behind it; 'none' for none (those that it has)." placeholder:"PREFIX"`
	Disabled *bool    `help:"The place is off." negatable:""`
}

func (c *devicePlace) Run(e *env) error {
	d, l, err := c.find(e)
	if err != nil {
		return err
	}
	p, err := placeOf(c.Address, c.Route)
	if err != nil {
		return err
	}
	p.Location = l.ID
	if old, there := d.At(l.ID); there { // the API sets all of a place
		p.Disabled = old.Disabled
		if c.Route == nil {
			p.Routes = old.Routes
		}
	}
	if c.Disabled != nil {
		p.Disabled = *c.Disabled
	}
	d, confirmed, err := e.PlaceDevice(e, d.ID, p)
	if err != nil {
		return err
	}
	now, _ := d.At(l.ID)
	fmt.Fprintf(e.out, "device %s (%s): %s\n", plain(d.Name), d.ID,
		placesOf(peer.Device{Peers: []peer.Peer{now}}, map[location.ID]string{l.ID: plain(l.Name)}))
	e.confirmed(confirmed)
	return nil
}

type deviceLeave struct{ seat }

func (c *deviceLeave) Run(e *env) error {
	d, l, err := c.find(e)
	if err != nil {
		return err
	}
	d, confirmed, err := e.LeaveLocation(e, d.ID, l.ID)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "device %s (%s) has no place in %s\n", plain(d.Name), d.ID, plain(l.Name))
	e.confirmed(confirmed)
	return nil
}

type deviceProfile struct{ seat }

func (c *deviceProfile) Run(e *env) error {
	d, l, err := c.find(e)
	if err != nil {
		return err
	}
	p, err := e.Profile(e, d.ID, l.ID)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(e.out, p.Template())
	return err
}

func placeOf(addrs, routes []string) (p peer.Place, err error) {
	if p.Addrs, err = parseList("--address", addrs, parseAddr); err != nil {
		return p, err
	}
	p.Routes, err = parseList("--route", routes, location.ParsePrefix)
	return p, err
}
