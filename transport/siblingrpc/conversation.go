package siblingrpc

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc/internal/pb"
)

const (
	// window is how many notes an end takes at a time: one to work on, and one on its
	// way meanwhile.
	window = 2
	// maxCredit is how many an end would ever send.
	maxCredit = 16
)

// line is one end of the stream of a conversation.
type line interface {
	send(w *pb.Words) error
	receive() (*pb.Words, error)
}

// conversation is one end of one.
type conversation struct {
	at     gateway.LocationID
	with   gateway.ID // by its certificate
	talker gateway.Talker
	clock  *Clock
	now    func() time.Time
	lag    *lagging

	sending sync.Mutex // around line.send
	line    line
	closed  bool              // nothing may be sent any more
	credit  chan struct{}     // one for each note that the other end takes
	heard   chan gateway.Note // whole notes, window at most
}

func (c *conversation) init() {
	c.credit = make(chan struct{}, maxCredit)
	c.heard = make(chan gateway.Note, window)
}

// errLeft says that a conversation ended at the other end, without a reason.
var errLeft = fmt.Errorf("%w: the other end left", ErrLost)

// run talks and listens until one of both ends, and says why: nil if the Talker ended
// without a reason while the other end listened. done is closed when nothing reads from
// the line any more, which may need that the line ends first.
func (c *conversation) run(ctx context.Context) (done <-chan struct{}, why error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	listened := make(chan struct{})
	go func() {
		defer close(listened)
		cancel(c.listen())
		close(c.heard) // after the reason is known
	}()
	err := c.talk(ctx)
	if cause := context.Cause(ctx); err == nil && cause != nil {
		err = cause
	}
	return listened, err
}

// talk tells what the Talker yields.
func (c *conversation) talk(ctx context.Context) error {
	if !c.mayTell(ctx) {
		return nil
	}
	for n, err := range c.talker.Talk(ctx, c.at, c.with, c.hear(ctx)) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return talkerError{err}
		}
		if err := c.tell(n); err != nil {
			return err
		}
		if !c.mayTell(ctx) {
			return nil
		}
	}
	return nil
}

// mayTell waits until the other end takes one more note. It is false when ctx ends.
func (c *conversation) mayTell(ctx context.Context) bool {
	select {
	case <-c.credit:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// tell sends one note.
func (c *conversation) tell(n gateway.Note) error {
	if len(n.Seen) > maxRows || len(n.Flows.Began)+len(n.Flows.Ended) > maxFlows {
		return fmt.Errorf("%w: a note about %d peers and %d connections", ErrTooLarge, len(n.Seen), len(n.Flows.Began)+len(n.Flows.Ended))
	}
	name := c.clock.Name()
	sent := &pb.Sent{Clock: name[:], At: uint64(c.clock.Now() / time.Microsecond)}
	for m := range noteParts(n, c.now()) {
		m.Sent, sent = sent, nil
		if err := c.say(&pb.Words{Part: m}); err != nil {
			return err
		}
	}
	return nil
}

func (c *conversation) say(w *pb.Words) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	if c.closed {
		return ErrLost
	}
	return c.line.send(w)
}

// close is for before the line goes: a Talker may still hear, and say that it did.
func (c *conversation) close() {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.closed = true
}

// hear yields what the other end says, and lets it say more.
func (c *conversation) hear(ctx context.Context) iter.Seq[gateway.Note] {
	return func(yield func(gateway.Note) bool) {
		for {
			select {
			case n, ok := <-c.heard:
				if !ok || ctx.Err() != nil || !yield(n) {
					return
				}
			case <-ctx.Done():
				return
			}
			if c.say(&pb.Words{Credit: 1}) != nil {
				return // why, who listens finds out
			}
		}
	}
}

// listen reads what the other end says until the line ends, and returns why it did. It
// always reads on: what nobody takes must not fill a link on which others talk, and no
// more comes than was asked for.
func (c *conversation) listen() error {
	var j notes
	for {
		w, err := c.line.receive()
		if err != nil {
			return err
		}
		c.allow(w.GetCredit())
		if w.GetPart() == nil {
			continue
		}
		whole, err := c.add(&j, w.GetPart())
		if err != nil {
			return err
		}
		if !whole {
			continue
		}
		select {
		case c.heard <- j.n:
			j = notes{}
		default:
			return fmt.Errorf("%w: more notes than were asked for", ErrInvalid)
		}
	}
}

func (c *conversation) allow(n uint32) {
	for range min(n, maxCredit) {
		select {
		case c.credit <- struct{}{}:
		default:
			return
		}
	}
}

// add takes in a part, the first one with the instant at which the note was sent.
func (c *conversation) add(j *notes, m *pb.Part) (whole bool, err error) {
	if (m.GetSent() == nil) != j.more {
		return false, fmt.Errorf("%w: only the first part of a note says when it was sent", ErrInvalid)
	}
	if !j.more {
		lag := c.lag.observe(m.GetSent(), c.clock.Now())
		j.begin(c.with, c.now().Add(-lag))
	}
	return j.add(m)
}
