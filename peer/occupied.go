package peer

import (
	"fmt"
	"net/netip"

	"github.com/holdfastvpn/holdfast/location"
)

// Occupied is what peers of one location have, to see beforehand whether many new
// places fit in beside each other. The store has the last word all the same. It is
// not safe for concurrent use.
type Occupied struct {
	in     location.Location
	addrs  map[netip.Addr]string // who has it
	routes []occupied
}

type occupied struct {
	prefix netip.Prefix
	by     string
}

// NewOccupied takes in the devices that there are.
func NewOccupied(l location.Location, devices []Device) *Occupied {
	o := &Occupied{in: l, addrs: map[netip.Addr]string{}}
	for _, d := range devices {
		if p, here := d.At(l.ID); here {
			o.take(Place{Addrs: p.Addrs, Routes: p.Routes}, fmt.Sprintf("device %q (%s)", d.Name, d.ID))
		}
	}
	return o
}

func (o *Occupied) take(p Place, by string) {
	for _, a := range p.Addrs {
		o.addrs[a] = by
	}
	for _, r := range p.Routes {
		o.routes = append(o.routes, occupied{r, by})
	}
}

// Add says what keeps a place from being there beside the others, and takes it in
// if nothing does. It is a *FieldError, with ErrAddressTaken where somebody else
// is in the way. by says whose it is, for the errors of those who come later.
func (o *Occupied) Add(p Place, by string) error {
	want := Peer{Location: o.in.ID, Addrs: p.Addrs, Routes: p.Routes}
	for _, wrong := range []*FieldError{checkAddrs(p.Addrs), checkRoutes(p.Routes), want.fits(o.in)} {
		if wrong != nil {
			return wrong
		}
	}
	for i, a := range p.Addrs {
		if other, has := o.addrs[a]; has {
			return fmt.Errorf("%w: %w", ErrAddressTaken, fieldf(fmt.Sprintf("Addrs[%d]", i), "%s belongs to %s", a, other))
		}
	}
	for i, r := range p.Routes {
		for _, other := range o.routes {
			if other.prefix.Overlaps(r) {
				return fmt.Errorf("%w: %w", ErrAddressTaken,
					fieldf(fmt.Sprintf("Routes[%d]", i), "%s overlaps %s of %s", r, other.prefix, other.by))
			}
		}
	}
	o.take(p, by)
	return nil
}
