package sim

import (
	"fmt"
	"slices"
	"sync"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// subject is what a gateway can have in a location: a peer, or with the zero key
// the interface.
type subject struct {
	at  int
	key wgkey.Public
}

// model is what operators asked for and were told. Who calls its methods holds mu.
type model struct {
	log *journal

	mu    sync.Mutex
	slots []*slot
	forms [sites]*site
	rows  map[subject]*story
}

// slot is a device: it comes and goes, and has its two keys to itself.
type slot struct {
	n      int
	keys   [2]wgkey.Public
	id     peer.DeviceID // "" when that is not known
	may    []fact        // what is true of it is one of these
	before []fact        // while busy: what was true is one of these
	after  []fact        // and is one of these if the change is made
	busy   bool          // somebody is at it
	steady bool          // nobody touches it
}

// site is a location.
type site struct {
	id       location.ID
	may      []form
	busy     bool // somebody edits it
	visits   int  // how many are at devices meanwhile
	flipping bool // it is being disabled or enabled, so devices have to wait
}

func newModel(log *journal, devices int) *model {
	m := &model{log: log, rows: map[subject]*story{}}
	for n := range devices {
		s := &slot{n: n, keys: [2]wgkey.Public{key(n, 0), key(n, 1)}, may: []fact{{}}, steady: n < steady}
		m.slots = append(m.slots, s)
		for at := range sites {
			for _, k := range s.keys {
				m.rows[subject{at, k}] = &story{versions: []version{{acked: log.now()}}}
			}
		}
	}
	return m
}

// key is the n-th device's first or second key.
func key(n, which int) wgkey.Public {
	var b [wgkey.Size]byte
	copy(b[:], fmt.Sprintf("device %d, key %d, of nobody's", n, which))
	return wgkey.PrivateFrom(b).Public()
}

// locate says that a location is there.
func (m *model) locate(at int, l location.Location) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := formOf(l)
	m.forms[at] = &site{id: l.ID, may: []form{f}}
	m.rows[subject{at: at}] = &story{versions: []version{{f.shows(at), m.log.now()}}}
}

// certain returns the fact that is true of a slot, if it is known.
func (s *slot) certain() (fact, bool) { return s.may[0], len(s.may) == 1 }

// begin takes a slot for a change, and says what may be true from now on.
func (m *model) begin(s *slot, change func(fact) fact) {
	s.busy, s.before = true, s.may
	for i := range sites {
		m.forms[i].visits++
	}
	s.after = nil
	for _, f := range s.before {
		s.after = union(s.after, []fact{change(f)})
	}
	m.ask(s, s.after)
	s.may = union(s.before, s.after)
}

// leave ends what begin began: s.may says what is known.
func (m *model) leave(s *slot) {
	s.busy, s.before, s.after = false, nil, nil
	for i := range sites {
		m.forms[i].visits--
	}
	m.settle(s)
}

func union[T comparable](a, b []T) []T {
	out := slices.Clone(a)
	for _, v := range b {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// each calls do with the story of each row of a slot, and the states that it can
// be in.
func (m *model) each(s *slot, may []fact, do func(row *story, states []string)) {
	for at := range sites {
		for k := range s.keys {
			var states []string
			for _, l := range m.forms[at].may {
				for _, f := range may {
					states = union(states, []string{through(l, f.shows(at, k))})
				}
			}
			do(m.rows[subject{at, s.keys[k]}], states)
		}
	}
}

// ask adds what may become true to the stories of a slot.
func (m *model) ask(s *slot, may []fact) {
	m.each(s, may, func(row *story, states []string) {
		for _, state := range states {
			row.ask(state)
		}
	})
}

// settle adds what is certain to the stories of a slot.
func (m *model) settle(s *slot) {
	m.each(s, s.may, func(row *story, states []string) {
		if len(states) == 1 && states[0] != anything {
			row.ack(states[0], m.log.now())
		}
	})
}

// through is what is left of a row in a location.
func through(l form, state string) string {
	if l.disabled {
		return ""
	}
	return state
}

// told says what a core answered about a slot: a fact, which one in may has to
// allow for.
func (m *model) told(s *slot, may []fact, got fact, how string) {
	if !slices.ContainsFunc(may, func(f fact) bool { return f.fits(got) }) {
		m.log.violatef("P9", "%s of device %d says that it is %v, and what was acknowledged says %v", how, s.n, got, may)
	}
	s.may = []fact{got}
	if !got.there {
		s.id = ""
	}
	for at, mine := range got.spots {
		for _, o := range m.slots {
			other, sure := o.certain()
			if o != s && sure && mine.in && other.spots[at].in && other.spots[at].addr == mine.addr {
				m.log.violatef("P10", "devices %d and %d were both told that they have %s", s.n, o.n, mine.addr)
			}
		}
	}
}

// refused says that a core answered that what is true of a slot does not allow
// for a change: if there says so, because it is there, else because it is not.
func (m *model) refused(s *slot, there bool, err error) {
	var may []fact
	for _, f := range s.before {
		if f.there == there {
			may = append(may, f)
		}
	}
	if len(may) == 0 {
		m.log.violatef("P9", "of device %d it was said: %v; what was acknowledged says %v", s.n, err, s.before)
		may = s.before
	}
	s.may = may
}

// edit takes a location for a change, if it is free.
func (m *model) edit(at int, change func(form) form) bool {
	l, row := m.forms[at], m.rows[subject{at: at}]
	var after []form
	flips := len(l.may) > 1
	for _, f := range l.may {
		after = append(after, change(f))
		flips = flips || change(f).disabled != f.disabled
	}
	if l.busy || flips && l.visits > 0 {
		return false
	}
	l.busy, l.flipping = true, flips
	before := l.may
	for _, f := range after {
		row.ask(f.shows(at))
	}
	if flips {
		l.may = after
		for _, s := range m.slots {
			m.ask(s, s.may)
		}
	}
	l.may = union(before, after)
	return true
}

// edited ends what edit began; got is what a core answered, nil when nobody knows.
func (m *model) edited(at int, got *form) {
	l := m.forms[at]
	if got != nil {
		if !slices.Contains(l.may, *got) {
			m.log.violatef("P9", "an edit of location %d says that it is %v, and what was acknowledged says %v", at, *got, l.may)
		}
		l.may = []form{*got}
		m.rows[subject{at: at}].ack(got.shows(at), m.log.now())
	}
	if l.flipping {
		for _, s := range m.slots {
			m.settle(s)
		}
	}
	l.busy, l.flipping = false, false
}
