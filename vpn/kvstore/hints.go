package kvstore

import (
	"context"
	"iter"
	"sync"

	"github.com/holdfastvpn/holdfast/vpn"
)

// pending is how many hints wait for a reader before they become one: anywhere.
const pending = 256

// hints tells readers of writes, and never waits for one. The zero value is
// ready.
type hints struct {
	mu      sync.Mutex
	readers map[*reader]struct{} // guarded by mu
}

type reader struct {
	mu   sync.Mutex
	have map[vpn.Hint]struct{} // guarded by mu
	wake chan struct{}         // has room for one
}

func (h *hints) give(hint vpn.Hint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.readers {
		r.add(hint)
	}
}

// take begins to collect at once, and ends with ctx whether it is read or not.
func (h *hints) take(ctx context.Context) iter.Seq[vpn.Hint] {
	r := &reader{have: map[vpn.Hint]struct{}{}, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	if h.readers == nil {
		h.readers = map[*reader]struct{}{}
	}
	h.readers[r] = struct{}{}
	h.mu.Unlock()
	context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.readers, r)
	})
	return func(yield func(vpn.Hint) bool) {
		for {
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
			}
			for hint := range r.drain() {
				if ctx.Err() != nil || !yield(hint) {
					return
				}
			}
		}
	}
}

func (r *reader) add(hint vpn.Hint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.have) >= pending {
		clear(r.have)
		hint = vpn.Hint{}
	}
	if _, all := r.have[vpn.Hint{}]; !all {
		r.have[hint] = struct{}{}
	}
	select {
	case r.wake <- struct{}{}:
	default: // it is awake already
	}
}

func (r *reader) drain() map[vpn.Hint]struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := r.have
	r.have = map[vpn.Hint]struct{}{}
	return have
}
