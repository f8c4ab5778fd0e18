package vpn

import "time"

// Health is health for tests.
type Health struct{ h health }

// Look has a look at the store begin and end.
func (h *Health) Look(begin, end time.Time, err error) {
	h.h.begin(begin)
	h.h.end(err, end)
}

// Hang has a look begin.
func (h *Health) Hang(begin time.Time) { h.h.begin(begin) }

// Stale is whether it is, where looks may fail and hang for a second.
func (h *Health) Stale(now time.Time) error { return h.h.stale(now, time.Second, time.Second) }
