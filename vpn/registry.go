package vpn

import (
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
	version uint64 // counts puts
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
	r.version++
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

// replace takes what was read of all rows since begin, unless a row was put
// meanwhile, which the others may be older than.
func (r *registry) replace(rows map[gateway.ID]gatewayRow, version uint64) {
	r.mu.Lock()
	if r.version != version {
		r.mu.Unlock()
		return
	}
	same := maps.EqualFunc(r.rows, rows, gatewayRow.same)
	r.rows = rows
	r.mu.Unlock()
	if !same {
		r.changed.ring()
	}
}

func (r gatewayRow) same(o gatewayRow) bool {
	return r.Name == o.Name && r.Address == o.Address && r.Disabled == o.Disabled && r.Removed == o.Removed && slices.Equal(r.Locations, o.Locations)
}

// serves says whether the gateway is to serve a location: nil, or why not.
func (r gatewayRow) serves(at location.ID) error {
	switch {
	case r.Removed, r.Disabled:
		return gateway.ErrRevoked
	case !slices.Contains(r.Locations, at):
		return ErrUnassigned
	}
	return nil
}
