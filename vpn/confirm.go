package vpn

import (
	"context"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/location"
)

// Confirmation says which gateways of a location have applied a revision.
type Confirmation struct {
	Location location.ID
	Revision Revision
	// Done have it, Late are connected and have it not, Away are not connected:
	// what they have now is not known. By name.
	Done, Late, Away []Gateway
}

// Confirm waits until every connected gateway of a location has applied a
// revision, or ctx ends, and says who has then. Unlike for Wait, no connected
// gateway at all ends the waiting. The error is that of a store that could not be
// read.
func (c *Core) Confirm(ctx context.Context, at location.ID, rev Revision) (Confirmation, error) {
	const often = 200 * time.Millisecond
	all, err := c.gateways.List(ctx)
	if err != nil {
		return Confirmation{}, err
	}
	all = slices.DeleteFunc(all, func(g Gateway) bool { return !slices.Contains(g.Locations, at) })
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		changed := c.acks.changed.wait()
		s := Confirmation{Location: at, Revision: rev}
		now, members := c.now(), c.members(at, false)
		for _, g := range all {
			switch m := members[g.ID]; {
			case g.Disabled || !m.connected(now):
				s.Away = append(s.Away, g)
			case m.status.Applied.Reached(rev):
				s.Done = append(s.Done, g)
			default:
				s.Late = append(s.Late, g)
			}
		}
		if len(s.Late) == 0 {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, nil
		case <-changed:
		case <-tick.C:
		}
	}
}

// Connected says whether a gateway watches some core for one of its locations,
// and was heard in the last ConnectedFor.
func (c *Core) Connected(g Gateway) bool {
	now := c.now()
	return slices.ContainsFunc(g.Locations, func(at location.ID) bool { return c.members(at, false)[g.ID].connected(now) })
}
