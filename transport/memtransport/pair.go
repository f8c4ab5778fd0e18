package memtransport

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
)

// End is a gateway at one end of a Pair.
type End struct {
	ID     gateway.ID
	Talker gateway.Talker
	// Now is its clock; nil: time.Now. Instants are told as they are by the clock of
	// who hears of them.
	Now func() time.Time
}

func (e End) now() time.Time {
	if e.Now == nil {
		return time.Now()
	}
	return e.Now()
}

// Pair carries what two gateways tell each other. It is safe for concurrent use.
type Pair struct {
	a, b End
	line *line
}

// NewPair returns a link between two gateways, healed and without delay. It begins no
// conversation: Talk does.
func NewPair(a, b End) *Pair { return &Pair{a: a, b: b, line: newLine()} }

// Cut ends all conversations with ErrCut, and fails new ones until Heal. Both gateways
// notice at once, as when a connection is reset.
func (p *Pair) Cut() { p.line.sever() }

// Stall lets nothing pass until Heal, and nobody notices: as when packets are
// dropped.
func (p *Pair) Stall() { p.line.change(func() { p.line.stalled = true }) }

// Heal ends what Cut and Stall did. Conversations that were stalled go on.
func (p *Pair) Heal() { p.line.change(func() { p.line.cut, p.line.stalled = false, false }) }

// Slow makes each note take d to cross the link, either way; 0 is at once.
func (p *Pair) Slow(d time.Duration) { p.line.change(func() { p.line.delay = d }) }

// errOver says that a gateway ended a conversation without a reason.
var errOver = errors.New("memtransport: one of both ended it")

// Talk has the two talk about a location, once, until ctx ends, which is no error, until
// the link is cut (ErrCut), or until one of both ends it: the error is then what that
// one said, with the text of the first end and of the second only the reason.
func (p *Pair) Talk(ctx context.Context, at gateway.LocationID) error {
	inner, end := p.line.open(ctx)
	defer end()
	inner, stop := context.WithCancelCause(inner)
	defer stop(nil)
	ab, ba := make(chan gateway.Note), make(chan gateway.Note)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		stop(reason(p.tell(inner, at, p.b, p.a, ab, ba)))
	}()
	stop(p.tell(inner, at, p.a, p.b, ba, ab))
	<-ended
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("memtransport: talk: %w", context.Cause(inner))
}

// tell is one end of a conversation: what from says goes to out. It is never nil.
func (p *Pair) tell(ctx context.Context, at gateway.LocationID, from, to End, in <-chan gateway.Note, out chan<- gateway.Note) error {
	if err := p.line.cross(ctx); err != nil {
		return err
	}
	for n, err := range from.Talker.Talk(ctx, at, to.ID, hear(ctx, in)) {
		if err != nil {
			return err
		}
		n = n.Clone()
		shift := to.now().Sub(from.now())
		n.Clock.At = moved(n.Clock.At, shift)
		for i := range n.Seen {
			s := &n.Seen[i]
			s.By, s.Heard, s.Handshake = from.ID, moved(s.Heard, shift), moved(s.Handshake, shift)
		}
		if err := p.line.cross(ctx); err != nil {
			return err
		}
		select {
		case out <- n:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return errOver
}

func hear(ctx context.Context, in <-chan gateway.Note) iter.Seq[gateway.Note] {
	return func(yield func(gateway.Note) bool) {
		for {
			select {
			case n := <-in:
				if ctx.Err() != nil || !yield(n) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func moved(t time.Time, by time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Round(0).Add(by)
}

// reason is what of an error crosses.
func reason(err error) error {
	for _, is := range []error{gateway.ErrUnknown, gateway.ErrRevoked, gateway.ErrReplaced, ErrCut, errOver} {
		if errors.Is(err, is) {
			return is
		}
	}
	return errors.New("memtransport: the other end failed")
}
