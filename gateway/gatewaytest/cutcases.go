package gatewaytest

import (
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

type opener = func(tb testing.TB, origin gateway.ControlPlane) Wire

func cutCases(open opener) iter.Seq2[string, func(testing.TB)] {
	return func(yield func(string, func(testing.TB)) bool) {
		for _, c := range []struct {
			name string
			test func(tb testing.TB, open opener)
		}{
			{"a cut ends everything, and is no reason of the plane", cutEnds},
			{"a cut is noticed at the other end", cutNoticed},
			{"after a cut a reader goes on from where it was", cutResumes},
			{"of an update that breaks off nothing is told", cutInTheMiddle},
			{"who comes again after a cut takes over", cutReplaces},
		} {
			if !yield(c.name, func(tb testing.TB) { c.test(tb, open) }) {
				return
			}
		}
	}
}

// away requires an error that says no more than that the plane cannot be reached.
func away(tb testing.TB, err error) {
	tb.Helper()
	require.Error(tb, err, "nobody is told of the cut")
	for _, reason := range []error{
		gateway.ErrUnknown, gateway.ErrRevoked, gateway.ErrReplaced, gateway.ErrStale, gateway.ErrGap,
	} {
		require.NotErrorIs(tb, err, reason)
	}
}

// known opens a wire to a plane that has a location with n peers.
func known(tb testing.TB, open opener, n int) (*Plane, Wire) {
	tb.Helper()
	plane := NewPlane()
	plane.Assign("gw", "office")
	plane.Put("office", Config(n))
	return plane, open(tb, plane)
}

func cutEnds(tb testing.TB, open opener) {
	_, w := known(tb, open, 1)
	f := follow(tb, w, "gw", "office", gateway.Config{})
	f.step()
	w.Cut()
	away(tb, f.end())
	away(tb, follow(tb, w, "gw", "office", gateway.Config{}).end())
	away(tb, w.Report(tb.Context(), "gw", "office", gateway.Status{Epoch: 1, Full: true}))
	for _, err := range w.Assigned(tb.Context(), "gw") {
		away(tb, err)
	}
	w.Heal()
	require.NoError(tb, w.Report(tb.Context(), "gw", "office", gateway.Status{Epoch: 1, Full: true}))
}

func cutNoticed(tb testing.TB, open opener) {
	s := &stub{updates: []gateway.Update{Config(1).Since(gateway.Config{})}, left: make(chan struct{})}
	w := open(tb, s)
	f := follow(tb, w, "gw", "office", gateway.Config{})
	f.next()
	w.Cut() // it is idle
	wait(tb, s.left, "the plane goes on with a watch that nobody reads")
}

func cutResumes(tb testing.TB, open opener) {
	plane, w := known(tb, open, 3)
	f := follow(tb, w, "gw", "office", gateway.Config{})
	f.reach(plane.Config("office"))
	w.Cut()
	plane.RemovePeer("office", Peer(1).Key)
	plane.SetPeer("office", Peer(9))
	away(tb, f.end())
	w.Heal()
	again := follow(tb, w, "gw", "office", f.have)
	u := again.step()
	require.Equal(tb, f.have.Revision, u.From, "it got everything again")
	require.Equal(tb, []wgkey.Public{Peer(1).Key}, u.Remove)
	again.reach(plane.Config("office"))
}

func cutInTheMiddle(tb testing.TB, open opener) {
	const times = 12
	plane, w := known(tb, open, many)
	want, broken := plane.Config("office"), 0
	for n := range times {
		f := follow(tb, w, "gw", "office", gateway.Config{})
		t := time.NewTimer(time.Duration(n) * 5 * time.Millisecond)
		select {
		case u := <-f.values: // it was fast
			require.Len(tb, u.Set, many, "a part was told")
		case <-t.C:
		case <-f.done:
		}
		t.Stop()
		w.Cut()
		rest := time.NewTimer(soon)
		for ended := false; !ended; {
			select {
			case u := <-f.values:
				require.Len(tb, u.Set, many, "a part was told")
			case <-f.done:
				ended, broken = true, broken+1
				away(tb, f.err)
			case <-rest.C:
				tb.Fatalf("the stream did not end within %v", soon)
			}
		}
		rest.Stop()
		w.Heal()
	}
	require.Positive(tb, broken)
	follow(tb, w, "gw", "office", gateway.Config{}).reach(want)
}

func cutReplaces(tb testing.TB, open opener) {
	plane, w := known(tb, open, 1)
	old := follow(tb, plane, "gw", "office", gateway.Config{}) // over another wire, to the same plane
	old.step()
	w.Cut()
	away(tb, follow(tb, w, "gw", "office", gateway.Config{}).end())
	plane.SetPeer("office", Peer(2))
	old.reach(plane.Config("office")) // a watch that never arrived takes over from nobody
	w.Heal()
	follow(tb, w, "gw", "office", gateway.Config{}).reach(plane.Config("office"))
	require.ErrorIs(tb, old.end(), gateway.ErrReplaced)
}
