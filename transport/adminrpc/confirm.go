package adminrpc

import (
	"context"
	"slices"
	"sync"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
)

// GatewayName names a gateway.
type GatewayName struct {
	ID   gateway.ID `json:"id"`
	Name string     `json:"name"`
}

// Confirmation says which gateways of a location have applied a change.
type Confirmation struct {
	Location location.ID `json:"location"`
	Name     string      `json:"name"` // of the location
	// Done have applied it; Late are connected and had not when the answer was
	// given; of Away, which are not connected, it is not known.
	Done []GatewayName `json:"done"`
	Late []GatewayName `json:"late"`
	Away []GatewayName `json:"away"`
}

// confirm waits, for a short while, until the gateways of locations have what was
// written. The change stands whatever comes of it, so this has no error: of a
// location that could not be looked at nothing is said.
func (a *api) confirm(ctx context.Context, locations ...location.ID) []Confirmation {
	slices.Sort(locations)
	locations = slices.Compact(locations)
	wait, cancel := context.WithTimeout(ctx, a.Confirm)
	defer cancel()
	list := make([]*Confirmation, len(locations))
	var tasks sync.WaitGroup
	for i, at := range locations {
		tasks.Go(func() {
			rev, err := a.Core.Revision(ctx, at)
			var c vpn.Confirmation
			if err == nil {
				c, err = a.Core.Confirm(wait, at, rev)
			}
			if err != nil {
				a.Log.WarnContext(ctx, "who has applied a change could not be seen", "location", at, "err", err)
				return
			}
			l, _ := a.Core.Locations().Get(ctx, at) // for its name, if it is there
			list[i] = &Confirmation{at, l.Name, names(c.Done), names(c.Late), names(c.Away)}
		})
	}
	tasks.Wait()
	var out []Confirmation
	for _, c := range list {
		if c != nil {
			out = append(out, *c)
		}
	}
	return out
}

func names(list []vpn.Gateway) []GatewayName {
	var out []GatewayName
	for _, g := range list {
		out = append(out, GatewayName{g.ID, g.Name})
	}
	return out
}

// placesOf are the locations of devices.
func placesOf(devices ...peer.Device) (at []location.ID) {
	for _, d := range devices {
		for _, p := range d.Peers {
			at = append(at, p.Location)
		}
	}
	return at
}
