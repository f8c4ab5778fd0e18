package gateway

import (
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const (
	// initiation is the size of a handshake initiation in bytes. Whoever knows a
	// peer's private key can send them for ever without a session coming of it,
	// and a recorded one counts once more if it is newer than the last.
	initiation = 148
	// initiations is how many a second WireGuard accepts for one peer: once each
	// 20 ms, in the kernel as in user space.
	initiations = 50
	// remember is how long the sighting of a peer is kept that has gone from the
	// device: its bytes go on where they were if it comes back.
	remember = time.Hour
)

// Activity works out from samples of a device which peers were heard, so that
// neither counters that start again nor somebody who only sends handshake
// initiations deceives it:
//
//   - growth of what was received is a sign of life, unless initiations alone can
//     explain it: a multiple of 148 bytes, no more than WireGuard accepts;
//   - a handshake that was not there in the last sample is one, at its own time;
//   - a counter that went back, or a handshake that went away, means that the
//     peer was added again: growth then counts from 0, and totals go on;
//   - of a device that had peers before the first sample, old bytes are no sign
//     of life, but the last handshake is;
//   - what grew between the last sample of an earlier process and the first of
//     this one is one at the time of the earlier: nobody knows how much later.
//
// A stream of data that grows by exact multiples of 592 bytes in each sample
// looks like initiations; the handshake that its sender makes every 120 s shows
// then that it lives.
//
// It is not safe for concurrent use.
type Activity struct {
	by     ID
	tracks []track // in key order
	last   time.Time
	clock  uint64 // samples so far
	edits  uint64 // grows with every change of tracks
}

// track is one peer between two samples.
type track struct {
	seen      Sighting
	handshake time.Time // as in the last sample, exactly as the device tells it
	rx, tx    uint64    // as in the last sample
	changed   uint64    // the sample that changed seen; 0: nothing to tell
	gone      time.Time // zero: it was in the last sample
}

// NewActivity returns an Activity of a gateway that has seen nothing yet.
func NewActivity(by ID) *Activity { return &Activity{by: by} }

// Observe takes the next sample: what Device.Observe gave, and when; it says of
// how many peers there is something new to tell. It keeps nothing of s. While the
// peers stay the same it allocates nothing.
func (a *Activity) Observe(s *State, now time.Time) (changed int) {
	now = now.Round(0)
	first := a.clock == 0
	take := taking{now: now, last: a.last, grown: now, first: first, budget: initiations}
	if now.After(a.last) && !a.last.IsZero() {
		take.budget += uint64(initiations * now.Sub(a.last).Seconds())
	}
	if first {
		take.grown = earlier(a.last, now) // of peers that were recalled; others have not grown
	}
	a.last = now
	a.clock++

	fresh, forget := len(a.tracks), false
	t := 0
	for i := range s.Peers {
		p := &s.Peers[i]
		for t < fresh && a.tracks[t].seen.Key.Compare(p.Key) < 0 {
			forget = a.miss(&a.tracks[t], now) || forget
			t++
		}
		if t < fresh && a.tracks[t].seen.Key == p.Key {
			changed += a.sample(&a.tracks[t], p, take)
			t++
			continue
		}
		a.tracks = append(a.tracks, track{seen: Sighting{Key: p.Key, By: a.by}})
		n := &a.tracks[len(a.tracks)-1]
		if first {
			n.rx, n.tx = p.Rx, p.Tx
		}
		a.edits++
		fresh := take
		fresh.last = time.Time{}
		changed += a.sample(n, p, fresh)
	}
	for ; t < fresh; t++ {
		forget = a.miss(&a.tracks[t], now) || forget
	}
	if forget {
		a.edits++
		a.tracks = slices.DeleteFunc(a.tracks, func(t track) bool { return t.forgotten(now) })
	}
	if len(a.tracks) > fresh || forget {
		slices.SortFunc(a.tracks, func(a, b track) int { return a.seen.Key.Compare(b.seen.Key) })
	}
	return changed
}

// Removed says that a Remove took the peer from the device after the last
// sample: what is there now counts from 0. Only whoever removed it can know, if
// the peer came back and has received more since than it had.
func (a *Activity) Removed(key wgkey.Public) {
	i, ok := slices.BinarySearchFunc(a.tracks, key, func(t track, k wgkey.Public) int { return t.seen.Key.Compare(k) })
	if ok {
		a.tracks[i].restart()
		a.edits++
	}
}

// restart makes counters count from 0.
func (t *track) restart() { t.rx, t.tx, t.handshake = 0, 0, time.Time{} }

// miss notes that the peer is not there, and says whether to forget it.
func (a *Activity) miss(t *track, now time.Time) bool {
	if t.gone.IsZero() {
		t.gone = now
		t.restart()
		a.edits++
	}
	return t.forgotten(now)
}

func (t *track) forgotten(now time.Time) bool {
	return !t.gone.IsZero() && now.Sub(t.gone) > remember
}

// taking is what one sample is for all peers.
type taking struct {
	now    time.Time
	last   time.Time // when the last one of the peer was taken; zero: there was none
	grown  time.Time // when what grew since the last sample was received
	first  bool      // of this process
	budget uint64    // initiations that WireGuard can have accepted since the last
}

// sample takes in what p is now, and returns 1 if there is something to tell.
func (a *Activity) sample(t *track, p *PeerState, take taking) int {
	before, edited := t.seen, !t.gone.IsZero()
	t.gone = time.Time{}
	if p.Rx < t.rx || p.Tx < t.tx || p.Handshake.IsZero() && !t.handshake.IsZero() {
		t.restart()
		edited = true
	}
	heard := false
	if !p.Handshake.IsZero() && !p.Handshake.Equal(t.handshake) {
		t.seen.Handshake = take.confirmed(p.Handshake.Round(0), edited)
		t.hear(earlier(t.seen.Handshake, take.now))
		heard = true
	}
	if grown := p.Rx - t.rx; grown > 0 && (grown%initiation != 0 || grown/initiation > take.budget) {
		t.hear(take.grown)
		heard = true
	}
	if (heard || take.first && !p.Handshake.IsZero()) && p.Endpoint.IsValid() && p.Endpoint != nowhere() {
		t.seen.Endpoint = p.Endpoint
	}
	t.seen.Rx += p.Rx - t.rx
	t.seen.Tx += p.Tx - t.tx
	t.rx, t.tx, t.handshake = p.Rx, p.Tx, p.Handshake
	if t.seen != before {
		t.changed = a.clock
	}
	if edited || t.seen != before {
		a.edits++
	}
	if t.seen == before {
		return 0
	}
	return 1
}

// confirmed is when a handshake was that the last sample did not have. The device says it
// by the wall clock of then, which may have been set since.
func (k *taking) confirmed(at time.Time, gone bool) time.Time {
	if !gone && k.last.Sub(at) >= jump && !k.last.IsZero() {
		return k.grown // before the last sample it was not
	}
	return earlier(at, k.now)
}

// hear moves the last sign of life on, never back.
func (t *track) hear(at time.Time) {
	if at.After(t.seen.Heard) {
		t.seen.Heard = at
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Since returns, in key order, the sightings that changed after the samples that
// next counted in an earlier call, and all there are for 0; next is for the call
// after a Report with them was accepted. What it returns is the caller's.
func (a *Activity) Since(accepted uint64) (seen []Sighting, next uint64) {
	n := 0
	for i := range a.tracks {
		if a.tracks[i].changed > accepted {
			n++
		}
	}
	if n == 0 {
		return nil, a.clock
	}
	seen = make([]Sighting, 0, n)
	for i := range a.tracks {
		if a.tracks[i].changed > accepted {
			seen = append(seen, a.tracks[i].seen)
		}
	}
	return seen, a.clock
}
