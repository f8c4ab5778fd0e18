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
	shed    signal        // one of them has let go of an address
	flows   *flowLedger
}

// sibling is one of them.
type sibling struct {
	account

	talk  *conversation // nil: there is none
	last  Note          // without Seen and Flows
	clock heardClock
}

// conversation is one that goes on, or is about to be over.
type conversation struct{ end context.CancelCauseFunc }

func newSiblings(self ID) *siblings {
	return &siblings{known: map[ID]*sibling{}, carry: NewCarrying(self), changed: make(chan struct{}), shed: make(signal, 1), flows: newFlowLedger(self)}
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
		one = &sibling{account: account{id: with}}
		s.known[with] = one
	}
	if one.talk != nil {
		one.talk.end(ErrReplaced)
	}
	mine := &conversation{end: cancel}
	one.talk = mine
	return inner, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		cancel(nil)
		if one.talk == mine {
			one.talk = nil
		}
	}
}

// hear takes in what a sibling says. It speaks for itself only, and not of what is yet
// to be. up is the time by a clock that nobody sets.
func (s *siblings) hear(with ID, n Note, now time.Time, up time.Duration) {
	for i := range n.Seen {
		v := &n.Seen[i]
		v.By, v.Heard, v.Handshake = with, earlier(v.Heard, now), earlier(v.Handshake, now)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.known[with]
	if one == nil {
		return // it is no sibling any more
	}
	if n.Full {
		s.carry.Replace(now, with, n.Seen...)
	} else {
		s.carry.Note(now, n.Seen...)
	}
	s.flows.hear(with, n.Flows, time.Now())
	n.Seen, n.Flows = nil, FlowNote{}
	if slices.ContainsFunc(one.last.Owns, func(a netip.Addr) bool { return !slices.Contains(n.Owns, a) }) {
		s.shed.set()
	}
	one.last = n
	one.hear(n, time.Now())
	if !n.Clock.Wall.IsZero() {
		one.clock = hearClock(n.Clock, now, up)
	}
}

// shift moves all instants with the wall clock, which was set by so much.
func (s *siblings) shift(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.carry.Shift(by)
}

// accounts is what siblings say of themselves.
func (s *siblings) accounts() []account {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]account, 0, len(s.known))
	for _, one := range s.known {
		list = append(list, one.account)
	}
	return list
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
	s.flows.only(list)
	s.hop = map[ID]netip.Addr{}
	for _, o := range list {
		s.hop[o.ID] = hop(o)
	}
	for id, one := range s.known {
		if i := slices.IndexFunc(list, func(o Sibling) bool { return o.ID == id }); i >= 0 {
			one.missed = list[i].Missing
			continue
		}
		if one.talk != nil {
			one.talk.end(ErrUnknown)
		}
		delete(s.known, id)
		s.carry.Drop(id, now)
	}
}

// without says which siblings have nothing left, now that this machine has owned, at
// which a client at a place could reach them: they said that they own no other address
// of its family. Of this gateway itself it says whether clients can reach it.
func (s *siblings) without(owned []netip.Addr) func(ID, netip.AddrPort) bool {
	return func(id ID, place netip.AddrPort) bool {
		one := s.known[id]
		family := func(a netip.Addr) bool { return a.Is4() == place.Addr().Is4() }
		if id == s.carry.by {
			return slices.ContainsFunc(owned, family)
		}
		return one != nil && slices.ContainsFunc(owned, family) && !slices.ContainsFunc(one.last.Owns, func(a netip.Addr) bool {
			return family(a) && !slices.Contains(owned, a)
		})
	}
}

// with says which siblings have no address left at which a client at a place could reach
// them, while this machine has these. One that shares an address with it goes on.
func (s *siblings) with(owned []netip.Addr) func(ID, netip.AddrPort) bool {
	return func(id ID, place netip.AddrPort) bool {
		one := s.known[id]
		family := func(a netip.Addr) bool { return a.Is4() == place.Addr().Is4() }
		return one != nil && slices.ContainsFunc(owned, family) && !slices.ContainsFunc(one.last.Owns, family)
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
				r.sib.hear(with, n, r.steadied(), r.up())
			}
		}()
		var g gossip
		full := true
		flows := r.sib.flows.join()
		defer r.sib.flows.leave(flows)
		for {
			changed := r.sib.change()
			n := r.note(&g, full)
			n.Flows = r.sib.flows.next(flows)
			if !yield(n, nil) {
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
	missing := r.sib.missing(time.Now())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steady()
	now := r.c.Now().Round(0)
	n := Note{Full: full, Missing: missing, Ready: r.status.Ready, Applied: r.status.Applied, Owns: slices.Clone(r.owned)}
	n.Clock = Reading{Wall: now, At: now, Synced: r.synced()}
	n.Isolated, n.Stalled = r.status.Isolated, r.status.Stalled
	seen, _ := r.activity.Since(0)
	if full {
		n.Seen = g.full(seen, now)
	} else {
		n.Seen = g.next(seen, now)
	}
	return n
}
