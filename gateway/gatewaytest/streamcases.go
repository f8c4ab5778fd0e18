package gatewaytest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

func streamCases() []originCase {
	return []originCase{
		{"a watch ends with its context", watchEnds},
		{"a reader may leave at any time", readerLeaves},
		{"a second watch takes over from the first", secondWatch},
		{"assignments come at once, and after every change", assignments},
		{"a location that is not assigned is not watched", unassigned},
		{"an unknown gateway is refused", unknownGateway},
		{"a revoked gateway is refused", revokedGateway},
	}
}

// wait waits for something that has to happen.
func wait(tb testing.TB, done <-chan struct{}, otherwise string) {
	tb.Helper()
	t := time.NewTimer(soon)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		tb.Fatalf("%s within %v", otherwise, soon)
	}
}

func watchEnds(tb testing.TB, o Origin) {
	id, at := office(o, 1)
	f := follow(tb, o, id, at, gateway.Config{})
	f.reach(o.Config(at))
	f.cancel() // it has nothing to say now, and has to notice all the same
	_ = f.end()

	a := assigned(tb, o, id)
	a.next()
	a.cancel()
	_ = a.end()

	ended, cancel := contextWithCancel(tb)
	cancel()
	for _, err := range o.Watch(ended, id, at, gateway.Revision{}) {
		require.Error(tb, err, "it says something after its context has ended")
	}
	require.Error(tb, o.Report(ended, id, at, gateway.Status{Full: true}))
}

func readerLeaves(tb testing.TB, o Origin) {
	id, at := office(o, 1)
	for range 3 {
		for u, err := range o.Watch(tb.Context(), id, at, gateway.Revision{}) {
			require.NoError(tb, err)
			require.False(tb, u.To.IsZero())
			break
		}
		for _, err := range o.Assigned(tb.Context(), id) {
			require.NoError(tb, err)
			break
		}
	}
	follow(tb, o, id, at, gateway.Config{}).reach(o.Config(at))
}

func secondWatch(tb testing.TB, o Origin) {
	id, at := office(o, 1)
	elsewhere := o.Found()
	o.Assign(id, at, elsewhere)
	other := o.Enrol(at)
	first := follow(tb, o, id, at, gateway.Config{})
	first.reach(o.Config(at))
	aside := follow(tb, o, id, elsewhere, gateway.Config{})
	aside.reach(o.Config(elsewhere))
	neighbour := follow(tb, o, other, at, gateway.Config{})
	neighbour.reach(o.Config(at))

	second := follow(tb, o, id, at, gateway.Config{})
	second.reach(o.Config(at))
	require.ErrorIs(tb, first.end(), gateway.ErrReplaced)
	for range 3 { // while the neighbour does not read
		o.Grow(at)
		second.reach(o.Config(at))
		<-time.After(time.Millisecond) // time itself: the neighbour's stream has come to where it waits
	}
	o.Grow(elsewhere)
	neighbour.reach(o.Config(at))
	aside.reach(o.Config(elsewhere))
}

func assignments(tb testing.TB, o Origin) {
	a, b := o.Found(), o.Found()
	id := o.Enrol(b)
	r := assigned(tb, o, id)
	require.Equal(tb, []gateway.LocationID{b}, places(r.next()))
	for _, want := range [][]gateway.LocationID{{min(a, b), max(a, b)}, {a}, {}} {
		o.Assign(id, want...)
		got := places(r.next())
		for len(got) != len(want) {
			got = places(r.next())
		}
		require.Equal(tb, want, got, "not in order, or not what was assigned")
	}
}

// places are the locations of assignments.
func places(list []gateway.Assignment) []gateway.LocationID {
	at := []gateway.LocationID{}
	for _, a := range list {
		at = append(at, a.Location)
	}
	return at
}

func unassigned(tb testing.TB, o Origin) {
	id, at := office(o, 1)
	other := o.Found()
	require.Error(tb, follow(tb, o, id, other, gateway.Config{}).end())
	f := follow(tb, o, id, at, gateway.Config{})
	f.reach(o.Config(at))
	o.Assign(id, other)
	require.Error(tb, f.end(), "it ends without a reason")
}

func unknownGateway(tb testing.TB, o Origin) {
	_, at := office(o, 1)
	refused(tb, o, "nobody", at, gateway.ErrUnknown)
}

func revokedGateway(tb testing.TB, o Origin) {
	id, at := office(o, 1)
	f := follow(tb, o, id, at, gateway.Config{})
	f.reach(o.Config(at))
	a := assigned(tb, o, id)
	a.next()
	o.Revoke(id)
	require.ErrorIs(tb, f.end(), gateway.ErrRevoked)
	require.ErrorIs(tb, a.end(), gateway.ErrRevoked)
	refused(tb, o, id, at, gateway.ErrRevoked)
}

// refused requires all three methods to fail with want.
func refused(tb testing.TB, plane gateway.ControlPlane, id gateway.ID, at gateway.LocationID, want error) {
	tb.Helper()
	require.ErrorIs(tb, follow(tb, plane, id, at, gateway.Config{}).end(), want)
	require.ErrorIs(tb, assigned(tb, plane, id).end(), want)
	require.ErrorIs(tb, plane.Report(tb.Context(), id, at, gateway.Status{Epoch: 1, Full: true}), want)
}
