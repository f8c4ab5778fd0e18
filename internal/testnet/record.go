package testnet

import (
	"sort"
	"time"
)

// magic marks our datagrams: tag, number, nanoseconds after the start.
const magic = "prob"

const datagram = len(magic) + 8 + 8

// pong is a reply of a probe; times count from the start of the probe.
type pong struct {
	number         uint64
	sent, received time.Duration
}

// record is what a probe knows. It does no I/O and reads no clock.
type record struct {
	sent     uint64          // datagrams sent
	received uint64          // different ones that came back
	pongs    []pong          // in order of arrival, at most keepPongs
	before   time.Duration   // arrival of the newest that was forgotten
	recent   [1 << 12]uint64 // by number modulo length: number+1
}

// keepPongs bounds a record; beyond it, the older half is forgotten.
const keepPongs = 1 << 18

// add notes a reply. It is false for one that was there before, or that answers
// nothing that was sent.
func (r *record) add(e pong) bool {
	slot := &r.recent[e.number%uint64(len(r.recent))]
	if e.number >= r.sent || e.sent > e.received || *slot == e.number+1 {
		return false
	}
	*slot = e.number + 1
	r.received++
	if len(r.pongs) == keepPongs {
		r.before = r.pongs[keepPongs/2-1].received
		r.pongs = append(r.pongs[:0], r.pongs[keepPongs/2:]...)
	}
	r.pongs = append(r.pongs, e)
	return true
}

// first finds the first reply to something sent after a moment.
func (r *record) first(after time.Duration) (pong, bool) {
	i := sort.Search(len(r.pongs), func(i int) bool { return r.pongs[i].received > after })
	for ; i < len(r.pongs); i++ {
		if r.pongs[i].sent > after {
			return r.pongs[i], true
		}
	}
	return pong{}, false
}

// silence is the longest time without an arrival that ended after since, when it
// is now. The start of the probe counts as an arrival.
func (r *record) silence(since, now time.Duration) time.Duration {
	i := sort.Search(len(r.pongs), func(i int) bool { return r.pongs[i].received > since })
	last, longest := r.before, time.Duration(0)
	if i > 0 {
		last = r.pongs[i-1].received
	}
	for _, e := range r.pongs[i:] {
		longest = max(longest, e.received-last)
		last = e.received
	}
	return max(longest, now-last)
}
