package sim

import "time"

// anything is a state that is not nothing.
const anything = "*"

// story is the states that something was asked to have, in the order of asking.
// Of those that were not acknowledged nobody knows whether they came to pass.
type story struct{ versions []version }

type version struct {
	state string
	acked time.Time // when somebody was told that it is so; zero: nobody was
}

// ask adds a state that is asked for, unless it is the last one anyway.
func (s *story) ask(state string) {
	if s.versions[len(s.versions)-1].state != state {
		s.versions = append(s.versions, version{state: state})
	}
}

// ack notes that a state is certain now.
func (s *story) ack(state string, now time.Time) {
	s.ask(state)
	if last := &s.versions[len(s.versions)-1]; last.acked.IsZero() {
		last.acked = now
	}
}

// find returns the first version from low on that a state can be.
func (s *story) find(low int, state string) (int, bool) {
	for i := low; i < len(s.versions); i++ {
		if v := s.versions[i].state; v == state || v == anything && state != "" {
			return i, true
		}
	}
	return low, false
}

// floor is the newest version that was acknowledged at an instant or before:
// what is older is out of date.
func (s *story) floor(at time.Time) int {
	for i := len(s.versions) - 1; i > 0; i-- {
		if v := s.versions[i]; !v.acked.IsZero() && !v.acked.After(at) {
			return i
		}
	}
	return 0
}

// still says that nothing was asked for after version i.
func (s *story) still(i int) bool { return i == len(s.versions)-1 }

// states are those of all versions; what nobody acknowledged has a question mark.
func (s *story) states() (all []string) {
	for _, v := range s.versions {
		text := say(v.state)
		if v.acked.IsZero() {
			text += "?"
		}
		all = append(all, text)
	}
	return all
}
