package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// clocked is how often to look whether the clock is right by now: machines
// without a clock of their own set it some time after they started.
const clocked = 10 * time.Second

// keeping loads what was kept, and starts to keep what is told; the function that
// it returns ends that.
func (p *Process) keeping(ctx context.Context) (end func()) {
	all := p.keep.load(ctx)
	p.mu.Lock()
	p.known, p.assigned = false, nil
	clear(p.siblings)
	clear(p.kept)
	for _, k := range all {
		p.kept[k.Location] = k
		if err := k.check(p.c.Now(), p.c.MaxAge); err != nil {
			p.c.Log.Warn("not going on from what was told before; the location stays as it is until the control plane speaks",
				"gateway", string(p.c.ID), "location", string(k.Location), "err", err)
		}
	}
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // what the last service says is kept too
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.keep.run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// restore assigns what was kept, as long as the plane has not said what to serve,
// and says whether that is something else than before.
func (p *Process) restore() bool {
	now := p.c.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known {
		return false
	}
	before := len(p.assigned)
	for at, k := range p.kept {
		if !slices.Contains(p.assigned, at) && k.check(now, p.c.MaxAge) == nil {
			p.assigned, p.siblings[at] = append(p.assigned, at), k.Siblings
		}
	}
	slices.Sort(p.assigned)
	if len(p.assigned) == before {
		return false
	}
	p.altered()
	return true
}

// prime gives the first Reconciler of a location what was kept. The caller holds
// mu.
func (p *Process) prime(r *Reconciler) {
	r.keep = p.keep
	k, ok := p.kept[r.c.Location]
	delete(p.kept, r.c.Location)
	if ok && k.check(p.c.Now(), p.c.MaxAge) == nil {
		r.kept = &k.Config
	}
}

// refused says why locations that were served before are not, as long as the
// plane has not said what to serve.
func (p *Process) refused() (all []error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known {
		return nil
	}
	for _, at := range slices.Sorted(maps.Keys(p.kept)) {
		if slices.Contains(p.assigned, at) {
			continue
		}
		if err := p.kept[at].check(p.c.Now(), p.c.MaxAge); err != nil {
			all = append(all, fmt.Errorf("gateway: location %s is not ready: the control plane has not said what to serve: %w", at, err))
		}
	}
	return all
}

// finish ends a location that was taken from the gateway while it was down.
func (p *Process) finish(outer, inner context.Context, s *service) {
	d := p.open(inner, s)
	if d == nil {
		return
	}
	defer p.release(s.at, d)
	p.end(outer, s.at, d)
}
