package vpn

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
)

// registry is what a core knows of the rows without reading them. The zero
// value knows none.
type registry struct {
	changed bell

	mu      sync.RWMutex
	rows    map[gateway.ID]gatewayRow
	version uint64                            // counts puts
	puts    map[gateway.ID]uint64             // by gateway: the version of its last put
	serving map[location.ID][]gateway.Sibling // in order of ID; nil: not worked out yet
	missing map[link]bool                     // what was told of no more, but was before
}

// get returns what is known of a gateway; nothing is ErrUnknown.
func (r *registry) get(id gateway.ID) (gatewayRow, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	row, known := r.rows[id]
	if !known {
		return row, gateway.ErrUnknown
	}
	return row, nil
}

// all returns what is known of all; it is read-only.
func (r *registry) all() map[gateway.ID]gatewayRow {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.rows
}

// assigned returns the row of a gateway, and what it is to be told of it, never
// nil: both as of one moment.
func (r *registry) assigned(id gateway.ID) (gatewayRow, []gateway.Assignment, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row, known := r.rows[id]
	if !known {
		return row, nil, gateway.ErrUnknown
	}
	if r.serving == nil {
		r.serving = serving(r.rows, r.missing)
	}
	list := make([]gateway.Assignment, len(row.Locations))
	for i, at := range row.Locations {
		list[i].Location = gateway.LocationID(at)
		for _, s := range r.serving[at] {
			if s.ID != id {
				list[i].Siblings = append(list[i].Siblings, s)
			}
		}
	}
	return row, list, nil
}

// serving is who serves each location, in order of ID.
func serving(rows map[gateway.ID]gatewayRow, missing map[link]bool) map[location.ID][]gateway.Sibling {
	all := map[location.ID][]gateway.Sibling{}
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		row := rows[id]
		if row.Removed || row.Disabled || row.bad != nil {
			continue
		}
		for _, at := range row.Locations {
			all[at] = append(all[at], gateway.Sibling{ID: id, Addr: row.Address, Missing: missing[link{id, at}]})
		}
	}
	return all
}

// put takes one row that was read or written now.
func (r *registry) put(row gatewayRow) {
	r.mu.Lock()
	old, known := r.rows[row.ID]
	rows := maps.Clone(r.rows) // readers may hold the old map
	if rows == nil {
		rows = map[gateway.ID]gatewayRow{}
	}
	row.Gateway = row.clone()
	rows[row.ID] = row
	r.rows = rows
	if !known || !old.same(row) {
		r.serving = nil
	}
	r.version++
	if r.puts == nil {
		r.puts = map[gateway.ID]uint64{}
	}
	r.puts[row.ID] = r.version
	r.mu.Unlock()
	if !known || !old.same(row) {
		r.changed.ring()
	}
}

// begin is called before all rows are read, for replace.
func (r *registry) begin() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.version
}

// replace takes what was read of all rows since begin, and keeps rows that were put
// meanwhile: those may be newer. Lists have to come in the order in which they were
// read.
func (r *registry) replace(rows map[gateway.ID]gatewayRow, version uint64) {
	r.mu.Lock()
	for id, put := range r.puts {
		if put > version {
			rows[id] = r.rows[id]
		}
	}
	clear(r.puts)
	same := maps.EqualFunc(r.rows, rows, gatewayRow.same)
	r.rows = rows
	if !same {
		r.serving = nil
	}
	r.mu.Unlock()
	if !same {
		r.changed.ring()
	}
}

func (r gatewayRow) same(o gatewayRow) bool {
	return (r.bad == nil) == (o.bad == nil) && r.Name == o.Name && r.Address == o.Address && r.Disabled == o.Disabled && r.Removed == o.Removed && slices.Equal(r.Locations, o.Locations)
}

// serves says whether the gateway is to serve a location: nil, or why not.
func (r gatewayRow) serves(at location.ID) error {
	switch {
	case r.bad != nil:
		return r.stale()
	case r.Removed, r.Disabled:
		return gateway.ErrRevoked
	case !slices.Contains(r.Locations, at):
		return ErrUnassigned
	}
	return nil
}

// stale says that this core cannot tell what a gateway is to do, for its row is bad:
// another core may. nil: it can.
func (r gatewayRow) stale() error {
	if r.bad == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", gateway.ErrStale, r.bad.Error())
}
