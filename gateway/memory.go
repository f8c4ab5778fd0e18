package gateway

import (
	"context"
	"math"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Memory keeps what a gateway heard for its next process, until the machine goes
// down. Its calls come one at a time for a location, from a goroutine that serves
// nobody; only Recall is waited for, before a location is served. gateway/runstate
// is one in files. It is safe for concurrent use.
type Memory interface {
	// Recall returns what was remembered last of a location; a zero Boot: nothing.
	// What is damaged is an error.
	Recall(ctx context.Context, at LocationID) (Remembered, error)
	// Remember replaces what is remembered of m.Location: a process that starts
	// finds what was or what is, as a whole. m is read-only.
	Remember(ctx context.Context, m Remembered) error
	// Forget drops what is remembered of a location. What is not there is no
	// error.
	Forget(ctx context.Context, at LocationID) error
}

// BootClock measures from the start of the machine. It goes on while the machine
// sleeps, and nobody can set it. It is safe for concurrent use.
type BootClock interface {
	// Boot names the machine's present run; another run has another name. It is
	// not empty.
	Boot() string
	// Since says how long ago the run began. On Linux it is CLOCK_BOOTTIME.
	Since() time.Duration
}

// Never is an instant of a Remembered that there was not.
const Never = time.Duration(math.MinInt64)

// Remembered is what one location's peers were like in a sample. Its instants are
// those of a BootClock, so that they mean the same to the next process, whatever
// was done to the machine's other clock. It holds no secret, and no endpoint:
// where somebody is stays in the memory of processes.
//
// It will be the place for the ends of sessions, when there are sessions.
type Remembered struct {
	Location LocationID
	Boot     string        // BootClock.Boot; instants of another run say nothing
	At       time.Duration // when the sample was taken
	Peers    []RememberedPeer
}

// RememberedPeer is one peer of a Remembered.
type RememberedPeer struct {
	Key wgkey.Public
	// Heard and Confirmed are Sighting.Heard and Sighting.Handshake, or Never.
	Heard, Confirmed time.Duration
	// Gone is when the peer was found missing on the device; Never: it was there.
	Gone time.Duration
	// Rx and Tx are as in Sighting.
	Rx, Tx uint64
	// DeviceRx, DeviceTx and Handshake are as in PeerState, exactly: only so the
	// next process can tell what came since. Handshake is by the wall clock as it
	// was then; no age follows from it.
	DeviceRx, DeviceTx uint64
	Handshake          time.Time
	// Told says that there was something to tell of the peer.
	Told bool
}

// Remember returns what there is to remember, as of the last sample; origin is
// what the wall clock would have shown when the machine started. What it returns
// is the caller's, who fills in Location and Boot.
func (a *Activity) Remember(origin time.Time) Remembered {
	m := Remembered{At: a.last.Sub(origin), Peers: make([]RememberedPeer, len(a.tracks))}
	for i := range a.tracks {
		t := &a.tracks[i]
		m.Peers[i] = RememberedPeer{
			Key: t.seen.Key, Heard: since(t.seen.Heard, origin), Confirmed: since(t.seen.Handshake, origin), Gone: since(t.gone, origin),
			Rx: t.seen.Rx, Tx: t.seen.Tx, DeviceRx: t.rx, DeviceTx: t.tx, Handshake: t.handshake, Told: t.changed > 0,
		}
	}
	return m
}

// Recall makes what m has be what was seen until now. It is for an Activity that
// has taken no sample, and does nothing for others. The peers of m are in key
// order, one a key.
func (a *Activity) Recall(m Remembered, origin time.Time) {
	if a.clock > 0 {
		return
	}
	a.last = origin.Add(m.At)
	a.tracks = make([]track, len(m.Peers))
	for i := range m.Peers {
		p := &m.Peers[i]
		t := track{
			seen:      Sighting{Key: p.Key, By: a.by, Heard: instant(min(p.Heard, m.At), origin), Handshake: instant(p.Confirmed, origin), Rx: p.Rx, Tx: p.Tx},
			handshake: p.Handshake, rx: p.DeviceRx, tx: p.DeviceTx, gone: instant(min(p.Gone, m.At), origin),
		}
		if p.Told {
			t.changed = 1 // as by the sample that comes first
		}
		a.tracks[i] = t
	}
}

// Shift moves all that was seen with the wall clock: it was set by so much, and
// what was an hour ago still is.
func (a *Activity) Shift(by time.Duration) {
	shift(&a.last, by)
	for i := range a.tracks {
		t := &a.tracks[i]
		shift(&t.seen.Heard, by)
		shift(&t.seen.Handshake, by)
		shift(&t.gone, by)
	}
}

// shift moves an instant; never stays never.
func shift(at *time.Time, by time.Duration) {
	if !at.IsZero() {
		*at = at.Add(by)
	}
}

func since(at, origin time.Time) time.Duration {
	if at.IsZero() {
		return Never
	}
	return max(at.Sub(origin), Never+1)
}

func instant(at time.Duration, origin time.Time) time.Time {
	if at == Never {
		return time.Time{}
	}
	return origin.Add(at)
}
