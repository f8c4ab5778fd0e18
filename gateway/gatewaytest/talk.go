package gatewaytest

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
)

// TalkEnd is one end of conversations.
type TalkEnd struct {
	gateway.Talker

	// ID is who it is, by its certificate for instance.
	ID gateway.ID
	// Now is its clock; nil: time.Now.
	Now func() time.Time
}

// TalkWire is what carries conversations between two ends. All fields are required.
type TalkWire struct {
	// Talk keeps one conversation about a location, and returns when it has ended at
	// the near end: nil if ctx ended, else why it did. Several may be held at once.
	Talk func(ctx context.Context, at gateway.LocationID) error
	// Cut breaks what is under way, as a connection that is reset, and lets nothing
	// cross until Heal.
	Cut, Heal func()
}

type talkOpener = func(tb testing.TB, near, far TalkEnd) TalkWire

// RunTalk checks what carries conversations of a gateway.Talker. open is called for each
// case: near is the end that begins conversations, far the one at which they arrive. What
// has to be closed, it hands to tb.Cleanup.
func RunTalk(t *testing.T, open func(tb testing.TB, near, far TalkEnd) TalkWire) {
	t.Helper()
	for name, test := range talkCases(open) {
		t.Run(name, func(t *testing.T) { test(t) })
	}
}

func talkCases(open talkOpener) iter.Seq2[string, func(testing.TB)] {
	return func(yield func(string, func(testing.TB)) bool) {
		for _, c := range []struct {
			name string
			test func(tb testing.TB, open talkOpener)
		}{
			{"a full note comes at once, at both ends", talkFull},
			{"then come changes, in order", talkChanges},
			{"every field of a note crosses, and who sends it saw it", talkFields},
			{"who talks about what crosses", talkWho},
			{"a note of any size crosses as one", talkCrowd},
			{"ages are right, whatever clocks say", talkAges},
			{"who does not listen holds up nobody, and is told less often", talkSlow},
			{"it ends with its context, at both ends", talkEnds},
			{"a cut ends it at both ends, and is no reason of a gateway", talkCut},
			{"after a cut it begins again", talkAgain},
			{"a second conversation takes over from the first", talkReplaced},
			{"a stranger is refused, whichever end it is", talkStranger},
			{"who is forgotten is told so", talkForgotten},
			{"every reason crosses, and no other words", talkReasons},
			{"what a reader gets is its own", talkCopies},
		} {
			if !yield(c.name, func(tb testing.TB) { c.test(tb, open) }) {
				return
			}
		}
	}
}

// talking is a conversation that a case holds.
type talking struct {
	tb     testing.TB
	cancel context.CancelFunc
	done   chan struct{}
	err    error // after done
}

func (w TalkWire) begin(tb testing.TB, at gateway.LocationID) *talking {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	t := &talking{tb: tb, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		t.err = w.Talk(ctx, at)
	}()
	tb.Cleanup(func() {
		cancel()
		<-t.done
	})
	return t
}

// end waits until it has ended, and returns why.
func (t *talking) end() error {
	t.tb.Helper()
	wait(t.tb, t.done, "the conversation did not end")
	return t.err
}

// until waits for what has to become true of a Sibling.
func (s *Sibling) until(tb testing.TB, otherwise string, is func() bool) {
	tb.Helper()
	if !s.within(soon, is) {
		tb.Fatalf("%s within %v", otherwise, soon)
	}
}

// within waits for something to become true of a Sibling, and says whether it did.
func (s *Sibling) within(patience time.Duration, is func() bool) bool {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		changed := s.Changed()
		if is() {
			return true
		}
		select {
		case <-changed:
		case <-late.C:
			return false
		}
	}
}

// lines is a Talker that says what it is given, and notes what it hears.
type lines struct {
	says  []gateway.Note
	err   error // afterwards; nil: it listens on
	heard chan gateway.Note
	who   chan talkSeat
	left  chan struct{} // closed when its conversation has ended
}

func newLines(says ...gateway.Note) *lines {
	return &lines{says: says, heard: make(chan gateway.Note, 100), who: make(chan talkSeat, 100), left: make(chan struct{})}
}

func (l *lines) Talk(ctx context.Context, at gateway.LocationID, with gateway.ID, in iter.Seq[gateway.Note],
) iter.Seq2[gateway.Note, error] {
	return func(yield func(gateway.Note, error) bool) {
		defer close(l.left)
		l.who <- talkSeat{with, at}
		over := make(chan struct{})
		go func() {
			defer close(over)
			for n := range in {
				select {
				case l.heard <- n:
				case <-ctx.Done():
					return
				}
			}
		}()
		for _, n := range l.says {
			if !yield(n, nil) {
				return
			}
		}
		if l.err != nil {
			yield(gateway.Note{}, l.err)
			return
		}
		select {
		case <-ctx.Done():
		case <-over:
		}
	}
}

// begun waits until a conversation has begun, and says which.
func (l *lines) begun(tb testing.TB) talkSeat {
	tb.Helper()
	t := time.NewTimer(soon)
	defer t.Stop()
	select {
	case s := <-l.who:
		return s
	case <-t.C:
		tb.Fatalf("nobody talks within %v", soon)
		return talkSeat{}
	}
}

// next is the next note that it hears.
func (l *lines) next(tb testing.TB) gateway.Note {
	tb.Helper()
	t := time.NewTimer(soon)
	defer t.Stop()
	select {
	case n := <-l.heard:
		return n
	case <-t.C:
		tb.Fatalf("no note came within %v", soon)
		return gateway.Note{}
	}
}
