package gatewaytest

import (
	"context"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

// flowCases are for devices that know connections at inner addresses.
func flowCases() []deviceCase {
	return []deviceCase{
		{"connections that are adopted are told, and those that end", flowsTold},
		{"only the location's connections are adopted", flowsOurs},
		{"a connection that is there stays as it is", flowsStay},
		{"connections do not end with their address", flowsLeave},
		{"nobody is told of connections without an inner address", flowsNone},
		{"a context ends the telling of connections", flowsEnd},
	}
}

// tracked is a device whose machine has inner addresses, and what it tells.
type tracked struct {
	tb   testing.TB
	h    Harness
	d    gateway.Tracker
	face gateway.Interface
	in   chan gateway.FlowChange
	end  context.CancelFunc

	here []netip.Addr
	all  map[gateway.Flow]bool
}

func newTracked(tb testing.TB, h Harness) *tracked {
	tb.Helper()
	d, c := h.Open(tb), Config(1)
	c.Interface.Inner = innerAddrs()
	c.Interface.Masquerade = Prefixes("10.20.0.0/16", "fd20::/64")
	_ = d.Apply(tb.Context(), gateway.Diff(c, look(tb, d))) // other cases are about what comes of it
	able, ok := d.(gateway.Tracker)
	require.True(tb, ok, "the device does not know connections")
	for _, a := range c.Interface.Inner {
		h.Own(tb, a, true)
	}
	t := &tracked{tb: tb, h: h, d: able, face: c.Interface, in: make(chan gateway.FlowChange), all: map[gateway.Flow]bool{}}
	var ctx context.Context
	ctx, t.end = context.WithCancel(tb.Context())
	go func() {
		defer close(t.in)
		passOn(ctx, able.Flows(ctx, c.Interface), t.in)
	}()
	tb.Cleanup(t.end)
	t.until(t.face.Inner)
	return t
}

// passOn passes on what is told.
func passOn(ctx context.Context, from iter.Seq[gateway.FlowChange], to chan<- gateway.FlowChange) {
	for c := range from {
		select {
		case to <- c:
		case <-ctx.Done():
			return
		}
	}
}

// next reads one change, nil if none comes within a time.
func (t *tracked) next(within time.Duration) *gateway.FlowChange {
	t.tb.Helper()
	select {
	case c, open := <-t.in:
		require.True(t.tb, open, "it has ended")
		for _, f := range slices.Concat(c.Began, c.Ended) {
			require.Contains(t.tb, c.Here, f.Inner.Addr(), "told of an address that is not here")
		}
		if c.All {
			clear(t.all)
		}
		maps.DeleteFunc(t.all, func(f gateway.Flow, _ bool) bool {
			return !slices.Contains(c.Here, f.Inner.Addr()) || slices.Contains(c.Ended, f)
		})
		for _, f := range c.Began {
			t.all[f] = true
		}
		t.here = c.Here
		return &c
	case <-time.After(within):
		return nil
	}
}

// until reads on until there is exactly this.
func (t *tracked) until(here []netip.Addr, want ...gateway.Flow) {
	t.tb.Helper()
	is := func() bool {
		return slices.Equal(t.here, here) && len(t.all) == len(want) && !slices.ContainsFunc(want, func(f gateway.Flow) bool { return !t.all[f] })
	}
	for late := time.Now().Add(promptly); !is(); {
		left := time.Until(late)
		if left <= 0 || t.next(left) == nil && !is() {
			t.tb.Fatalf("told of %v at %v, want %v at %v", t.all, t.here, want, here)
		}
	}
}

func (t *tracked) adopt(flows ...gateway.Flow) {
	t.tb.Helper()
	require.NoError(t.tb, t.d.Adopt(t.tb.Context(), t.face, flows))
}

// flow is the n-th connection of a fixed series: of both families, and of UDP.
func flow(n int) gateway.Flow {
	end := func(a string, port int) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(a), uint16(port))
	}
	f := gateway.Flow{UDP: n%4 >= 2, From: end("10.20.0.2", 5000+n), To: end("10.60.0.2", 443), Inner: end("10.60.0.10", 6000+n)}
	if n%2 == 1 {
		f.From, f.To, f.Inner = end("fd20::2", 5000+n), end("fd60::2", 443), end("fd60::10", 6000+n)
	}
	return f
}

func flowsTold(tb testing.TB, h Harness) {
	t := newTracked(tb, h)
	all := []gateway.Flow{flow(0), flow(1), flow(2), flow(3)}
	t.adopt(all...)
	t.until(t.face.Inner, all...)
	t.adopt(all...)
	t.h.Hang(tb, all[0])
	t.until(t.face.Inner, all[1:]...)
	t.h.Hang(tb, all[3])
	t.adopt(all[0])
	t.until(t.face.Inner, all[:3]...)
	for _, f := range all[:3] {
		t.h.Hang(tb, f)
	}
	t.until(t.face.Inner)
}

func flowsOurs(tb testing.TB, h Harness) {
	t := newTracked(tb, h)
	var others []gateway.Flow
	for i, edit := range []func(*gateway.Flow){
		func(f *gateway.Flow) { f.From = netip.MustParseAddrPort("10.21.0.2:5000") },
		func(f *gateway.Flow) { f.Inner = netip.MustParseAddrPort("10.60.0.11:5000") },
		func(f *gateway.Flow) { f.Inner = flow(1).Inner },
		func(f *gateway.Flow) { f.Inner = netip.AddrPortFrom(f.Inner.Addr(), 0) },
		func(f *gateway.Flow) { *f = gateway.Flow{} },
	} {
		f := flow(2 * i)
		edit(&f)
		others = append(others, f)
	}
	t.adopt(others...)
	t.adopt(flow(0))
	t.until(t.face.Inner, flow(0))
	t.adopt(append(others, flow(1))...)
	t.until(t.face.Inner, flow(0), flow(1))
}

func flowsStay(tb testing.TB, h Harness) {
	t := newTracked(tb, h)
	first, second, same := flow(0), flow(4), flow(0)
	second.Inner = first.Inner                                                // what is taken already
	same.Inner = netip.AddrPortFrom(first.Inner.Addr(), first.Inner.Port()+1) // and another port for the same
	t.adopt(first)
	t.adopt(second, same, flow(1))
	t.until(t.face.Inner, first, flow(1))
	t.h.Hang(tb, first)
	t.until(t.face.Inner, flow(1))
	t.adopt(same)
	t.until(t.face.Inner, same, flow(1))
}

func flowsLeave(tb testing.TB, h Harness) {
	t := newTracked(tb, h)
	four, six := flow(0), flow(1)
	t.adopt(four, six)
	t.until(t.face.Inner, four, six)
	t.h.Own(tb, four.Inner.Addr(), false)
	for len(t.here) == 2 {
		c := t.next(promptly)
		require.NotNil(tb, c, "nobody told that the address has left")
		require.NotContains(tb, c.Ended, four)
	}
	t.until(t.face.Inner[1:], six)
	t.h.Own(tb, four.Inner.Addr(), true)
	for len(t.here) == 1 {
		c := t.next(promptly)
		require.NotNil(tb, c, "nobody told that the address has come")
		if len(c.Here) == 2 {
			require.False(tb, c.All, "it is told with what there is of it")
			require.Empty(tb, c.Began)
		}
	}
	t.adopt(four)
	t.until(t.face.Inner, four, six)
}

func flowsNone(tb testing.TB, h Harness) {
	d := h.Open(tb)
	able, ok := d.(gateway.Tracker)
	require.True(tb, ok)
	for range able.Flows(tb.Context(), Config(1).Interface) {
		tb.Fatal("something is told")
	}
	require.NoError(tb, able.Adopt(tb.Context(), Config(1).Interface, []gateway.Flow{flow(0)}))
}

func flowsEnd(tb testing.TB, h Harness) {
	t := newTracked(tb, h)
	t.end()
	for late := time.After(promptly); ; {
		select {
		case _, open := <-t.in:
			if !open {
				return
			}
		case <-late:
			tb.Fatal("it goes on, although its context has ended")
		}
	}
}
