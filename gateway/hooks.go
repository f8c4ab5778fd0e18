package gateway

import (
	"context"
	"net/netip"
	"slices"
	"sync"
)

// hooks tells an embedder, one thing after another, which floating addresses there are.
// Whoever acts on them leaves word, and waits for nobody.
type hooks struct {
	own   func(ctx context.Context, owned []netip.Addr)
	yield func(ctx context.Context)
	news  signal

	mu  sync.Mutex
	now []netip.Addr
}

func newHooks(c ReconcilerConfig) *hooks {
	return &hooks{own: c.OnOwn, yield: c.OnYield, news: make(signal, 1)}
}

// set leaves word of which addresses there are now.
func (h *hooks) set(owned []netip.Addr) {
	h.mu.Lock()
	h.now = slices.Clone(owned)
	h.mu.Unlock()
	h.news.set()
}

// run calls the hooks until ctx ends.
func (h *hooks) run(ctx context.Context) {
	var told []netip.Addr
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.news:
		}
		h.mu.Lock()
		now := slices.Clone(h.now)
		h.mu.Unlock()
		came := slices.ContainsFunc(now, func(a netip.Addr) bool { return !slices.Contains(told, a) })
		gone := len(now) == 0 && len(told) > 0
		told = now
		switch {
		case came && h.own != nil:
			h.own(ctx, slices.Clone(now))
		case gone && h.yield != nil:
			h.yield(ctx)
		}
	}
}
