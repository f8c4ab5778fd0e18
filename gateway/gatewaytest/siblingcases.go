package gatewaytest

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

func siblingCases() []originCase {
	return []originCase{
		{"siblings come with the assignment", siblingsCome},
		{"a change of siblings alone is told", siblingsChange},
		{"siblings are in order", siblingsInOrder},
		{"a gateway is no sibling of itself", siblingsAreOthers},
		{"who is revoked is nobody's sibling", siblingsRevoked},
		{"siblings that a reader gets are its own", siblingsAreCopies},
		{"assignments are not told again", assignedOnce},
	}
}

// assigned opens a stream of assignments.
func assigned(tb testing.TB, plane gateway.ControlPlane, id gateway.ID) *reader[[]gateway.Assignment] {
	tb.Helper()
	return read(tb, func(ctx context.Context) iter.Seq2[[]gateway.Assignment, error] { return plane.Assigned(ctx, id) })
}

// addr is where the n-th gateway of a case is dialled.
func addr(n int) string { return "192.0.2." + strconv.Itoa(n) + ":7946" }

// same says whether two lists say the same.
func same(a, b []gateway.Assignment) bool { return slices.EqualFunc(a, b, gateway.Assignment.Equal) }

// reaches reads until the assignments are as they have to be.
func reaches(tb testing.TB, r *reader[[]gateway.Assignment], want ...gateway.Assignment) {
	tb.Helper()
	for have := r.next(); !same(have, want); { // what was changed may take a moment
		have = r.next()
	}
}

// alone is the assignment of a location, its siblings in any order.
func alone(at gateway.LocationID, siblings ...gateway.Sibling) gateway.Assignment {
	slices.SortFunc(siblings, func(a, b gateway.Sibling) int { return cmp.Compare(a.ID, b.ID) })
	return gateway.Assignment{Location: at, Siblings: siblings}
}

func siblingsCome(tb testing.TB, o Origin) {
	at, elsewhere := o.Found(), o.Found()
	o.Move(o.Enrol(elsewhere), addr(9))
	both := o.Enrol(at, elsewhere)
	o.Move(both, addr(1))
	id := o.Enrol(at)
	silent := o.Enrol(at) // has no address
	reaches(tb, assigned(tb, o, id), alone(at, gateway.Sibling{ID: both, Addr: addr(1)}, gateway.Sibling{ID: silent}))
}

func siblingsChange(tb testing.TB, o Origin) {
	at, elsewhere := o.Found(), o.Found()
	id := o.Enrol(at)
	r := assigned(tb, o, id)
	reaches(tb, r, alone(at))
	other := o.Enrol(at)
	reaches(tb, r, alone(at, gateway.Sibling{ID: other}))
	o.Move(other, addr(1))
	reaches(tb, r, alone(at, gateway.Sibling{ID: other, Addr: addr(1)}))
	o.Move(other, addr(2))
	reaches(tb, r, alone(at, gateway.Sibling{ID: other, Addr: addr(2)}))
	o.Assign(other, elsewhere)
	reaches(tb, r, alone(at))
	o.Assign(other, elsewhere, at)
	reaches(tb, r, alone(at, gateway.Sibling{ID: other, Addr: addr(2)}))
	o.Move(other, "")
	reaches(tb, r, alone(at, gateway.Sibling{ID: other}))
}

func siblingsInOrder(tb testing.TB, o Origin) {
	const others = 6
	at := o.Found()
	id := o.Enrol(at)
	for range others {
		o.Enrol(at)
	}
	r := assigned(tb, o, id)
	for {
		list := r.next()
		require.Len(tb, list, 1)
		s := list[0].Siblings
		require.True(tb, slices.IsSortedFunc(s, func(a, b gateway.Sibling) int { return cmp.Compare(a.ID, b.ID) }), "%v", s)
		if len(s) >= others {
			return
		}
	}
}

func siblingsAreOthers(tb testing.TB, o Origin) {
	at := o.Found()
	ids := []gateway.ID{o.Enrol(at), o.Enrol(at), o.Enrol(at)}
	for _, id := range ids {
		r := assigned(tb, o, id)
		for n := 0; n < len(ids)-1; {
			list := r.next()
			require.Len(tb, list, 1)
			for _, s := range list[0].Siblings {
				require.NotEqual(tb, id, s.ID)
				require.Contains(tb, ids, s.ID)
			}
			n = len(list[0].Siblings)
		}
	}
}

func siblingsRevoked(tb testing.TB, o Origin) {
	at := o.Found()
	id, other := o.Enrol(at), o.Enrol(at)
	r := assigned(tb, o, id)
	reaches(tb, r, alone(at, gateway.Sibling{ID: other}))
	o.Revoke(other)
	reaches(tb, r, alone(at))
	reaches(tb, assigned(tb, o, id), alone(at))
}

func siblingsAreCopies(tb testing.TB, o Origin) {
	at := o.Found()
	id, other := o.Enrol(at), o.Enrol(at)
	want := alone(at, gateway.Sibling{ID: other})
	r := assigned(tb, o, id)
	for {
		list := r.next()
		said := same(list, []gateway.Assignment{want})
		for i := range list {
			for k := range list[i].Siblings {
				list[i].Siblings[k] = gateway.Sibling{ID: "spoilt"}
			}
			list[i].Location = "spoilt"
		}
		if said {
			break
		}
	}
	reaches(tb, assigned(tb, o, id), want)
	third := o.Enrol(at)
	next := r.next()
	require.False(tb, same(next, []gateway.Assignment{want}), "what the reader did to its own is taken for a change")
	if want = alone(at, gateway.Sibling{ID: other}, gateway.Sibling{ID: third}); !same(next, []gateway.Assignment{want}) {
		reaches(tb, r, want)
	}
}

func assignedOnce(tb testing.TB, o Origin) {
	at, elsewhere := o.Found(), o.Found()
	id := o.Enrol(at)
	r := assigned(tb, o, id)
	last := r.next()
	for n := range 3 {
		o.Enrol(elsewhere) // is no concern of this one
		o.Grow(at)
		other := o.Enrol(at)
		for { // told by the next value at the latest
			next := r.next()
			require.False(tb, same(last, next), "it was told before: %v", next)
			last = next
			if slices.ContainsFunc(next[0].Siblings, func(s gateway.Sibling) bool { return s.ID == other }) {
				require.Len(tb, next[0].Siblings, n+1)
				break
			}
		}
	}
}
