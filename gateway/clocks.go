package gateway

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// apart is by how much the clock of a gateway that starts handshakes may be
	// ahead: clients keep the time of the last one that began, and refuse all that
	// are not newer, whichever gateway sends them.
	apart = time.Second
	// opinion is how long it counts what another clock showed: two that nobody
	// keeps right drift apart by less than 0.4 s meanwhile (100 ppm).
	opinion = time.Hour
)

// ErrClock says that this machine's clock may be ahead, so that no handshake is to be
// started by it.
var ErrClock = errors.New("gateway: the clock may be wrong")

// Reading is what a gateway's wall clock showed.
type Reading struct {
	// Wall is what it showed, right or wrong: the one instant that is told as it is.
	// Zero: nothing is told.
	Wall time.Time
	// At is when that was. It is told as an age, as instants are, so that who reads it
	// has it by its own clock.
	At time.Time
	// Synced says that the gateway's system says that it keeps the clock right.
	Synced bool
}

// Clocks is a gateway's wall clock, beside those of others.
type Clocks struct {
	// Synced says that this machine's system says that it keeps the clock right. Not
	// every system knows: an emulated machine can have the clock of its host, and say
	// no.
	Synced bool
	// Others are those that were heard of, one for each.
	Others []OtherClock
}

// OtherClock is how this machine's clock compares with another one.
type OtherClock struct {
	By ID
	// Ahead is how far this machine's clock is ahead of it; negative: behind.
	Ahead time.Duration
	// Synced is as in Clocks, of the other one.
	Synced bool
}

// Fit returns nil if the clock is fit for starting handshakes, and else an ErrClock
// that says why it is not.
//
// What does harm is a clock that is ahead: each client that answers refuses handshakes
// which gateways start afterwards, until their clocks show the same. One that is behind
// harms nobody: at worst the client takes the handshake for one that is sent again, and
// helps itself after 15 s, as it does when nobody starts one. So:
//
//   - Clocks that are said to be kept right are asked, and where there is none, all
//     are; this machine's is one of them. Unless more than half say something else, it
//     is ahead if it is ahead by 1 s. Of two that differ nobody knows which is right,
//     and the one that is ahead gives way.
//   - Where no clock is said to be kept right, one other at least has to show the same
//     within 1 s.
func (c Clocks) Fit() error {
	votes, kept := c.votes()
	if kept && c.Synced || !kept {
		votes = append(votes, 0)
	}
	slices.Sort(votes)
	if ahead := votes[len(votes)/2]; ahead >= apart {
		return fmt.Errorf("%w: it is %v ahead of others: see to it that something keeps it right (NTP)", ErrClock, ahead.Round(time.Millisecond))
	}
	near := func(o OtherClock) bool { return o.Ahead.Abs() < apart }
	if !kept && !slices.ContainsFunc(c.Others, near) {
		return fmt.Errorf("%w: nothing is known to keep it right (NTP), and no other gateway's shows the same within %v", ErrClock, apart)
	}
	return nil
}

// Ahead is how far the clock is ahead of those of others, as most of them say it;
// negative: behind. It is false if no other is known.
func (c Clocks) Ahead() (time.Duration, bool) {
	votes, _ := Clocks{Others: c.Others}.votes()
	if len(votes) == 0 {
		return 0, false
	}
	slices.Sort(votes)
	return votes[len(votes)/2], true
}

// votes is how far the clock is ahead of each of the others that count, and whether
// those that count are said to be kept right. If only this machine's is, there is none.
func (c Clocks) votes() (ahead []time.Duration, kept bool) {
	kept = c.Synced || slices.ContainsFunc(c.Others, func(o OtherClock) bool { return o.Synced })
	for _, o := range c.Others {
		if o.Synced == kept {
			ahead = append(ahead, o.Ahead)
		}
	}
	return ahead, kept
}

// heardClock is what another clock showed, by this machine's clock that nobody sets, so
// that it does not matter if the wall clock is set after it was told.
type heardClock struct {
	wall   time.Duration // since 1970, when the machine started: what it would have shown
	at     time.Duration // when it was told
	synced bool
	known  bool
}

// hearClock takes in what another clock showed. now is by this machine's wall clock,
// and up by the one that nobody sets.
func hearClock(r Reading, now time.Time, up time.Duration) heardClock {
	if r.Wall.IsZero() {
		return heardClock{}
	}
	ago := time.Duration(0)
	if !r.At.IsZero() {
		ago = max(now.Sub(r.At), 0)
	}
	return heardClock{wall: since1970(r.Wall) - (up - ago), at: up, synced: r.Synced, known: true}
}

// compare returns how far the wall clock, which shows now, is ahead of the other one;
// false if that is not known, or was too long ago.
func (h heardClock) compare(by ID, now time.Time, up time.Duration) (OtherClock, bool) {
	return OtherClock{By: by, Ahead: since1970(now) - up - h.wall, Synced: h.synced}, h.known && up-h.at <= opinion
}

// since1970 is limited to some 290 years, which is far enough off to be wrong.
func since1970(t time.Time) time.Duration { return t.Round(0).Sub(time.Unix(0, 0)) }
