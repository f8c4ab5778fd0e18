package vpn

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// told is what another core's record said when it was seen to change.
type told struct {
	location location.ID
	value    []byte
	first    time.Time // when this value was seen first
	members  map[gateway.ID]member
}

// readRecords reads registrations and what other cores share, every second and
// when hinted, until ctx ends.
func (c *Core) readRecords(ctx context.Context, hinted <-chan struct{}) {
	tick := time.NewTicker(slowly)
	defer tick.Stop()
	for {
		err := c.list(ctx)
		if err == nil {
			c.acks.prune(c.registry.get)
			err = c.readAcks(ctx)
		}
		if err != nil && ctx.Err() == nil {
			c.log.Debug("reading records failed, and is tried again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-hinted:
		}
	}
}

// readAcks takes in what other cores share.
func (c *Core) readAcks(ctx context.Context) error {
	list, err := c.records.List(ctx, ackKey, "", 0)
	if err != nil {
		return err
	}
	now := c.now()
	next := make(map[string]told, len(list))
	for _, r := range list {
		if strings.HasSuffix(r.Key, "/"+c.id) {
			continue
		}
		t, err := c.acks.hear(r, now)
		if err != nil {
			c.log.Debug("a record of another core is not readable, and is left out", "record", r.Key, "err", err)
			continue
		}
		next[r.Key] = t
		if now.Sub(t.first) > forgetTold {
			c.bury(ctx, r)
		}
	}
	c.acks.mu.Lock()
	c.acks.others = next
	c.acks.mu.Unlock()
	c.acks.changed.ring()
	return nil
}

// hear makes instants by this core's clock of a record's ages, if it has changed.
func (a *acks) hear(r Record, now time.Time) (told, error) {
	a.mu.Lock()
	old, known := a.others[r.Key]
	before := a.others != nil // so the record was written since the last look
	a.mu.Unlock()
	if known && bytes.Equal(old.value, r.Value) {
		return old, nil
	}
	var row ackRow
	if err := strict(r.Value, &row); err != nil {
		return told{}, fmt.Errorf("vpn: record %q: %w", r.Key, err)
	}
	t := told{location: row.Location, value: r.Value, first: now, members: map[gateway.ID]member{}}
	at := time.Time{} // ages of a record that may be old say nothing
	if before {
		at = now
	}
	for _, g := range row.Gateways {
		t.members[g.ID] = g.member(at)
	}
	return t, nil
}

// member is what a row says as of an instant; of the zero one, nothing was ever.
func (r memberRow) member(at time.Time) member {
	m := member{ack: ack{
		at: r.Age.before(at),
		status: gateway.Status{
			Epoch: r.Epoch, Applied: r.Applied, Verified: r.Verified, Drifts: r.Drifts, Ready: r.Ready, Restored: r.Restored, Stalled: r.Stalled,
			Failed: problems(r.Failed, at), Drift: problems(r.Drift, at), Backend: r.Backend, Version: r.Version,
		},
	}}
	if !at.IsZero() {
		m.seen = make(map[wgkey.Public]gateway.Sighting, len(r.Seen))
		for _, s := range r.Seen {
			m.seen[s.Key] = gateway.Sighting{
				Key: s.Key, By: r.ID, Heard: s.Heard.before(at), Handshake: s.Handshake.before(at),
				Endpoint: s.Endpoint, Rx: s.Rx, Tx: s.Tx,
			}
		}
	}
	m.since = r.Watching.before(at)
	m.watching = !m.since.IsZero()
	return m
}

func problems(rows []problemRow, at time.Time) []gateway.Problem {
	var list []gateway.Problem
	for _, r := range rows {
		list = append(list, gateway.Problem{Key: r.Key, What: r.What, At: r.Age.before(at)})
	}
	return list
}

// bury removes the record of a core that has long been silent, unless it speaks
// just now.
func (c *Core) bury(ctx context.Context, r Record) {
	err := c.records.Update(ctx, r.Key, func(old []byte) ([]byte, error) {
		if bytes.Equal(old, r.Value) {
			return nil, nil
		}
		return old, nil
	})
	if err != nil && ctx.Err() == nil {
		c.log.Debug("removing the record of a silent core failed, and is tried again", "record", r.Key, "err", err)
	}
}
