package main

import (
	"fmt"
	"slices"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/transport/adminrpc"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

type deviceCmd struct {
	Add     deviceAdd     `cmd:"" help:"Add a device. Its key is made here, printed once with its profile, and kept nowhere."`
	List    deviceList    `cmd:"" help:"List devices."`
	Show    deviceShow    `cmd:"" help:"Show one."`
	Set     deviceSet     `cmd:"" help:"Change name, owner or key: only what is given."`
	Enable  deviceEnable  `cmd:"" help:"End what disable did."`
	Disable deviceDisable `cmd:"" help:"Take a device off all gateways."`
	Delete  deviceDelete  `cmd:"" help:"Delete a device."`
	Place   devicePlace   `cmd:"" help:"Give a device a place in a location, or change it."`
	Leave   deviceLeave   `cmd:"" help:"Take a device's place in a location away."`
	Profile deviceProfile `cmd:"" help:"Print the profile of a device, without its private key."`
	Import  deviceImport  `cmd:"" help:"Add the peers of a wg-quick server file, with their keys, addresses and routes: all or none."`
}

type deviceAdd struct {
	Name      string   `arg:"" help:"What people call it."`
	Location  string   `help:"Where it gets a place; name or ID." placeholder:"LOCATION"`
	Owner     string   `help:"Whom it belongs to; none for a network device." placeholder:"NAME"`
	PublicKey string   `help:"Its key was made elsewhere: print the profile without it." placeholder:"KEY"`
	Address   []string `help:"Static addresses (the next free ones)." placeholder:"IP"`
	Route     []string `help:"Networks behind it." placeholder:"PREFIX"`
	QR        bool     `help:"Print the profile as a QR code." name:"qr" xor:"how"`
	Out       string   `help:"Write the profile to a file that is not there yet, for its owner alone." placeholder:"FILE" xor:"how"`
}

func (c *deviceAdd) Run(e *env) error {
	n := peer.NewDevice{Name: c.Name, Owner: c.Owner}
	var key wgkey.Private
	var err error
	if c.PublicKey != "" {
		if n.Key, err = wgkey.ParsePublic(c.PublicKey); err != nil {
			return usagef("--public-key", "has to be 44 characters of base64, as wg pubkey prints it")
		}
	}
	place, err := placeOf(c.Address, c.Route)
	switch {
	case err != nil:
		return err
	case c.Location == "" && (len(place.Addrs) > 0 || len(place.Routes) > 0):
		return usagef("--location", "is missing: addresses and routes are those of a place")
	case c.Location == "" && c.PublicKey == "":
		return usagef("--location", "is missing: without a place there is no profile to print; or give --public-key")
	case c.Location == "" && (c.QR || c.Out != ""):
		return usagef("--location", "is missing: without a place there is no profile to print")
	}
	var at location.Location
	if c.Location != "" {
		if at, err = e.location(c.Location); err != nil {
			return err
		}
		place.Location = at.ID
		n.Places = []peer.Place{place}
	}
	if c.PublicKey == "" {
		key = wgkey.NewPrivate()
		n.Key = key.Public()
	}
	out, err := newProfileWriter(e, c.QR, c.Out)
	if err != nil {
		return err
	}
	d, err := e.AddDevice(e, n)
	if err != nil {
		out.cancel()
		return err
	}
	if c.Location == "" {
		_, err = fmt.Fprintf(e.out, "device %s (%s): no place yet\nNext: holdfast device place %s --location LOCATION\n", plain(d.Name), d.ID, quoted(d.Name))
		return err
	}
	fmt.Fprintf(e.err, "device %s (%s) has %s in %s\n", plain(d.Name), d.ID, joined(d.Peers[0].Addrs), plain(at.Name))
	p, err := e.Profile(e, d.ID, at.ID)
	if err == nil {
		err = out.write(p, key)
	}
	if err != nil {
		// The key was seen by nobody, so nobody can ever use the device.
		out.cancel()
		if key.IsZero() {
			return err
		}
		if _, undo := e.DeleteDevice(e, d.ID); undo != nil {
			return fmt.Errorf("%w; and the device %s, which nobody has the key of, could not be deleted again: %w", err, d.ID, undo)
		}
		return fmt.Errorf("%w; the device was deleted again", err)
	}
	return nil
}

type deviceList struct {
	Location string `help:"Only those with a place there." placeholder:"LOCATION"`
	Owner    string `help:"Only those of this owner." placeholder:"NAME"`
	JSON     bool   `help:"For programs." name:"json"`
}

func (c *deviceList) Run(e *env) error {
	f := adminrpc.DeviceFilter{Owner: c.Owner}
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
	var all []peer.Device
	for d, err := range e.Devices(e, f) {
		if err != nil {
			return err
		}
		all = append(all, d)
	}
	slices.SortStableFunc(all, func(a, b peer.Device) int {
		if n := compare(a.Owner, b.Owner); n != 0 {
			return n
		}
		return compare(a.Name, b.Name)
	})
	if c.JSON {
		out := make([]deviceJSON, len(all))
		for i, d := range all {
			out[i] = deviceOf(d, names)
		}
		return e.writeJSON(out)
	}
	t := e.table("NAME", "OWNER", "PLACES", "STATE", "ID")
	for _, d := range all {
		t.row(d.Name, d.Owner, placesOf(d, names), stateOf(d), string(d.ID))
	}
	return t.flush()
}

func placesOf(d peer.Device, names map[location.ID]string) (s string) {
	for i, p := range d.Peers {
		if i > 0 {
			s += ", "
		}
		s += nameOr(names, p.Location) + " " + joined(p.Addrs)
		if len(p.Routes) > 0 {
			s += " + " + joined(p.Routes)
		}
		if p.Disabled {
			s += " (disabled)"
		}
	}
	return s
}

func stateOf(d peer.Device) string {
	switch {
	case d.Disabled:
		return "disabled"
	case d.Standing.Disabled:
		return "owner disabled"
	}
	return ""
}

type deviceShow struct {
	Device string `arg:"" help:"Name or ID."`
	JSON   bool   `help:"For programs." name:"json"`
}

func (c *deviceShow) Run(e *env) error {
	d, err := e.device(c.Device)
	if err != nil {
		return err
	}
	names, err := e.locationNames()
	if err != nil {
		return err
	}
	if c.JSON {
		return e.writeJSON(deviceOf(d, names))
	}
	facts := []string{"name", d.Name, "id", string(d.ID), "owner", d.Owner, "state", stateOf(d), "public key", d.Key.String()}
	for _, p := range d.Peers {
		one := peer.Device{Peers: []peer.Peer{p}}
		facts = append(facts, "place", placesOf(one, names))
	}
	return e.facts(facts...)
}

type deviceSet struct {
	Device    string  `arg:"" help:"Name or ID."`
	Name      *string `help:"Another name."`
	Owner     *string `help:"Another owner; '' for nobody."`
	PublicKey *string `help:"Another key: the old one stops working." placeholder:"KEY"`
}

func (c *deviceSet) Run(e *env) error {
	d, err := e.device(c.Device)
	if err != nil {
		return err
	}
	var fields []string
	if c.Name != nil {
		d.Name, fields = *c.Name, append(fields, "name")
	}
	if c.Owner != nil {
		d.Owner, fields = *c.Owner, append(fields, "owner")
	}
	if c.PublicKey != nil {
		if d.Key, err = wgkey.ParsePublic(*c.PublicKey); err != nil {
			return usagef("--public-key", "has to be 44 characters of base64, as wg pubkey prints it")
		}
		fields = append(fields, "public_key")
	}
	if len(fields) == 0 {
		return usagef("device set", "says nothing that is to change: see holdfast device set --help")
	}
	return e.updateDevice(d, "is changed", fields...)
}

func (e *env) updateDevice(d peer.Device, what string, fields ...string) error {
	d, confirmed, err := e.UpdateDevice(e, d, fields...)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "device %s (%s) %s\n", plain(d.Name), d.ID, what)
	e.confirmed(confirmed)
	return nil
}

type deviceEnable struct {
	Device string `arg:"" help:"Name or ID."`
}

func (c *deviceEnable) Run(e *env) error {
	d, err := e.device(c.Device)
	if err != nil {
		return err
	}
	d.Disabled = false
	if d.Standing.Disabled {
		fmt.Fprintf(e.err, "its owner %s is disabled, which keeps it off the gateways: holdfast owner enable %s\n", plain(d.Owner), quoted(d.Owner))
	}
	return e.updateDevice(d, "is enabled", "disabled")
}

type deviceDisable struct {
	Device string `arg:"" help:"Name or ID."`
}

func (c *deviceDisable) Run(e *env) error {
	d, err := e.device(c.Device)
	if err != nil {
		return err
	}
	d.Disabled = true
	return e.updateDevice(d, "is disabled", "disabled")
}

type deviceDelete struct {
	Device string `arg:"" help:"Name or ID."`
}

func (c *deviceDelete) Run(e *env) error {
	d, err := e.device(c.Device)
	if err != nil {
		return err
	}
	confirmed, err := e.DeleteDevice(e, d.ID)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "device %s (%s) is deleted\n", plain(d.Name), d.ID)
	e.confirmed(confirmed)
	return nil
}
