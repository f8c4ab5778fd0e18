package gateway

import (
	"context"
	"errors"
)

// errCut is what a look gives that was cut short. What was known before is as true as it
// was.
var errCut = errors.New("gateway: the look at the device was cut short")

// cutShort ends a look at the device that is under way: it may take longer than clients
// can wait that are to be taken over.
func (r *Reconciler) cutShort() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut != nil {
		r.cut()
	}
}

// observe is Observe of the device, unless it is cut short.
func (r *Reconciler) observe(ctx context.Context, s *State) error {
	inner, cut := context.WithCancel(ctx)
	defer cut()
	r.mu.Lock()
	r.cut = cut
	r.mu.Unlock()
	err := r.c.Device.Observe(inner, s)
	r.mu.Lock()
	r.cut = nil
	r.mu.Unlock()
	if err != nil && inner.Err() != nil && ctx.Err() == nil {
		return errCut
	}
	return err
}
