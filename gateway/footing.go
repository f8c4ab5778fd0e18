package gateway

import (
	"fmt"
	"time"
)

const (
	// lonely is how long no core may have been heard until a gateway is isolated. A
	// core that starts anew is back within some seconds: a link that is lost is
	// noticed after 4 s, and dialled again with pauses of 5 s at most.
	lonely = 10 * time.Second
	// tardy is how long an update may wait to be applied until a gateway is stalled.
	tardy = time.Second
	// lasting is how long a gateway has to be isolated or stalled until it steps
	// aside, and how long a sibling must have been neither until others step aside
	// for it. Of those who lost the same core one finds out 2 s (a report) after
	// another, and one finds back 14 s after another: 10 s until a core is dialled or
	// asked again, 4 s until the stream has stood, and a report was taken. And a change
	// that is much work for one is so for all of them.
	lasting = 20 * time.Second
	// steady is how long a gateway that stepped aside has to stand well again.
	steady = 5 * time.Second
	// unheard is how long a sibling may say nothing until it is not heard any more:
	// it has a word each second.
	unheard = 3 * time.Second
)

// account is what a sibling says of itself.
type account struct {
	id ID
	// at is when it spoke last, and sound since when it has said, without falling
	// silent, that it is ready, and neither isolated nor stalled; zero: it says
	// something else.
	at, sound time.Time
	// missed says that a core does not hear it, and misses whom it does not hear itself.
	missed bool
	misses []ID
	lost   bool // it was found so
}

// hear takes in what the sibling says.
func (a *account) hear(n Note, now time.Time) {
	switch {
	case !n.Ready || n.Isolated || n.Stalled:
		a.sound = time.Time{}
	case a.sound.IsZero(), !a.heard(now):
		a.sound = now
	}
	a.at, a.misses, a.lost = now, n.Missing, false
}

// heard says whether the sibling is heard now.
func (a *account) heard(now time.Time) bool { return !a.at.IsZero() && now.Sub(a.at) < unheard }

// better is a sibling, of those that are heard, that has been neither isolated nor
// stalled for long enough to be relied upon; "": none is known to be.
func better(list []account, now time.Time) (best ID) {
	var since time.Time
	for _, a := range list {
		switch {
		case !a.heard(now), a.sound.IsZero(), now.Sub(a.sound) < lasting:
		case best == "", a.sound.Before(since), a.sound.Equal(since) && a.id < best:
			best, since = a.id, a.sound
		}
	}
	return best
}

// footing is how a gateway stands in a location, and whether it steps aside for a
// sibling that stands better. The zero value stands well. It decides only.
type footing struct {
	// heard is when a core that knows what is so was heard last. owed is since when an
	// update waits to be applied; zero: none does.
	heard, owed time.Time

	isolated, stalled bool
	bad, good         time.Time // since when it is one of these, or neither; zero: it is not so
	aside             string    // why it steps aside; "": it does not
}

// judge works out how the gateway stands now, given the sibling that is better off, if
// any is known, and says whether that is something else than before. Who stands badly
// steps aside only for somebody who does not: when all have lost their cores, all stay.
func (f *footing) judge(now time.Time, other ID) (changed bool) {
	before := *f
	f.isolated = !f.heard.IsZero() && now.Sub(f.heard) >= lonely
	f.stalled = !f.owed.IsZero() && now.Sub(f.owed) >= tardy
	if f.isolated || f.stalled {
		if f.good = (time.Time{}); f.bad.IsZero() {
			f.bad = now
		}
	} else if f.bad = (time.Time{}); f.good.IsZero() {
		f.good = now
	}
	switch {
	case other == "", f.bad.IsZero() && now.Sub(f.good) >= steady:
		f.aside = ""
	case !f.bad.IsZero() && now.Sub(f.bad) >= lasting:
		f.aside = f.reason(other)
	}
	return f.isolated != before.isolated || f.stalled != before.stalled || (f.aside == "") != (before.aside == "")
}

// reason says why the gateway steps aside for a sibling.
func (f *footing) reason(other ID) string {
	if f.isolated {
		return fmt.Sprintf("it has not heard of a core for %v, and gateway %s hears one", lonely, other)
	}
	return fmt.Sprintf("it takes more than %v to apply what a core says, and gateway %s does not", tardy, other)
}
