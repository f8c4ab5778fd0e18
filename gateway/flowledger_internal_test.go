package gateway

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	inside = netip.MustParseAddr("10.60.0.10")
	inner6 = netip.MustParseAddr("fd60::10")
)

// numbered is the n-th connection.
func numbered(n int) Flow {
	return Flow{
		From: netip.AddrPortFrom(netip.MustParseAddr("10.20.0.2"), uint16(1+n)), To: netip.MustParseAddrPort("10.60.0.2:443"),
		Inner: netip.AddrPortFrom(inside, uint16(1+n)),
	}
}

func innerFace() Interface {
	return Interface{Inner: []netip.Addr{inside, inner6}, Masquerade: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}}
}

func listening() *flowLedger {
	l := newFlowLedger("gw1")
	l.show(innerFace())
	return l
}

// The oldest go when there are too many, and those that ended leave their places.
func TestOldestConnectionsAreDropped(t *testing.T) {
	b := newFlowBook(3)
	for i := range 3 {
		require.Zero(t, b.set(numbered(i)))
		require.Zero(t, b.set(numbered(i)))
	}
	b.end(numbered(0))
	require.Zero(t, b.set(numbered(3)))
	require.Equal(t, 1, b.set(numbered(4)))
	require.Equal(t, []Flow{numbered(2), numbered(3), numbered(4)}, b.list(inside))
	for i := range 1000 { // none of them stays for long, so no room is kept for them
		b.end(numbered(i))
		b.set(numbered(i + 1))
	}
	require.LessOrEqual(t, len(b.order), 6)
	require.LessOrEqual(t, len(b.flows), 3)
	other := numbered(1000)
	other.Inner = netip.AddrPortFrom(inside, 7)
	b.set(other)
	b.end(numbered(1000)) // which is another one by now
	require.Contains(t, b.list(netip.Addr{}), other)
}

// What is none of the location's is not taken in, whoever says it.
func TestConnectionsOfOthersAreIgnored(t *testing.T) {
	now := time.Now()
	for name, edit := range map[string]func(f *Flow){
		"source":            func(f *Flow) { f.From = netip.MustParseAddrPort("10.21.0.2:1") },
		"no source":         func(f *Flow) { f.From = netip.AddrPort{} },
		"address":           func(f *Flow) { f.Inner = netip.MustParseAddrPort("10.60.0.11:1") },
		"family":            func(f *Flow) { f.Inner = netip.AddrPortFrom(inner6, 1) },
		"family of the end": func(f *Flow) { f.To = netip.MustParseAddrPort("[fd60::2]:443") },
		"port":              func(f *Flow) { f.Inner = netip.AddrPortFrom(inside, 0) },
		"port of the end":   func(f *Flow) { f.To = netip.MustParseAddrPort("10.60.0.2:0") },
		"everybody":         func(f *Flow) { f.To = netip.MustParseAddrPort("224.0.0.1:443") },
		"nobody":            func(f *Flow) { f.To = netip.MustParseAddrPort("0.0.0.0:443") },
		"itself":            func(f *Flow) { f.To = netip.MustParseAddrPort("127.0.0.1:443") },
		"mapped":            func(f *Flow) { f.To = netip.MustParseAddrPort("[::ffff:10.60.0.2]:443") },
	} {
		l, f := listening(), numbered(1)
		edit(&f)
		l.hear("gw2", FlowNote{Full: true, Here: []netip.Addr{inside, inner6}, Began: []Flow{f, numbered(2)}}, now)
		require.Equal(t, FlowCount{Known: 1, IgnoredTotal: 1}, l.counts(now), name)
	}
	// Of an address that the gateway did not say to have, it can know nothing.
	l := listening()
	l.hear("gw2", FlowNote{Full: true, Here: []netip.Addr{inner6}, Began: []Flow{numbered(1)}}, now)
	require.Equal(t, FlowCount{IgnoredTotal: 1}, l.counts(now))
}

// What is told counts until it is taken back, or the gateway is no sibling any more, or
// nobody has confirmed it for long.
func TestWhatIsToldOfConnectionsGoes(t *testing.T) {
	now := time.Now()
	here := []netip.Addr{inside}
	known := func(l *flowLedger, n int, at time.Time) { t.Helper(); require.Equal(t, n, l.counts(at).Known) }
	l := listening()
	l.hear("gw2", FlowNote{Full: true, Here: here, Began: []Flow{numbered(1), numbered(2), numbered(3)}}, now)
	l.hear("gw2", FlowNote{Here: here, Ended: []Flow{numbered(1)}}, now)
	known(l, 2, now)
	l.hear("gw2", FlowNote{Full: true, Here: here, Began: []Flow{numbered(3)}}, now)
	known(l, 1, now)
	l.hear("gw2", FlowNote{Full: true}, now) // it began anew, without the address
	known(l, 1, now)
	known(l, 1, now.Add(flowsLast-1))
	known(l, 0, now.Add(flowsLast))

	l.hear("gw2", FlowNote{Full: true, Here: here, Began: []Flow{numbered(3)}}, now)
	l.only([]Sibling{{ID: "gw2"}})
	known(l, 1, now)
	face := innerFace()
	face.Masquerade = []netip.Prefix{netip.MustParsePrefix("10.20.7.0/24")}
	l.show(face)
	known(l, 0, now)
	l.show(innerFace())
	l.hear("gw2", FlowNote{Full: true, Here: here, Began: []Flow{numbered(3)}}, now)
	l.only(nil)
	known(l, 0, now)
}

// Whoever had the address last is believed, where two say different things.
func TestTheLastOwnerOfAnAddressIsBelieved(t *testing.T) {
	now := time.Now()
	here := []netip.Addr{inside}
	old, young := numbered(1), numbered(1)
	young.Inner = netip.AddrPortFrom(inside, 4711)
	for i, order := range [][2]ID{{"gw2", "gw3"}, {"gw3", "gw2"}} {
		l := listening()
		l.hear(order[0], FlowNote{Full: true, Here: here, Began: []Flow{old}}, now)
		l.hear(order[0], FlowNote{}, now.Add(time.Second))
		l.hear(order[1], FlowNote{Full: true, Here: here, Began: []Flow{young}}, now.Add(2*time.Second))
		due := l.change(FlowChange{Here: here}, now.Add(3*time.Second))
		require.Equal(t, []Flow{young}, due, i)
		l.change(FlowChange{All: true}, now.Add(4*time.Second))
		l.hear(order[1], FlowNote{}, now.Add(5*time.Second)) // it has let go, too
		due = l.change(FlowChange{Here: here}, now.Add(6*time.Second))
		require.Equal(t, []Flow{young}, due, i)
	}
}

// What there was when an address left is not told when it is back, but what there is.
func TestConnectionsOfBeforeAreNotTold(t *testing.T) {
	l, now := listening(), time.Now()
	here := []netip.Addr{inside}
	l.change(FlowChange{Here: here}, now)
	l.change(FlowChange{Here: here, All: true, Began: []Flow{numbered(1), numbered(2)}}, now)
	l.change(FlowChange{All: true}, now)
	require.Equal(t, []Flow{numbered(1), numbered(2)}, l.change(FlowChange{Here: here}, now), "they are adopted again")
	talk := l.join()
	require.Empty(t, l.next(talk).Began)
	l.change(FlowChange{Here: here, All: true, Began: []Flow{numbered(2)}}, now)
	require.Equal(t, []Flow{numbered(2)}, l.next(talk).Began)
}

// Who is slow to listen is told all once more, rather than that all be kept for him.
func TestSlowSiblingsAreToldAll(t *testing.T) {
	l, now := listening(), time.Now()
	slow, quick := l.join(), l.join()
	require.True(t, l.next(slow).Full)
	l.change(FlowChange{Here: []netip.Addr{inside}}, now)
	l.next(slow)
	for i := range mostFlows/4 + 1 {
		l.change(FlowChange{Here: []netip.Addr{inside}, Began: []Flow{numbered(i)}}, now)
		l.next(quick)
	}
	require.Empty(t, slow.changed)
	n := l.next(slow)
	require.True(t, n.Full)
	require.Len(t, n.Began, mostFlows/4+1)
	require.False(t, l.next(slow).Full)
	l.leave(slow)
	l.leave(quick)
	require.Empty(t, l.talks)
}
