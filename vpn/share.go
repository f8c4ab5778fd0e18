package vpn

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Gateways report to every core that they reach. For those that reach only some,
// each core shares what it was told: one record per core and location, with ages
// in place of instants, since two machines' clocks are never compared. A reader
// takes a record's ages to be as of when it saw that the record had changed; one
// that has not changed since the reader began may be of any age.
const (
	ackKey     = "ack/"           // + location + "/" + core
	shareEvery = time.Second      // at most so often
	shareAtAll = 2 * time.Second  // and at least, while gateways report
	shareQuiet = 10 * time.Second // a gateway that has not reported for so long is not shared
	shareSeen  = 1000             // sightings a gateway, the latest ones
	forgetTold = 10 * time.Minute // a record that has not changed for so long is a dead core's
)

type ackRow struct {
	Core     string      `json:"core"`
	Location location.ID `json:"location"`
	Change   uint64      `json:"change"` // another one in each write
	Gateways []memberRow `json:"gateways"`
}

type memberRow struct {
	ID       gateway.ID   `json:"id"`
	Age      age          `json:"age_ms,omitzero"` // since the last report
	Watching age          `json:"watching_ms,omitzero"`
	Epoch    uint64       `json:"epoch,omitzero"`
	Applied  Revision     `json:"applied,omitzero"`
	Verified Revision     `json:"verified,omitzero"`
	Failed   []problemRow `json:"failed,omitempty"`
	Drift    []problemRow `json:"drift,omitempty"`
	Drifts   uint64       `json:"drifts,omitzero"`
	Ready    bool         `json:"ready,omitzero"`
	Restored bool         `json:"restored,omitzero"`
	Stalled  bool         `json:"stalled,omitzero"`
	Backend  string       `json:"backend,omitzero"`
	Version  string       `json:"version,omitzero"`
	Seen     []seenRow    `json:"seen,omitempty"`
}

type problemRow struct {
	Key  wgkey.Public `json:"key,omitzero"`
	What string       `json:"what"`
	Age  age          `json:"age_ms,omitzero"`
}

type seenRow struct {
	Key       wgkey.Public   `json:"key"`
	Heard     age            `json:"heard_ms,omitzero"`
	Handshake age            `json:"handshake_ms,omitzero"`
	Endpoint  netip.AddrPort `json:"endpoint,omitzero"`
	Rx        uint64         `json:"rx,omitzero"`
	Tx        uint64         `json:"tx,omitzero"`
}

// age is how long ago something was, in milliseconds and one more; 0 is never.
type age int64

func ageAt(t, now time.Time) age {
	if t.IsZero() {
		return 0
	}
	return age(max(now.Sub(t).Milliseconds(), 0)) + 1
}

func (a age) before(now time.Time) time.Time {
	if a <= 0 || now.IsZero() {
		return time.Time{}
	}
	return now.Add(-time.Duration(a-1) * time.Millisecond)
}

// writeAcks shares what gateways tell this core until ctx ends, and takes it
// back then.
func (c *Core) writeAcks(ctx context.Context) {
	change := rand.Uint64() //nolint:gosec // so that a core that starts again is seen to
	shared := map[location.ID]bool{}
	defer func() {
		const patience = time.Second
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		for at := range shared {
			_ = c.writeAck(ctx, at, nil) // it would be taken for old soon
		}
	}()
	for {
		news := c.acks.news.wait()
		change++
		rows := c.acks.toShare(c.now(), c.links.since)
		for at, gateways := range rows {
			shared[at] = true
			if err := c.writeAck(ctx, at, &ackRow{c.id, at, change, gateways}); err != nil && ctx.Err() == nil {
				c.log.Debug("sharing acknowledgements failed, and is tried again", "location", at, "err", err)
			}
		}
		for at := range shared {
			if rows[at] == nil && c.writeAck(ctx, at, nil) == nil {
				delete(shared, at)
			}
		}
		if !sleep(ctx, shareEvery, nil) || !sleep(ctx, shareAtAll-shareEvery, news) {
			return
		}
	}
}

func (c *Core) writeAck(ctx context.Context, at location.ID, row *ackRow) error {
	return c.records.Update(ctx, ackKey+string(at)+"/"+c.id, func([]byte) ([]byte, error) {
		if row == nil {
			return nil, nil
		}
		return json.Marshal(row)
	})
}

// toShare returns what gateways told this core lately, by location.
func (a *acks) toShare(now time.Time, watching func(link) (time.Time, bool)) map[location.ID][]memberRow {
	a.mu.Lock()
	defer a.mu.Unlock()
	rows := map[location.ID][]memberRow{}
	for l, own := range a.own {
		if now.Sub(own.at) > shareQuiet {
			continue
		}
		s := own.status
		r := memberRow{
			ID: l.gateway, Age: ageAt(own.at, now), Epoch: s.Epoch, Applied: s.Applied, Verified: s.Verified,
			Failed: problemRows(s.Failed, now), Drift: problemRows(s.Drift, now), Drifts: s.Drifts,
			Ready: s.Ready, Restored: s.Restored, Stalled: s.Stalled, Backend: s.Backend, Version: s.Version, Seen: seenRows(own.seen, now),
		}
		if since, live := watching(l); live {
			r.Watching = ageAt(since, now)
		}
		rows[l.location] = append(rows[l.location], r)
	}
	for _, r := range rows {
		slices.SortFunc(r, func(a, b memberRow) int { return cmp.Compare(a.ID, b.ID) })
	}
	return rows
}

func problemRows(list []gateway.Problem, now time.Time) []problemRow {
	var rows []problemRow
	for _, p := range list {
		rows = append(rows, problemRow{p.Key, p.What, ageAt(p.At, now)})
	}
	return rows
}

// seenRows are the latest sightings, in key order.
func seenRows(seen map[wgkey.Public]gateway.Sighting, now time.Time) []seenRow {
	all := slices.Collect(maps.Values(seen))
	if len(all) > shareSeen {
		slices.SortFunc(all, func(a, b gateway.Sighting) int { return b.Heard.Compare(a.Heard) })
		all = all[:shareSeen]
	}
	slices.SortFunc(all, func(a, b gateway.Sighting) int { return a.Key.Compare(b.Key) })
	rows := make([]seenRow, len(all))
	for i, s := range all {
		rows[i] = seenRow{s.Key, ageAt(s.Heard, now), ageAt(s.Handshake, now), s.Endpoint, s.Rx, s.Tx}
	}
	return rows
}

// sleep waits for d or until wake is closed, and says false when ctx ends.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-t.C:
	}
	return ctx.Err() == nil
}
