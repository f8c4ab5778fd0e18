package gatewaytest

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// couple are two gateways that know each other, and what carries their words.
type couple struct {
	TalkWire

	near, far *Sibling // gw1 and gw2
}

func newCouple(tb testing.TB, open talkOpener) couple {
	tb.Helper()
	c := couple{near: NewSibling("gw2"), far: NewSibling("gw1")}
	c.TalkWire = open(tb, TalkEnd{ID: "gw1", Talker: c.near}, TalkEnd{ID: "gw2", Talker: c.far})
	return c
}

// ends are who says something to whom.
type ends struct {
	from, to         *Sibling
	fromID, toID     gateway.ID
	direction, other string
}

// both are the two directions.
func (c couple) both() []ends {
	return []ends{
		{c.near, c.far, "gw1", "gw2", "from the near end", "far"},
		{c.far, c.near, "gw2", "gw1", "from the far end", "near"},
	}
}

// sighting is one of a peer of a fixed series, heard some time ago.
func sighting(n int, ago time.Duration) gateway.Sighting {
	now := time.Now().Round(0)
	return gateway.Sighting{Key: Peer(n).Key, Heard: now.Add(-ago), Handshake: now.Add(-2 * ago), Rx: uint64(n), Tx: uint64(n) + 1}
}

// alike says whether two notes say the same, but for who saw it and for a moment.
func alike(a, b gateway.Note) bool {
	moment := func(a, b time.Time) bool { return a.IsZero() == b.IsZero() && a.Sub(b).Abs() <= 2*time.Second }
	return a.Full == b.Full && a.Ready == b.Ready && a.Isolated == b.Isolated && a.Stalled == b.Stalled && a.Applied == b.Applied &&
		slices.Equal(a.Owns, b.Owns) && slices.Equal(a.Missing, b.Missing) && slices.EqualFunc(a.Seen, b.Seen, func(a, b gateway.Sighting) bool {
		return a.Key == b.Key && a.Rx == b.Rx && a.Tx == b.Tx && a.Endpoint == b.Endpoint &&
			moment(a.Heard, b.Heard) && moment(a.Handshake, b.Handshake)
	})
}

// all is what a Sibling would tell if it began now.
func (s *Sibling) all() gateway.Note {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.note.Clone()
	n.Full = true
	for _, v := range s.seen {
		n.Seen = append(n.Seen, v.Sighting)
	}
	slices.SortFunc(n.Seen, func(a, b gateway.Sighting) int { return a.Key.Compare(b.Key) })
	return n
}

// caughtUp waits until the other end knows all that one end says about a location.
func (e ends) caughtUp(tb testing.TB, at gateway.LocationID) {
	tb.Helper()
	e.to.until(tb, "the other end does not know what was said, "+e.direction+",", func() bool {
		n, _ := e.to.Heard(at, e.fromID)
		return alike(e.from.all(), n)
	})
}

func talkFull(tb testing.TB, open talkOpener) {
	c := newCouple(tb, open)
	c.near.See(sighting(1, time.Minute), sighting(2, time.Second))
	c.far.See(sighting(3, time.Hour))
	c.begin(tb, "office")
	for _, e := range c.both() {
		e.caughtUp(tb, "office")
		e.to.mu.Lock()
		first := e.to.talks[talkSeat{e.fromID, "office"}].first
		e.to.mu.Unlock()
		require.True(tb, first.Full, "the first note is not full, %s", e.direction)
	}
}

func talkChanges(tb testing.TB, open talkOpener) {
	const times = 50
	var says []gateway.Note
	for n := range uint64(times) {
		says = append(says, gateway.Note{
			Full: n == 0, Applied: gateway.Revision{Epoch: 1, Number: n}, Seen: []gateway.Sighting{sighting(int(n), time.Minute)},
		})
	}
	near, far := newLines(says...), newLines(says...)
	open(tb, TalkEnd{ID: "gw1", Talker: near}, TalkEnd{ID: "gw2", Talker: far}).begin(tb, "office")
	for _, l := range []*lines{near, far} {
		for _, want := range says {
			got := l.next(tb)
			require.True(tb, alike(want, got), "want %+v\ngot %+v", want, got)
		}
	}

	c := newCouple(tb, open)
	c.begin(tb, "office")
	for n := range times {
		for _, e := range c.both() {
			e.from.See(sighting(n%7, time.Duration(n)*time.Minute))
			e.from.Say(func(m *gateway.Note) { m.Ready, m.Applied.Number = n%2 == 0, uint64(n) })
			if n%10 == 0 {
				e.caughtUp(tb, "office")
			}
		}
	}
	for _, e := range c.both() {
		e.caughtUp(tb, "office")
	}
}

func talkFields(tb testing.TB, open talkOpener) {
	n := 0
	says := []gateway.Note{filled[gateway.Note](tb, &n), {}, filled[gateway.Note](tb, &n)}
	for i := range says {
		says[i].Full = i == 0 // all fields of the first are something
	}
	near, far := newLines(says...), newLines(says...)
	open(tb, TalkEnd{ID: "gw1", Talker: near}, TalkEnd{ID: "gw2", Talker: far}).begin(tb, "office")
	for by, l := range map[gateway.ID]*lines{"gw1": far, "gw2": near} {
		for _, want := range says {
			want = want.Clone()
			for i := range want.Seen {
				want.Seen[i].By = by
			}
			equal(tb, want, l.next(tb))
		}
	}
}

func talkWho(tb testing.TB, open talkOpener) {
	near, far := newLines(), newLines()
	open(tb, TalkEnd{ID: "gw1", Talker: near}, TalkEnd{ID: "gw2", Talker: far}).begin(tb, "office")
	for _, c := range []struct {
		l    *lines
		want talkSeat
	}{{near, talkSeat{"gw2", "office"}}, {far, talkSeat{"gw1", "office"}}} {
		require.Equal(tb, c.want, c.l.begun(tb))
	}

	c := newCouple(tb, open)
	c.near.See(sighting(1, time.Minute))
	for _, at := range []gateway.LocationID{"office", "home"} {
		c.begin(tb, at)
		for _, e := range c.both() {
			e.caughtUp(tb, at)
		}
	}
	c.near.See(sighting(2, time.Minute))
	for _, at := range []gateway.LocationID{"office", "home"} {
		c.both()[0].caughtUp(tb, at)
	}
}

// crowd is how many peers a location may well have.
const crowd = 100_000

func talkCrowd(tb testing.TB, open talkOpener) {
	now := time.Now().Round(0)
	big := gateway.Note{Full: true, Ready: true, Applied: gateway.Revision{Epoch: 1, Number: 2}, Seen: make([]gateway.Sighting, crowd)}
	for i := range big.Seen {
		p := Peer(i + 1)
		big.Seen[i] = gateway.Sighting{
			Key: p.Key, Heard: now.Add(-time.Duration(i) * time.Millisecond), Handshake: now.Add(-time.Duration(i) * time.Second),
			Rx: uint64(i) << 20, Tx: uint64(i),
		}
	}
	small := gateway.Note{Seen: big.Seen[:1]}
	near, far := newLines(big, small), newLines(small, big)
	open(tb, TalkEnd{ID: "gw1", Talker: near}, TalkEnd{ID: "gw2", Talker: far}).begin(tb, "office")
	for _, c := range []struct {
		l    *lines
		want []gateway.Note
	}{{far, near.says}, {near, far.says}} {
		for _, want := range c.want {
			got := c.l.next(tb)
			require.Len(tb, got.Seen, len(want.Seen), "it came in pieces, or was cut")
			for i := range got.Seen { // a slow machine may take its time
				w, g := want.Seen[i], got.Seen[i]
				require.True(tb, w.Key == g.Key && w.Rx == g.Rx && w.Tx == g.Tx && w.Heard.Sub(g.Heard).Abs() <= soon, "sighting %d", i)
			}
			require.Equal(tb, want.Applied, got.Applied)
		}
	}
}

func talkAges(tb testing.TB, open talkOpener) {
	const apart = time.Hour
	for _, ahead := range []time.Duration{apart, -apart} {
		clocks := map[gateway.ID]func() time.Time{
			"gw1": func() time.Time { return time.Now().Round(0).Add(ahead) },
			"gw2": func() time.Time { return time.Now().Round(0) },
		}
		const ago = 10 * time.Second
		note := func(id gateway.ID) gateway.Note {
			at := clocks[id]().Add(-ago)
			return gateway.Note{Full: true, Seen: []gateway.Sighting{{Key: Peer(1).Key, Heard: at, Handshake: at.Add(-ago)}, {Key: Peer(2).Key}}}
		}
		near, far := newLines(note("gw1")), newLines(note("gw2"))
		open(tb, TalkEnd{ID: "gw1", Talker: near, Now: clocks["gw1"]}, TalkEnd{ID: "gw2", Talker: far, Now: clocks["gw2"]}).begin(tb, "office")
		for id, l := range map[gateway.ID]*lines{"gw1": near, "gw2": far} {
			got := l.next(tb).Seen
			now := clocks[id]()
			require.InDelta(tb, ago.Seconds(), now.Sub(got[0].Heard).Seconds(), 3, "by the clock of %s, in seconds", id)
			require.InDelta(tb, 2*ago.Seconds(), now.Sub(got[0].Handshake).Seconds(), 3, "by the clock of %s, in seconds", id)
			require.True(tb, got[1].Heard.IsZero() && got[1].Handshake.IsZero(), "never is never")
		}
	}
}

// talkClock is about who wants to know how far two clocks are apart.
func talkClock(tb testing.TB, open talkOpener) {
	const ahead, ago = 400 * 24 * time.Hour, 10 * time.Second
	clocks := map[gateway.ID]func() time.Time{
		"gw1": func() time.Time { return time.Now().Round(0).Add(ahead) },
		"gw2": func() time.Time { return time.Now().Round(0) },
	}
	shown := map[gateway.ID]time.Time{}
	note := func(id gateway.ID) gateway.Note {
		at := clocks[id]().Add(-ago)
		shown[id] = at
		return gateway.Note{Full: true, Clock: gateway.Reading{Wall: at, At: at, Synced: id == "gw2"}}
	}
	near, far := newLines(note("gw1"), gateway.Note{}), newLines(note("gw2"), gateway.Note{})
	open(tb, TalkEnd{ID: "gw1", Talker: near, Now: clocks["gw1"]}, TalkEnd{ID: "gw2", Talker: far, Now: clocks["gw2"]}).begin(tb, "office")
	for _, c := range []struct {
		by, to gateway.ID
		l      *lines
	}{{"gw1", "gw2", far}, {"gw2", "gw1", near}} {
		got := c.l.next(tb).Clock
		require.Less(tb, got.Wall.Sub(shown[c.by]).Abs(), time.Millisecond, "what the clock of %s showed", c.by)
		require.InDelta(tb, ago.Seconds(), clocks[c.to]().Sub(got.At).Seconds(), 3, "when, by the clock of %s, in seconds", c.to)
		require.Equal(tb, c.by == "gw2", got.Synced)
		require.Zero(tb, c.l.next(tb).Clock, "nothing is nothing")
	}
}

func talkSlow(tb testing.TB, open talkOpener) {
	const (
		peers = 2000 // in each note: together more than lies in buffers on the way
		times = 40
		most  = 15

		moment = 5 * time.Millisecond // for what should not happen
	)
	for way := range 2 {
		c := newCouple(tb, open)
		e := c.both()[way]
		c.begin(tb, "office")
		c.begin(tb, "home")
		e.caughtUp(tb, "office")
		e.to.Deaf("office", true)
		before := e.from.Said("office", e.toID)
		list := make([]gateway.Sighting, peers)
		for n := range times {
			for i := range list {
				list[i] = sighting(i+1, time.Duration(n)*time.Minute)
			}
			said := e.from.Said("office", e.toID)
			e.from.See(list...)
			e.caughtUp(tb, "home") // on the same link
			e.from.within(moment, func() bool { return e.from.Said("office", e.toID) > said })
		}
		said := e.from.Said("office", e.toID) - before
		require.LessOrEqual(tb, said, most, "notes are kept for who does not listen, %s", e.direction)
		other := c.both()[1-way]
		other.from.See(sighting(1, time.Minute))
		other.caughtUp(tb, "office")
		e.to.Deaf("office", false)
		e.caughtUp(tb, "office")
	}
}

// over waits until no conversation is left at either end.
func (c couple) over(tb testing.TB) {
	tb.Helper()
	for _, e := range c.both() {
		e.to.until(tb, "a conversation goes on at the "+e.other+" end", func() bool { return e.to.Alive() == 0 })
	}
}

func talkEnds(tb testing.TB, open talkOpener) {
	c := newCouple(tb, open)
	t := c.begin(tb, "office")
	for _, e := range c.both() {
		e.caughtUp(tb, "office")
	}
	t.cancel()
	require.NoError(tb, t.end())
	c.over(tb)

	near, far := newLines(), newLines() // they have nothing to say
	t = open(tb, TalkEnd{ID: "gw1", Talker: near}, TalkEnd{ID: "gw2", Talker: far}).begin(tb, "office")
	near.begun(tb)
	far.begun(tb)
	t.cancel()
	require.NoError(tb, t.end())
	wait(tb, near.left, "the near end goes on")
	wait(tb, far.left, "the far end goes on")
}

func talkCut(tb testing.TB, open talkOpener) {
	c := newCouple(tb, open)
	t := c.begin(tb, "office")
	for _, e := range c.both() {
		e.caughtUp(tb, "office")
	}
	c.Cut()
	away(tb, t.end())
	c.over(tb)
	away(tb, c.begin(tb, "office").end())
	c.over(tb)

	near, far := newLines(), newLines()
	w := open(tb, TalkEnd{ID: "gw1", Talker: near}, TalkEnd{ID: "gw2", Talker: far})
	t = w.begin(tb, "office")
	near.begun(tb)
	far.begun(tb)
	w.Cut() // it is idle
	away(tb, t.end())
	wait(tb, far.left, "the far end goes on")
}

func talkAgain(tb testing.TB, open talkOpener) {
	c := newCouple(tb, open)
	c.near.See(sighting(1, time.Minute))
	t := c.begin(tb, "office")
	for _, e := range c.both() {
		e.caughtUp(tb, "office")
	}
	c.Cut()
	away(tb, t.end())
	for _, e := range c.both() {
		e.from.See(sighting(2, time.Minute))
	}
	c.Heal()
	c.begin(tb, "office")
	for _, e := range c.both() {
		e.caughtUp(tb, "office")
	}
}

func talkReplaced(tb testing.TB, open talkOpener) {
	c := newCouple(tb, open)
	first := c.begin(tb, "office")
	other := c.begin(tb, "home")
	for _, e := range c.both() {
		e.caughtUp(tb, "office")
		e.caughtUp(tb, "home")
	}
	second := c.begin(tb, "office")
	require.ErrorIs(tb, first.end(), gateway.ErrReplaced)
	for n, e := range c.both() {
		e.from.See(sighting(n+1, time.Minute))
		e.caughtUp(tb, "office")
		e.caughtUp(tb, "home")
	}
	for _, t := range []*talking{second, other} {
		t.cancel()
		require.NoError(tb, t.end(), "it was replaced, too")
	}
}

func talkStranger(tb testing.TB, open talkOpener) {
	for way := range 2 {
		c := newCouple(tb, open)
		e := c.both()[way]
		e.to.Forget(e.fromID)
		e.from.See(sighting(1, time.Minute))
		require.ErrorIs(tb, c.begin(tb, "office").end(), gateway.ErrUnknown, e.direction)
		_, n := e.to.Heard("office", e.fromID)
		require.Zero(tb, n, "a stranger is listened to, %s", e.direction)
		c.over(tb)
	}
}

func talkForgotten(tb testing.TB, open talkOpener) {
	for way := range 2 {
		c := newCouple(tb, open)
		t := c.begin(tb, "office")
		for _, e := range c.both() {
			e.caughtUp(tb, "office")
		}
		e := c.both()[way]
		e.to.Forget(e.fromID)
		require.ErrorIs(tb, t.end(), gateway.ErrUnknown, e.direction)
		c.over(tb)
	}
}

func talkReasons(tb testing.TB, open talkOpener) {
	all := []error{gateway.ErrUnknown, gateway.ErrReplaced, errors.New("another one")}
	for i, reason := range all {
		far := newLines()
		far.err = fmt.Errorf("the far end says hunter2: %w", reason)
		err := open(tb, TalkEnd{ID: "gw1", Talker: newLines()}, TalkEnd{ID: "gw2", Talker: far}).begin(tb, "office").end()
		require.Error(tb, err)
		for k, other := range all {
			if k < 2 {
				require.Equal(tb, i == k, errors.Is(err, other), "%v is %v", err, other)
			}
		}
		near := newLines()
		near.err = fmt.Errorf("the near end: %w", reason)
		far = newLines()
		err = open(tb, TalkEnd{ID: "gw1", Talker: near}, TalkEnd{ID: "gw2", Talker: far}).begin(tb, "office").end()
		require.ErrorIs(tb, err, reason)
		select {
		case <-far.who: // it heard of it
			wait(tb, far.left, "the far end goes on")
		default:
		}
	}
}

func talkCopies(tb testing.TB, open talkOpener) {
	note := func() gateway.Note {
		return gateway.Note{Full: true, Seen: []gateway.Sighting{sighting(1, 0)}, Owns: addrs(Peer(1))}
	}
	n := note()
	near, far := newLines(n), newLines(n)
	open(tb, TalkEnd{ID: "gw1", Talker: near}, TalkEnd{ID: "gw2", Talker: far}).begin(tb, "office")
	a, b := near.next(tb), far.next(tb)
	a.Seen[0].Key, a.Owns[0] = wgkey.Public{}, a.Owns[1]
	for _, other := range []gateway.Note{n, b} {
		require.True(tb, alike(note(), other), "what one end got belongs to somebody else, too")
	}
}

func addrs(p gateway.Peer) (out []netip.Addr) {
	for _, a := range p.AllowedIPs {
		out = append(out, a.Addr())
	}
	return out
}
