package sealed

import (
	"slices"
	"sync"
	"time"
)

// perDevice is how many requests of one device are remembered, 24 bytes each. A device
// that has more of them within the window loses the oldest, and what it claims to have
// made before those is not taken any more: it slows down nobody but itself.
const perDevice = 32

// replays remembers what was taken, for as long as it could be taken again. Its time
// never goes back. It is safe for concurrent use.
type replays struct {
	window time.Duration
	since  time.Time // nothing that was made before is taken

	mu     sync.Mutex
	latest time.Time
	swept  time.Time
	seen   map[string]*recent
}

// recent are the newest requests of a device, in the order of their times.
type recent struct {
	low int64 // nothing that was made at this time or before is taken
	all []claim
}

type claim struct {
	at int64 // nanoseconds since 1970
	id [16]byte
}

type verdict int

const (
	fresh    verdict = iota // it is taken, and never again
	untimely                // its time is not one that is taken
	taken                   // it was taken before
)

func newReplays(start time.Time, window time.Duration) *replays {
	return &replays{window: window, since: start, latest: start, swept: start, seen: map[string]*recent{}}
}

// time is now, or later if it was later already.
func (r *replays) time(now time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.advance(now)
}

func (r *replays) advance(now time.Time) time.Time {
	if now.After(r.latest) {
		r.latest = now
	}
	return r.latest
}

// fits says whether a time is one that is taken, and which to claim instead.
func (r *replays) fits(at, now time.Time) (tell time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.timely(at, now)
}

func (r *replays) timely(at, now time.Time) (tell time.Time, ok bool) {
	tell = r.advance(now)
	return tell, !at.Before(r.since) && !at.Before(tell.Add(-r.window)) && !at.After(tell.Add(r.window))
}

// take takes a request, or says why not; if untimely, with the time to claim.
func (r *replays) take(device string, id [16]byte, at, now time.Time) (time.Time, verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	tell, ok := r.timely(at, now)
	d := r.seen[device]
	if d == nil {
		d = &recent{}
	}
	c := claim{at: at.UnixNano(), id: id}
	low := d.low != 0 && c.at <= d.low
	if !ok || low {
		if next := time.Unix(0, d.low+1); next.After(tell) {
			tell = next
		}
		return tell, untimely
	}
	if slices.ContainsFunc(d.all, func(o claim) bool { return o.id == id }) {
		return tell, taken
	}
	i, _ := slices.BinarySearchFunc(d.all, c.at, func(o claim, at int64) int { return int(min(max(o.at-at, -1), 1)) })
	d.all = slices.Insert(d.all, i, c)
	if len(d.all) > perDevice {
		d.low = d.all[0].at
		d.all = slices.Delete(d.all, 0, 1)
	}
	r.seen[device] = d
	r.sweep(tell)
	return tell, fresh
}

// sweep forgets what could not be taken any more by its time alone, now and then.
func (r *replays) sweep(now time.Time) {
	if now.Sub(r.swept) < r.window {
		return
	}
	r.swept = now
	old := now.Add(-r.window).UnixNano()
	for device, d := range r.seen {
		d.all = slices.DeleteFunc(d.all, func(c claim) bool { return c.at < old })
		if len(d.all) == 0 { // low is older than they were
			delete(r.seen, device)
		}
	}
}
