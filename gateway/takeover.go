package gateway

import (
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const (
	// window is how many handshakes are under way at once. WireGuard in user space
	// drops what has no cookie from 128 queued handshake messages on, that of the
	// kernel from 512, and each dropped one costs its peer 5 s.
	window = 128
	// slot is how long a handshake that is not answered takes up a place in the
	// window.
	slot = 300 * time.Millisecond
	// retries is how much of the window those may take who did not answer, so that
	// many who are not there hold up nobody who is.
	retries = window / 4
	// hurry is how long to wait for the first answer; each further try waits twice
	// as long as the one before, so that a long way to the client, or many clients
	// at once, are no reason to give up an answer that is under way.
	hurry = 250 * time.Millisecond
	// tries is how often a peer is tried. After the last one WireGuard goes on by
	// itself, each 5 s (REKEY_TIMEOUT).
	tries = 4
)

// kernel is State.Backend of the one WireGuard that begins no handshake with a peer of
// which it knows no place. User space counts the try, when the network behind sends
// something to the peer, and then sends no initiation for 5 s.
const kernel = "kernel"

// Takeover starts handshakes with peers that another gateway has carried, so that
// unmodified clients come over within one round trip instead of the 15 s that they
// take to notice by themselves (KEEPALIVE_TIMEOUT + REKEY_TIMEOUT). It decides
// only; whoever acts calls Round, applies the Plan, calls Tried, and comes back with what
// the device has then, until it is over. To break off is to stop calling.
//
// It is not safe for concurrent use.
type Takeover struct {
	waiting []Target // in order
	flying  []flight
	silent  []mute
	up      int
	left    int
	held    time.Time // since when the clock is not fit for it; zero: it is
	round   time.Time // when Round was called last
}

// flight is a peer that is being tried.
type flight struct {
	Target

	tried  int
	before time.Time // the handshake that the device had when it was tried
	rx     uint64    // and what it had received
	began  time.Time // when it was tried last
}

// NewTakeover returns a Takeover of the targets, in their order.
func NewTakeover(targets []Target) *Takeover {
	return &Takeover{waiting: slices.Clone(targets)}
}

// Add adds targets, after those that wait, but for those that wait or are tried.
func (t *Takeover) Add(targets []Target) {
	known := map[wgkey.Public]bool{}
	for _, w := range t.waiting {
		known[w.Key] = true
	}
	for _, f := range t.flying {
		known[f.Key] = true
	}
	for _, n := range targets {
		if !known[n.Key] {
			t.waiting = append(t.waiting, n)
		}
	}
}

// Leave takes those out whom others have: they neither wait nor are tried any more.
func (t *Takeover) Leave(others func(wgkey.Public) bool) {
	t.waiting = slices.DeleteFunc(t.waiting, func(w Target) bool { return others(w.Key) })
	t.flying = slices.DeleteFunc(t.flying, func(f flight) bool { return others(f.Key) })
	t.silent = slices.DeleteFunc(t.silent, func(m mute) bool { return others(m.key) })
}

// Up is how many peers have a session now, and Left how many were given up: they
// did not answer, or have gone.
func (t *Takeover) Up() int { return t.up }

// Left is said with Up.
func (t *Takeover) Left() int { return t.left }

// Over says that nobody is left to be tried or to be spoken to, and nobody's answer is
// waited for.
func (t *Takeover) Over() bool {
	return len(t.waiting) == 0 && len(t.flying) == 0 && len(t.silent) == 0
}

// Due says that Round may have something to do that is worth looking at the device for.
func (t *Takeover) Due(now time.Time) bool {
	return len(t.waiting)+len(t.flying) > 0 || slices.ContainsFunc(t.silent, func(m mute) bool { return m.due(now) })
}

// Tried says that what Round returned last was done, now: answers can come only since
// then, and doing it may have taken longer than they are waited for. Without it they are
// waited for from when Round was called.
func (t *Takeover) Tried(now time.Time) {
	for i := range t.flying {
		if f := &t.flying[i]; f.began.Equal(t.round) && now.After(f.began) {
			f.began = now
		}
	}
}

// Round returns what to do now: whom to try, given what the device is to be and
// what it has. A peer that is not in want is left out, as is one that has come by
// itself. Peers that the device has spoken with, and those that are tried again, are
// removed and set before, since WireGuard would not begin a handshake else: it has a
// session, or has answered a moment ago, which may have been an initiation that somebody
// recorded and sent again. So are all in user space, where that costs next to nothing. Who has answered and says nothing is
// kicked only, and so spoken to.
func (t *Takeover) Round(want Config, s *State, now time.Time) Plan {
	t.round = now
	var again []flight
	busy, busyAgain := 0, 0 // handshakes under way, and those of them that are not the first
	count := func(f flight, by int) {
		if now.Sub(f.began) < slot {
			busy += by
			if f.tried > 1 {
				busyAgain += by
			}
		}
	}
	t.flying = slices.DeleteFunc(t.flying, func(f flight) bool {
		have, there := findState(s.Peers, f.Key)
		switch {
		case there && !have.Handshake.IsZero() && !have.Handshake.Equal(f.before):
			t.up++
			t.hush(f, have, now)
			return true
		case !there && now.Sub(f.began) >= slot, f.spent(now):
			t.left++
			return true
		}
		count(f, 1)
		if f.due(now) {
			again = append(again, f)
			return true
		}
		return false
	})
	var p stages
	t.nudge(&p, s, now)
	for _, f := range again {
		count(f, -1) // it is given up
		if busyAgain >= retries || busy >= window {
			count(f, 1)
			t.flying = append(t.flying, f)
			continue
		}
		if t.try(&p, want, s, f, now) {
			busy++
			busyAgain++
		}
	}
	n := 0
	for ; n < len(t.waiting) && busy < window; n++ {
		if t.try(&p, want, s, flight{Target: t.waiting[n], began: now}, now) {
			busy++
		}
	}
	t.waiting = t.waiting[n:]
	return p.plan()
}

// due says that it is time for the next try, and spent that there is none.
func (f *flight) due(now time.Time) bool {
	return now.Sub(f.began) >= hurry<<(f.tried-1)
}

func (f *flight) spent(now time.Time) bool { return f.tried == tries && f.due(now) }

// try adds what has to be done to try f once more, and says whether there is
// anything.
func (t *Takeover) try(p *stages, want Config, s *State, f flight, now time.Time) bool {
	row, wanted := want.Peer(f.Key)
	have, there := findState(s.Peers, f.Key)
	switch {
	case !wanted:
		t.left++
		return false
	case f.tried == 0 && there && have.Handshake.After(f.Heard):
		t.up++ // it came by itself
		return false
	}
	if f.tried > 0 || there && have.spoken() || s.Backend != kernel {
		p.removes = append(p.removes, Step{Verb: Remove, Peer: Peer{Key: row.Key}})
		p.sets = append(p.sets, Step{Verb: Set, Peer: row})
		have.Handshake, have.Rx = time.Time{}, 0
	}
	p.kicks = append(p.kicks, Step{Verb: Kick, Peer: Peer{Key: row.Key, Endpoint: f.place(), Keepalive: row.Keepalive}})
	f.tried, f.before, f.rx, f.began = f.tried+1, have.Handshake, have.Rx, now
	t.flying = append(t.flying, f)
	return true
}

// spoken says that WireGuard has said something to the peer since it was added.
func (p *PeerState) spoken() bool { return !p.Handshake.IsZero() || p.Tx > 0 }

// place is where to try next: the last place twice, since packets get lost, then
// the one before, if there is one, and the last one again.
func (f *flight) place() netip.AddrPort {
	if f.tried == 2 && f.Places[1].IsValid() {
		return f.Places[1]
	}
	return f.Places[0]
}

// stages is a Plan in the making: what takes away comes first.
type stages struct{ removes, sets, kicks Plan }

func (o *stages) plan() Plan { return slices.Concat(o.removes, o.sets, o.kicks) }

// inParts cuts what Round returns, so that those who come first are not kicked only when
// all others are set: in user space, and for those with an old session, that is most of
// the work.
func inParts(p Plan) []Plan {
	const most = 16 // peers
	if len(p) == 0 || p[0].Verb == Kick {
		return []Plan{p}
	}
	at := map[wgkey.Public]int{}
	for _, step := range p {
		if step.Verb == Kick {
			at[step.Peer.Key] = len(at) / most
		}
	}
	parts := make([]Plan, (len(at)+most-1)/most)
	for _, step := range p {
		n := at[step.Peer.Key]
		parts[n] = append(parts[n], step)
	}
	return parts
}

func findState(peers []PeerState, key wgkey.Public) (PeerState, bool) {
	if i, ok := findPeerState(peers, key); ok {
		return peers[i], true
	}
	return PeerState{}, false
}
