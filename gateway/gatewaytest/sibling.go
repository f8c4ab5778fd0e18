package gatewaytest

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

var _ gateway.Talker = (*Sibling)(nil)

// Sibling is a gateway.Talker in memory that tests drive: it tells what it was given
// with See and Say, of all locations the same, and keeps what it hears. It is safe for
// concurrent use, and what it gives and takes are copies.
type Sibling struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced after everything that happens
	knows   map[gateway.ID]bool
	note    gateway.Note // without Seen
	seen    map[wgkey.Public]told
	edits   uint64
	talks   map[talkSeat]*talk // the latest of each
	alive   int                // conversations that have not ended
	deaf    map[gateway.LocationID]bool
}

// told is a sighting, and which edit it is from.
type told struct {
	gateway.Sighting

	edit uint64
}

// talkSeat is what there is one conversation of.
type talkSeat struct {
	with gateway.ID
	at   gateway.LocationID
}

// talk is one conversation.
type talk struct {
	upTo  uint64 // the last edit that was told
	begun bool
	said  int // notes
	first gateway.Note
	heard gateway.Note // added up
	notes int          // heard
}

// mostChanges is of how many peers a Sibling tells changes; of more it tells all.
const mostChanges = 64

// NewSibling returns a Sibling that saw nothing, and knows who its siblings are.
func NewSibling(knows ...gateway.ID) *Sibling {
	s := &Sibling{
		changed: make(chan struct{}), knows: map[gateway.ID]bool{}, seen: map[wgkey.Public]told{},
		talks: map[talkSeat]*talk{}, deaf: map[gateway.LocationID]bool{},
	}
	for _, id := range knows {
		s.knows[id] = true
	}
	return s
}

func (s *Sibling) change(edit func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	edit()
	close(s.changed)
	s.changed = make(chan struct{})
}

// See has it see peers, or see them again.
func (s *Sibling) See(list ...gateway.Sighting) {
	s.change(func() {
		s.edits++
		for _, v := range list {
			s.seen[v.Key] = told{v, s.edits}
		}
	})
}

// Say changes what it says of itself; Full and Seen are its own business.
func (s *Sibling) Say(edit func(*gateway.Note)) {
	s.change(func() {
		s.edits++
		edit(&s.note)
	})
}

// Forget takes siblings from those that it knows, and ends their conversations.
func (s *Sibling) Forget(ids ...gateway.ID) {
	s.change(func() {
		for _, id := range ids {
			delete(s.knows, id)
		}
	})
}

// Deaf has it hear nothing about a location, until it is called with false.
func (s *Sibling) Deaf(at gateway.LocationID, deaf bool) {
	s.change(func() { s.deaf[at] = deaf })
}

// Heard is what a sibling said in the latest conversation about a location, added up,
// and how many notes that were.
func (s *Sibling) Heard(at gateway.LocationID, with gateway.ID) (gateway.Note, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.talks[talkSeat{with, at}]; t != nil {
		return t.heard.Clone(), t.notes
	}
	return gateway.Note{}, 0
}

// Said is how many notes it told in the latest conversation about a location.
func (s *Sibling) Said(at gateway.LocationID, with gateway.ID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.talks[talkSeat{with, at}]; t != nil {
		return t.said
	}
	return 0
}

// Alive is how many of its conversations have not ended.
func (s *Sibling) Alive() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.alive
}

// Changed is closed when anything has happened since: something said, heard or edited.
func (s *Sibling) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Talk implements gateway.Talker.
func (s *Sibling) Talk(ctx context.Context, at gateway.LocationID, with gateway.ID, in iter.Seq[gateway.Note],
) iter.Seq2[gateway.Note, error] {
	return func(yield func(gateway.Note, error) bool) {
		seat, t := talkSeat{with, at}, &talk{}
		s.change(func() {
			s.alive++
			if s.knows[with] {
				s.talks[seat] = t
			}
		})
		defer s.change(func() { s.alive-- })
		left := make(chan struct{})
		go func() {
			defer close(left)
			for n := range in {
				if !s.hear(ctx, seat, t, n) {
					return
				}
			}
		}()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for again := true; ; {
			n, news, changed, err := s.next(seat, t)
			if err != nil {
				yield(gateway.Note{}, err)
				return
			}
			if (news || again) && !yield(n, nil) {
				return
			}
			again = false
			select {
			case <-changed:
			case <-tick.C:
				again = true
			case <-left:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// next is what there is to tell, and whether that is anything new.
func (s *Sibling) next(seat talkSeat, t *talk) (n gateway.Note, news bool, changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.knows[seat.with]:
		return n, false, nil, fmt.Errorf("gatewaytest: %s: %w", seat.with, gateway.ErrUnknown)
	case s.talks[seat] != t:
		return n, false, nil, fmt.Errorf("gatewaytest: %s about %s: %w", seat.with, seat.at, gateway.ErrReplaced)
	case t.begun && t.upTo == s.edits:
		n = s.note.Clone()
		return n, false, s.changed, nil
	}
	n = s.note.Clone()
	for _, v := range s.seen {
		if v.edit > t.upTo {
			n.Seen = append(n.Seen, v.Sighting)
		}
	}
	if n.Full = !t.begun || len(n.Seen) > mostChanges; n.Full {
		n.Seen = nil
		for _, v := range s.seen {
			n.Seen = append(n.Seen, v.Sighting)
		}
	}
	slices.SortFunc(n.Seen, func(a, b gateway.Sighting) int { return a.Key.Compare(b.Key) })
	t.begun, t.upTo = true, s.edits
	t.said++
	return n, true, s.changed, nil
}

// hear adds a note to those before it, once the location is not deaf. It is false when
// the conversation has ended.
func (s *Sibling) hear(ctx context.Context, seat talkSeat, t *talk, n gateway.Note) bool {
	for {
		s.mu.Lock()
		deaf, changed := s.deaf[seat.at], s.changed
		s.mu.Unlock()
		if !deaf {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
	s.change(func() {
		if t.notes++; t.notes == 1 {
			t.first = n.Clone()
		}
		t.heard = addUp(t.heard, n.Clone())
	})
	return ctx.Err() == nil
}

// addUp is what is known after a note.
func addUp(before, n gateway.Note) gateway.Note {
	if n.Full {
		return n
	}
	seen := before.Seen
	for _, v := range n.Seen {
		i, ok := slices.BinarySearchFunc(seen, v, func(a, b gateway.Sighting) int { return a.Key.Compare(b.Key) })
		if ok {
			seen[i] = v
		} else {
			seen = slices.Insert(seen, i, v)
		}
	}
	n.Seen, n.Full = seen, before.Full
	return n
}
