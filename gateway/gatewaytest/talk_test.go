package gatewaytest_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/internal/planted"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

// distortedTalk is a Talker of which something gets lost on the way.
type distortedTalk struct {
	gateway.Talker

	hears func(gateway.Note) gateway.Note
	tells func(iter.Seq2[gateway.Note, error]) iter.Seq2[gateway.Note, error]
	at    func(gateway.LocationID) gateway.LocationID
	blind chan struct{} // it does not notice that a conversation in which it heard something has ended, until this is closed
}

func (d distortedTalk) Talk(ctx context.Context, at gateway.LocationID, with gateway.ID, in iter.Seq[gateway.Note],
) iter.Seq2[gateway.Note, error] {
	if d.hears != nil {
		before := in
		in = func(yield func(gateway.Note) bool) {
			for n := range before {
				if !yield(d.hears(n)) {
					return
				}
			}
		}
	}
	if d.at != nil {
		at = d.at(at)
	}
	if d.blind != nil {
		return d.blindly(ctx, at, with, in)
	}
	out := d.Talker.Talk(ctx, at, with, in)
	if d.tells != nil {
		out = d.tells(out)
	}
	return out
}

func (d distortedTalk) blindly(ctx context.Context, at gateway.LocationID, with gateway.ID, in iter.Seq[gateway.Note],
) iter.Seq2[gateway.Note, error] {
	return func(yield func(gateway.Note, error) bool) {
		type said struct {
			n   gateway.Note
			err error
		}
		var heard atomic.Bool
		inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer func() {
			if !heard.Load() {
				cancel()
			}
		}()
		says, over := make(chan said), make(chan struct{})
		go func() { <-d.blind; cancel() }()
		go func() {
			defer close(over)
			for n, err := range d.Talker.Talk(inner, at, with, func(yield func(gateway.Note) bool) {
				for n := range in {
					heard.Store(true)
					if !yield(n) {
						return
					}
				}
				<-inner.Done()
			}) {
				select {
				case says <- said{n, err}:
				case <-inner.Done():
					return
				case <-ctx.Done():
				}
			}
		}()
		for {
			select {
			case s := <-says:
				if !yield(s.n, s.err) {
					return
				}
			case <-over:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// onTalk distorts what both ends say, one by one.
func onTalk(change func(gateway.Note, error) (gateway.Note, error)) func(iter.Seq2[gateway.Note, error]) iter.Seq2[gateway.Note, error] {
	return func(seq iter.Seq2[gateway.Note, error]) iter.Seq2[gateway.Note, error] { return mapped(seq, change) }
}

func TestTalkSuiteFindsFaults(t *testing.T) {
	const (
		full      = "a full note comes at once, at both ends"
		changes   = "then come changes, in order"
		fields    = "every field of a note crosses, and who sends it saw it"
		who       = "who talks about what crosses"
		crowd     = "a note of any size crosses as one"
		ages      = "ages are right, whatever clocks say"
		clock     = "what a wall clock showed crosses as it was"
		slow      = "who does not listen holds up nobody, and is told less often"
		ends      = "it ends with its context, at both ends"
		cut       = "a cut ends it at both ends, and is no reason of a gateway"
		again     = "after a cut it begins again"
		replaced  = "a second conversation takes over from the first"
		stranger  = "a stranger is refused, whichever end it is"
		forgotten = "who is forgotten is told so"
		reasons   = "every reason crosses, and no other words"
		copies    = "what a reader gets is its own"
	)
	for _, c := range []struct {
		sin    string
		talker func(gateway.Talker) gateway.Talker
		far    func(gateway.Talker, chan struct{}) gateway.Talker
		ends   func(near, far *gatewaytest.TalkEnd)
		wire   func(*gatewaytest.TalkWire)
		notice []string
	}{
		{sin: "a field is lost", notice: []string{fields}, talker: func(t gateway.Talker) gateway.Talker {
			return distortedTalk{Talker: t, hears: func(n gateway.Note) gateway.Note { n.Isolated = false; return n }}
		}},
		{sin: "a field that is new is lost", notice: []string{fields}, talker: func(t gateway.Talker) gateway.Talker {
			return distortedTalk{Talker: t, hears: func(n gateway.Note) gateway.Note { n.Stalled = false; return n }}
		}},
		{sin: "who saw it is whoever a message names", notice: []string{fields}, talker: func(t gateway.Talker) gateway.Talker {
			return distortedTalk{Talker: t, hears: func(n gateway.Note) gateway.Note {
				for i := range n.Seen {
					n.Seen[i].By = "somebody"
				}
				return n
			}}
		}},
		{sin: "everything is only a change", notice: []string{full, changes, fields, who, slow, ends, cut, again, replaced, forgotten, copies},
			talker: func(t gateway.Talker) gateway.Talker {
				return distortedTalk{Talker: t, hears: func(n gateway.Note) gateway.Note { n.Full = false; return n }}
			}},
		{sin: "reasons become words", notice: []string{replaced, stranger, forgotten, reasons}, talker: func(t gateway.Talker) gateway.Talker {
			return distortedTalk{Talker: t, tells: onTalk(func(n gateway.Note, err error) (gateway.Note, error) {
				if err != nil {
					err = errors.New(err.Error())
				}
				return n, err
			})}
		}},
		{sin: "some notes are lost", notice: []string{changes, fields, slow}, talker: func(t gateway.Talker) gateway.Talker {
			return distortedTalk{Talker: t, tells: func(seq iter.Seq2[gateway.Note, error]) iter.Seq2[gateway.Note, error] {
				return func(yield func(gateway.Note, error) bool) {
					i := 0
					for n, err := range seq {
						if i++; i%3 == 0 && err == nil {
							continue
						}
						if !yield(n, err) {
							return
						}
					}
				}
			}}
		}},
		{sin: "notes wait in a queue without end", notice: []string{slow}, talker: func(t gateway.Talker) gateway.Talker {
			return distortedTalk{Talker: t, tells: func(seq iter.Seq2[gateway.Note, error]) iter.Seq2[gateway.Note, error] {
				return queued(seq, nil)
			}}
		}},
		{sin: "what is large comes in pieces", notice: []string{crowd}, talker: func(t gateway.Talker) gateway.Talker {
			return distortedTalk{Talker: t, tells: func(seq iter.Seq2[gateway.Note, error]) iter.Seq2[gateway.Note, error] {
				return func(yield func(gateway.Note, error) bool) {
					const most = 8_000
					for n, err := range seq {
						for part := n; len(n.Seen) > most; {
							part.Seen, n.Seen = n.Seen[:most], n.Seen[most:]
							if !yield(part, nil) {
								return
							}
						}
						if !yield(n, err) {
							return
						}
					}
				}
			}}
		}},
		{sin: "the wall clock is an instant like others", notice: []string{clock}, talker: func(t gateway.Talker) gateway.Talker {
			return distortedTalk{Talker: t, hears: func(n gateway.Note) gateway.Note {
				if !n.Clock.Wall.IsZero() && n.Clock.Wall.Sub(n.Clock.At).Abs() > time.Hour {
					n.Clock.Wall = n.Clock.At
				}
				return n
			}}
		}},
		{sin: "instants cross", notice: []string{ages, clock}, ends: func(near, far *gatewaytest.TalkEnd) { near.Now, far.Now = nil, nil }},
		{sin: "one location is taken for another", notice: []string{who, slow, replaced}, talker: func(t gateway.Talker) gateway.Talker {
			return distortedTalk{Talker: t, at: func(at gateway.LocationID) gateway.LocationID {
				if at == "home" {
					return "office"
				}
				return at
			}}
		}},
		{sin: "the far end does not notice", notice: []string{ends, cut, forgotten}, far: func(t gateway.Talker, stop chan struct{}) gateway.Talker {
			return distortedTalk{Talker: t, blind: stop}
		}},
		{sin: "memory is shared", notice: []string{copies}, ends: func(near, far *gatewaytest.TalkEnd) {
			var mu sync.Mutex
			var owns gateway.Note
			share := func(n gateway.Note) gateway.Note {
				mu.Lock()
				defer mu.Unlock()
				if len(n.Owns) != 2 || len(n.Seen) != 1 {
					return n
				}
				if owns.Owns == nil {
					owns = n
				}
				n.Owns = owns.Owns
				return n
			}
			near.Talker, far.Talker = distortedTalk{Talker: near.Talker, hears: share}, distortedTalk{Talker: far.Talker, hears: share}
		}},
		{sin: "who comes second is refused", notice: []string{replaced}, wire: func(w *gatewaytest.TalkWire) {
			var mu sync.Mutex
			now, talk := map[gateway.LocationID]bool{}, w.Talk
			w.Talk = func(ctx context.Context, at gateway.LocationID) error {
				mu.Lock()
				before := now[at]
				now[at] = true
				mu.Unlock()
				if before {
					return gateway.ErrReplaced
				}
				defer func() { mu.Lock(); delete(now, at); mu.Unlock() }()
				return talk(ctx, at)
			}
		}},
		{sin: "a cut looks like a refusal", notice: []string{cut, again}, wire: func(w *gatewaytest.TalkWire) {
			talk := w.Talk
			w.Talk = func(ctx context.Context, at gateway.LocationID) error {
				err := talk(ctx, at)
				if errors.Is(err, memtransport.ErrCut) {
					return gateway.ErrUnknown
				}
				return err
			}
		}},
		{sin: "a cut is for ever", notice: []string{again}, wire: func(w *gatewaytest.TalkWire) { w.Heal = func() {} }},
	} {
		t.Run(c.sin, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stop := make(chan struct{})
				planted.Exactly(t, gatewaytest.TalkCases(func(_ testing.TB, near, far gatewaytest.TalkEnd) gatewaytest.TalkWire {
					if c.ends != nil {
						c.ends(&near, &far)
					}
					if c.talker != nil {
						near.Talker, far.Talker = c.talker(near.Talker), c.talker(far.Talker)
					}
					if c.far != nil {
						far.Talker = c.far(far.Talker, stop)
					}
					p := memtransport.NewPair(
						memtransport.End{ID: near.ID, Talker: near.Talker, Now: near.Now},
						memtransport.End{ID: far.ID, Talker: far.Talker, Now: far.Now},
					)
					w := gatewaytest.TalkWire{Talk: p.Talk, Cut: p.Cut, Heal: p.Heal}
					if c.wire != nil {
						c.wire(&w)
					}
					return w
				}), c.notice...)
				close(stop)
			})
		})
	}
}
