package vpn

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
)

// Report takes what a gateway tells of itself and of the peers that it saw: see
// gateway.ControlPlane. It is ErrGap if it builds on a report that this core has
// not got, and ErrUnknown, ErrRevoked or ErrUnassigned as for Watch.
func (c *Core) Report(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error {
	if err := c.report(ctx, link{id, location.ID(at)}, s); err != nil {
		return fmt.Errorf("vpn: report of gateway %q at location %q: %w", id, at, err)
	}
	return nil
}

func (c *Core) report(ctx context.Context, at link, s gateway.Status) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.hasStopped() {
		return errStopped
	}
	if c.serves(at) != nil { // what is known may be old
		if err := c.read(ctx, at.gateway); err != nil {
			return err
		}
		if err := c.serves(at); err != nil {
			return err
		}
	}
	return c.acks.take(at, s, c.now())
}

// Revision returns the newest revision of a location, in which everything is
// that was written before: what to Wait for after a change. That of a location
// that never was is zero.
func (c *Core) Revision(ctx context.Context, at location.ID) (Revision, error) {
	heads, err := c.feed.Heads(ctx)
	if err != nil {
		return Revision{}, fmt.Errorf("vpn: revision of location %q: %w", at, err)
	}
	return heads[at], nil
}

// Wait returns nil when every connected gateway of a location, at least one, has
// applied a revision, whichever core it talks to. When ctx ends first, the error
// is that of ctx and names the gateways that have not.
func (c *Core) Wait(ctx context.Context, at location.ID, rev Revision) error {
	const often = 200 * time.Millisecond // gateways also disconnect, which rings no bell
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		changed := c.acks.changed.wait()
		missing := c.missing(at, rev)
		if missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("vpn: wait for revision %v of location %q: %s: %w", rev, at, missing, ctx.Err())
		case <-changed:
		case <-tick.C:
		}
	}
}

// missing says who has not applied a revision, "" if nobody.
func (c *Core) missing(at location.ID, rev Revision) string {
	now := c.now()
	var late []string
	connected := 0
	members := c.members(at, false)
	for _, id := range slices.Sorted(maps.Keys(members)) {
		m := members[id]
		row, err := c.registry.get(id)
		if err != nil || row.serves(at) != nil || !m.connected(now) {
			continue
		}
		connected++
		if !m.status.Applied.Reached(rev) {
			late = append(late, fmt.Sprintf("gateway %q has %v", row.Name, m.status.Applied))
		}
	}
	if connected == 0 {
		return "no gateway is connected"
	}
	return strings.Join(late, ", ")
}

// members returns what is known of a location's gateways, with the Watches of
// this core.
func (c *Core) members(at location.ID, seen bool) map[gateway.ID]member {
	all := c.acks.members(at, seen)
	for _, l := range c.links.at(at) {
		m := all[l.gateway]
		since, live := c.links.since(l)
		if live && (!m.watching || since.Before(m.since)) {
			m.watching, m.since = true, since
			all[l.gateway] = m
		}
	}
	return all
}
