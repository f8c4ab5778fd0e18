package gateway

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const (
	// word is the longest time between two Notes of a conversation, and chat the
	// shortest, so that what happens together is told together.
	word = time.Second
	chat = 100 * time.Millisecond
)

// siblings is what a Reconciler knows of the other gateways of its location.
type siblings struct {
	mu      sync.Mutex
	known   map[ID]*sibling
	hop     map[ID]netip.Addr // where they take packets, if it is known
	carry   *Carrying
	changed chan struct{} // closed, and made anew, when there is something to tell
}

// sibling is one of them.
type sibling struct {
	end  context.CancelCauseFunc // of its conversation; nil: there is none
	last Note                    // without Seen
	at   time.Time               // when it was said
}

func newSiblings(self ID) *siblings {
	return &siblings{known: map[ID]*sibling{}, carry: NewCarrying(self), changed: make(chan struct{})}
}

// tell has all conversations look for something to tell.
func (s *siblings) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// change is closed when there is something to tell.
func (s *siblings) change() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// begin makes a conversation the one with the sibling, and ends the one before.
func (s *siblings) begin(ctx context.Context, with ID) (inner context.Context, end func()) {
	inner, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.known[with]
	if one == nil {
		one = &sibling{}
		s.known[with] = one
	}
	if one.end != nil {
		one.end(ErrReplaced)
	}
	one.end = cancel
	return inner, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		cancel(nil)
		if context.Cause(inner) != ErrReplaced { //nolint:errorlint // it is what was put in
			one.end = nil
		}
	}
}

// hear takes in what a sibling says. It speaks for itself only.
func (s *siblings) hear(with ID, n Note, now time.Time) {
	for i := range n.Seen {
		n.Seen[i].By = with
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.Full {
		s.carry.Drop(with, now)
	}
	s.carry.Note(now, n.Seen...)
	n.Seen = nil
	one := s.known[with]
	if one == nil {
		return // it is no sibling any more
	}
	one.last, one.at = n, now
}

// dismiss forgets whom the update u takes away, which led to next.
func (s *siblings) dismiss(u Update, next Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.From.IsZero() {
		s.carry.Keep(func(k wgkey.Public) bool {
			_, there := next.Peer(k)
			return there
		})
	}
	for _, k := range u.Remove {
		s.carry.Remove(k)
	}
}

// only keeps the siblings that there are, and ends the conversations of others.
func (s *siblings) only(list []Sibling, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hop = map[ID]netip.Addr{}
	for _, o := range list {
		s.hop[o.ID] = hop(o)
	}
	for id, one := range s.known {
		if slices.ContainsFunc(list, func(o Sibling) bool { return o.ID == id }) {
			continue
		}
		if one.end != nil {
			one.end(ErrUnknown)
		}
		delete(s.known, id)
		s.carry.Drop(id, now)
	}
}

// without says which siblings have nothing left, now that this machine has owned, at
// which a client at a place could reach them: they said that they own no other address
// of its family.
func (s *siblings) without(owned []netip.Addr) func(ID, netip.AddrPort) bool {
	return func(id ID, place netip.AddrPort) bool {
		one := s.known[id]
		family := func(a netip.Addr) bool { return a.Is4() == place.Addr().Is4() }
		return one != nil && slices.ContainsFunc(owned, family) && !slices.ContainsFunc(one.last.Owns, func(a netip.Addr) bool {
			return family(a) && !slices.Contains(owned, a)
		})
	}
}

// Talk is one conversation with a sibling, as in Talker.
func (r *Reconciler) Talk(ctx context.Context, with ID, in iter.Seq[Note]) iter.Seq2[Note, error] {
	return func(yield func(Note, error) bool) {
		inner, end := r.sib.begin(ctx, with)
		defer end()
		heard := make(chan struct{})
		go func() {
			defer close(heard)
			for n := range in {
				if inner.Err() != nil {
					return
				}
				r.sib.hear(with, n, r.c.Now())
			}
		}()
		var g gossip
		full := true
		for {
			changed := r.sib.change()
			if !yield(r.note(&g, full), nil) {
				return
			}
			full = false
			if err := r.lull(inner, heard, changed); err != nil {
				if ctx.Err() == nil {
					yield(Note{}, fmt.Errorf("gateway: talk with %s about %s: %w", with, r.c.Location, err))
				}
				return
			}
		}
	}
}

// lull waits until there may be something to tell, but no less than chat and no more
// than word; an error says that the conversation is over.
func (r *Reconciler) lull(ctx context.Context, heard, changed <-chan struct{}) error {
	least, most := time.NewTimer(chat), time.NewTimer(word)
	defer least.Stop()
	defer most.Stop()
	var news <-chan struct{} // none before least
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-heard:
			return errEnded
		case <-least.C:
			news = changed
		case <-news:
			return nil
		case <-most.C:
			return nil
		}
	}
}

// note is what to tell now.
func (r *Reconciler) note(g *gossip, full bool) Note {
	now := r.c.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	n := Note{Full: full, Ready: r.status.Ready, Applied: r.status.Applied, Owns: slices.Clone(r.owned)}
	seen, _ := r.activity.Since(0)
	if full {
		n.Seen = g.full(seen, now)
	} else {
		n.Seen = g.next(seen, now)
	}
	return n
}
