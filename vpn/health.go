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
	looking time.Time // a look began and has not ended; zero: none
	failing time.Time // since then each look failed; zero: the last one did not
	failed  time.Time // when the last of those ended
	cause   error
}

// begin says that a look begins.
func (h *health) begin(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looking = now
}

// end says how the look ended.
func (h *health) end(err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed, h.cause = now, err
	switch {
	case err == nil:
		h.failing = time.Time{}
	case h.failing.IsZero():
		h.failing = h.looking
	}
	h.looking = time.Time{}
}

// stale returns ErrStale with the cause when looks failed from first to last for
// as long as failed, or the one under way takes as long as hung. One failure long
// ago with no look since is no news.
func (h *health) stale(now time.Time, failed, hung time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !h.failing.IsZero() && h.failed.Sub(h.failing) >= failed:
		return fmt.Errorf("%w: for %v: %s", gateway.ErrStale, now.Sub(h.failing).Round(time.Millisecond), h.cause.Error())
	case !h.looking.IsZero() && now.Sub(h.looking) >= hung:
		return fmt.Errorf("%w: no answer for %v", gateway.ErrStale, now.Sub(h.looking).Round(time.Millisecond))
	}
	return nil
}
