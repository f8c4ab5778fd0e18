package vpn

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
)

// ErrUnassigned ends the Watch of a gateway, and refuses its Report, for a
// location that it is not to serve.
var ErrUnassigned = errors.New("vpn: the gateway is not assigned to this location")

// Gateway is a registration: one process, and the locations that it serves.
type Gateway struct {
	ID        gateway.ID    `json:"id"`
	Name      string        `json:"name"` // for people; 1 to 63 printable characters
	Locations []location.ID `json:"locations,omitempty"`
	// Address is where cores dial it, and its siblings, host and port; "" means that
	// it dials them.
	Address string `json:"address,omitzero"`
	// Disabled refuses the gateway's streams and reports with ErrRevoked. What it
	// has it keeps.
	Disabled bool `json:"disabled,omitzero"`
}

// gatewayRow is the stored form. A removed gateway stays known as that.
type gatewayRow struct {
	Gateway

	Removed bool `json:"removed,omitzero"`

	bad error // why the row cannot be read: of Gateway there is the ID then
}

// gatewayKey is where registrations are among the Records.
const gatewayKey = "gateway/"

// Gateways registers who serves the locations. Changes reach this core's
// streams at once, and those of other cores within about a second.
type Gateways struct{ c *Core }

// Add registers a gateway and gives it its ID, which must not be chosen. Its
// locations have to be there.
func (g *Gateways) Add(ctx context.Context, gw Gateway) (Gateway, error) {
	fail := func(err error) (Gateway, error) {
		return Gateway{}, fmt.Errorf("vpn: add gateway %q: %w", gw.Name, err)
	}
	if gw.ID != "" {
		return fail(&location.FieldError{Field: "ID", Reason: "is given by the registry: leave it empty"})
	}
	gw.ID = gateway.ID(newID())
	if err := g.check(ctx, &gw, nil); err != nil {
		return fail(err)
	}
	err := g.write(ctx, gw.ID, func(old *gatewayRow) (*gatewayRow, error) {
		if old != nil {
			return nil, errors.New("its ID is in use") // 122 random bits
		}
		return &gatewayRow{Gateway: gw}, nil
	})
	if err != nil {
		return fail(err)
	}
	g.note(ctx, GatewayAdded, Gateway{}, gw)
	return gw.clone(), nil
}

// Get returns a registration, or ErrNotFound.
func (g *Gateways) Get(ctx context.Context, id gateway.ID) (Gateway, error) {
	r, err := g.load(ctx, id)
	if err == nil && r.Removed {
		err = ErrNotFound
	}
	if err != nil {
		return Gateway{}, fmt.Errorf("vpn: get gateway %q: %w", id, err)
	}
	return r.Gateway, nil
}

// List returns all registrations by name.
func (g *Gateways) List(ctx context.Context) ([]Gateway, error) {
	rows, err := g.all(ctx)
	for _, r := range rows {
		err = cmp.Or(err, r.bad) // nobody shall take the list for whole
	}
	if err != nil {
		return nil, fmt.Errorf("vpn: list gateways: %w", err)
	}
	return listed(rows), nil
}

// listed returns those that can be read and are not removed, by name.
func listed(rows map[gateway.ID]gatewayRow) []Gateway {
	var all []Gateway
	for _, r := range rows {
		if !r.Removed && r.bad == nil {
			all = append(all, r.clone())
		}
	}
	slices.SortFunc(all, func(a, b Gateway) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(string(a.ID), string(b.ID)))
	})
	return all
}

// Update changes a registration, or returns ErrNotFound. edit may run more than
// once and depends on its argument alone; its error comes back as it is, and
// nothing is changed then. Locations that are added have to be there.
func (g *Gateways) Update(ctx context.Context, id gateway.ID, edit func(*Gateway) error) (Gateway, error) {
	old, err := g.Get(ctx, id)
	if err != nil {
		return Gateway{}, err
	}
	want := old.clone()
	if err := edit(&want); err != nil {
		return Gateway{}, err
	}
	if err := g.check(ctx, &want, old.Locations); err != nil {
		return Gateway{}, fmt.Errorf("vpn: update gateway %q: %w", old.Name, err)
	}
	var refused error
	var now Gateway
	err = g.write(ctx, id, func(r *gatewayRow) (*gatewayRow, error) {
		if r == nil || r.Removed {
			return nil, ErrNotFound
		}
		now, old = r.Gateway, r.clone()
		if refused = edit(&now); refused != nil {
			return nil, refused
		}
		if now.ID != id {
			return nil, &location.FieldError{Field: "ID", Reason: "cannot change"}
		}
		return &gatewayRow{Gateway: now}, settle(&now)
	})
	switch {
	case refused != nil:
		return Gateway{}, refused
	case err != nil:
		return Gateway{}, fmt.Errorf("vpn: update gateway %q: %w", old.Name, err)
	}
	if !(gatewayRow{Gateway: now}).same(gatewayRow{Gateway: old}) {
		g.note(ctx, GatewayChanged, old, now)
	}
	return now.clone(), nil
}

// Remove ends a registration for good: the gateway's streams end with ErrRevoked
// and it is refused from then on. What it has it keeps, so take its locations
// away first (Update) to have it end them by itself. Removing what is not there
// is no error.
func (g *Gateways) Remove(ctx context.Context, id gateway.ID) error {
	var old *Gateway
	err := g.write(ctx, id, func(r *gatewayRow) (*gatewayRow, error) {
		old = nil
		if r != nil {
			if !r.Removed {
				was := r.clone()
				old = &was
			}
			r.Removed, r.Locations = true, nil
		}
		return r, nil
	})
	if err != nil {
		return fmt.Errorf("vpn: remove gateway %q: %w", id, err)
	}
	if old != nil {
		g.note(ctx, GatewayRemoved, *old, Gateway{})
	}
	return nil
}

// note tells what became of a registration.
func (g *Gateways) note(ctx context.Context, what string, old, now Gateway) {
	e := Event{What: what, Subject: string(cmp.Or(now.ID, old.ID)), Name: cmp.Or(now.Name, old.Name)}
	e.Locations = append(slices.Clone(old.Locations), now.Locations...)
	slices.Sort(e.Locations)
	e.Locations = slices.Compact(e.Locations)
	if what != GatewayRemoved {
		e.Text = changes(old, now)
	}
	g.c.events.note(ctx, e)
}

// check validates g, and looks whether locations that are not in known are there.
func (g *Gateways) check(ctx context.Context, gw *Gateway, known []location.ID) error {
	if err := settle(gw); err != nil {
		return err
	}
	for i, id := range gw.Locations {
		if slices.Contains(known, id) {
			continue
		}
		if _, err := g.c.stores.Locations().Get(ctx, id); errors.Is(err, location.ErrNotFound) {
			return &location.FieldError{Field: fmt.Sprintf("Locations[%d]", i), Reason: fmt.Sprintf("there is no location %q", id)}
		} else if err != nil {
			return err
		}
	}
	return nil
}

// settle checks the fields of gw and puts them in order.
func settle(gw *Gateway) error {
	n := utf8.RuneCountInString(gw.Name)
	printable := !strings.ContainsFunc(gw.Name, func(r rune) bool { return !unicode.IsPrint(r) })
	if n < 1 || n > 63 || !printable || !utf8.ValidString(gw.Name) {
		return &location.FieldError{Field: "Name", Reason: "has to be 1 to 63 printable characters"}
	}
	if err := checkAddress(gw.Address); gw.Address != "" && err != nil {
		return &location.FieldError{Field: "Address", Reason: err.Error()}
	}
	gw.Locations = slices.Clone(gw.Locations)
	slices.Sort(gw.Locations)
	gw.Locations = slices.Compact(gw.Locations)
	return nil
}

// checkAddress says what is wrong with an address to dial.
func checkAddress(a string) error {
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return errors.New("has to be a host and a port, such as 192.0.2.7:7946 or [2001:db8::7]:7946")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("has to end with a port from 1 to 65535, not %q", port)
	}
	return location.CheckHost(host)
}

func (gw Gateway) clone() Gateway {
	gw.Locations = slices.Clone(gw.Locations)
	return gw
}

// load reads one row, removed ones too, or returns ErrNotFound.
func (g *Gateways) load(ctx context.Context, id gateway.ID) (gatewayRow, error) {
	b, err := g.c.records.Get(ctx, gatewayKey+string(id))
	if err != nil {
		return gatewayRow{}, err
	}
	return parseGateway(id, b)
}

// all reads every row, removed ones and bad ones too.
func (g *Gateways) all(ctx context.Context) (map[gateway.ID]gatewayRow, error) {
	list, err := g.c.records.List(ctx, gatewayKey, "", 0)
	if err != nil {
		return nil, err
	}
	all := make(map[gateway.ID]gatewayRow, len(list))
	for _, r := range list {
		id := gateway.ID(strings.TrimPrefix(r.Key, gatewayKey))
		row, err := parseGateway(id, r.Value)
		if err != nil {
			row = gatewayRow{Gateway: Gateway{ID: id}, bad: err}
		}
		all[id] = row
	}
	return all, nil
}

// write is the one way in which rows are written; edit gets nil for none.
func (g *Gateways) write(ctx context.Context, id gateway.ID, edit func(*gatewayRow) (*gatewayRow, error)) error {
	var now *gatewayRow
	err := g.c.records.Update(ctx, gatewayKey+string(id), func(old []byte) ([]byte, error) {
		var row *gatewayRow
		if old != nil {
			r, err := parseGateway(id, old)
			if err != nil {
				return nil, err
			}
			row = &r
		}
		var err error
		if now, err = edit(row); err != nil || now == nil {
			return nil, err
		}
		return json.Marshal(now)
	})
	if err == nil && now != nil {
		g.c.registry.put(*now)
	}
	return err
}

// parseGateway reads the row of a gateway. One that a newer core wrote may be more
// than this one understands.
func parseGateway(id gateway.ID, b []byte) (r gatewayRow, err error) {
	if err = strict(b, &r); err == nil && r.ID != id {
		err = fmt.Errorf("it is of %q", r.ID)
	}
	if err != nil {
		return gatewayRow{}, fmt.Errorf("record %q cannot be read: %w", gatewayKey+string(id), err)
	}
	return r, nil
}

// Follow yields all registrations by name, and again after each change, until ctx
// ends. It needs a core that runs, and reads no store.
func (g *Gateways) Follow(ctx context.Context) iter.Seq[[]Gateway] {
	return func(yield func([]Gateway) bool) {
		for {
			changed := g.c.registry.changed.wait()
			if !yield(listed(g.c.registry.all())) {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	}
}
