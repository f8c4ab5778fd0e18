package vpn

import (
	"fmt"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
)

// health knows for how long looks at the store have failed or hung. The zero
// value has never looked, and complains of nothing.
type health struct {
	mu      sync.Mutex
	failing time.Time // since then each look failed; zero: the last one did not
	cause   error
	looking time.Time // a look began and has not ended; zero: none
}

// begin says that a look begins.
func (h *health) begin(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looking = now
}

// end says how the look ended.
func (h *health) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		h.failing, h.cause = time.Time{}, nil
	case h.failing.IsZero():
		h.failing, h.cause = h.looking, err
	default:
		h.cause = err
	}
	h.looking = time.Time{}
}

// stale returns ErrStale with the cause when looks have failed for longer than
// failed, or the one under way takes longer than hung.
func (h *health) stale(now time.Time, failed, hung time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !h.failing.IsZero() && now.Sub(h.failing) > failed:
		return fmt.Errorf("%w: for %v: %s", gateway.ErrStale, now.Sub(h.failing).Round(time.Millisecond), h.cause.Error())
	case !h.looking.IsZero() && now.Sub(h.looking) > hung:
		return fmt.Errorf("%w: no answer for %v", gateway.ErrStale, now.Sub(h.looking).Round(time.Millisecond))
	}
	return nil
}
