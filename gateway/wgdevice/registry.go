//go:build linux

package wgdevice

import "sync"

// spot is where an engine runs.
type spot struct {
	place
	name string
}

// engines are those that run in this process, by where. It belongs to the
// process because they do: an interface outlives the Device that made it, and
// the next Open finds it here. An engine keeps its namespace open, so that no
// other namespace can get the same number meanwhile.
//
//nolint:gochecknoglobals // see above
var engines = registry{at: map[spot]*engine{}}

// registry is safe for concurrent use.
type registry struct {
	mu sync.Mutex
	at map[spot]*engine
}

// get returns the engine that runs at s, or nil. One that has ended is let go.
func (r *registry) get(s spot) *engine {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.at[s]
	if e != nil && e.ended() {
		delete(r.at, s)
		e.end()
		return nil
	}
	return e
}

// put says that e runs at s now. The one before is ended.
func (r *registry) put(s spot, e *engine) {
	r.mu.Lock()
	before := r.at[s]
	r.at[s] = e
	r.mu.Unlock()
	if before != nil {
		before.end()
	}
}

// end ends the engine at s, if any.
func (r *registry) end(s spot) {
	r.mu.Lock()
	e := r.at[s]
	delete(r.at, s)
	r.mu.Unlock()
	if e != nil {
		e.end()
	}
}
