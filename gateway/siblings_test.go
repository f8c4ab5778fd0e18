package gateway_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

var (
	second = gateway.Sibling{ID: "gw2", Addr: "192.0.2.2:7946"}
	third  = gateway.Sibling{ID: "gw3"}
)

// inFamily is a shop with a Keeper, and siblings: second in a and b, third in b.
func inFamily(t *testing.T, test func(t *testing.T, s *shop)) {
	t.Helper()
	inKeptShop(t, func(t *testing.T, s *shop) {
		s.plane.Assign("gw2", "a", "b")
		s.plane.Move("gw2", second.Addr)
		s.plane.Assign("gw3", "b", "c")
		s.after(time.Second)
		s.knows("a", second)
		s.knows("b", second, third)
		test(t, s)
	})
}

// knows requires exactly these siblings.
func (s *shop) knows(at gateway.LocationID, want ...gateway.Sibling) {
	s.t.Helper()
	got := s.Siblings(at)
	require.NotNil(s.t, got, "location %s is not assigned", at)
	require.Equal(s.t, append([]gateway.Sibling{}, want...), got, "location %s", at)
}

func TestAProcessKnowsItsSiblings(t *testing.T) {
	inFamily(t, func(t *testing.T, s *shop) {
		require.Nil(t, s.Siblings("c"), "it is not assigned")
		require.Nil(t, s.Siblings("nowhere"))
		s.Siblings("b")[0] = third
		s.knows("b", second, third) // what it gave was a copy

		s.plane.Refuse("gw2", gateway.ErrRevoked)
		s.plane.Move("gw3", "192.0.2.3:7946")
		s.after(time.Second)
		s.knows("a")
		s.knows("b", gateway.Sibling{ID: "gw3", Addr: "192.0.2.3:7946"})
		before := observe(t, s.at("b"))
		s.plane.Assign("gw1", "b", "c")
		s.after(time.Second)
		require.Nil(t, s.Siblings("a"))
		s.knows("c", gateway.Sibling{ID: "gw3", Addr: "192.0.2.3:7946"})
		require.Equal(t, before, observe(t, s.at("b")), "siblings are no concern of the device")
	})
}

// While the plane is away, and after a restart meanwhile, siblings are those that
// it told last.
func TestSiblingsOutliveThePlaneAndTheProcess(t *testing.T) {
	inFamily(t, func(t *testing.T, s *shop) {
		s.link.Cut()
		s.plane.Assign("gw4", "a")
		s.after(time.Hour)
		s.knows("a", second)
		s.knows("b", second, third)
		for name, down := range map[string]func(){"end": func() { s.stop() }, "kill": s.kill, "reboot": s.reboot} {
			down()
			s.start()
			require.NoError(t, s.Ready(), name)
			s.knows("a", second)
			s.knows("b", second, third)
			require.Nil(t, s.Siblings("c"), name)
		}
		s.link.Heal()
		s.after(12 * time.Second)
		s.knows("a", second, gateway.Sibling{ID: "gw4"})
	})
}

// Updates of a location that come before the plane says who serves it do not make
// what was kept of that forgotten.
func TestAnUpdateDoesNotTakeSiblings(t *testing.T) {
	inFamily(t, func(t *testing.T, s *shop) {
		s.kill()
		s.plane.SetPeer("a", gatewaytest.Peer(9))
		s.around = func(c gateway.ControlPlane) gateway.ControlPlane { return unassigning{c} }
		s.start()
		s.after(time.Minute)
		s.has("a", "b")
		k, _ := s.keeper.Kept("a")
		require.Equal(t, s.plane.Config("a").Revision, k.Config.Revision)
		require.Equal(t, []gateway.Sibling{second}, k.Siblings)
		s.kill()
		s.link.Cut()
		s.start()
		s.knows("a", second)
	})
}

// A change of siblings is kept by itself, soon if somebody is none any more, and
// not for what is not there.
func TestSiblingsAreKept(t *testing.T) {
	inFamily(t, func(t *testing.T, s *shop) {
		kept := func(at gateway.LocationID) []gateway.Sibling {
			k, ok := s.keeper.Kept(at)
			require.True(t, ok)
			return k.Siblings
		}
		require.Equal(t, []gateway.Sibling{second, third}, kept("b"))
		count := s.keeper.Keeps()
		s.after(30 * time.Minute)
		require.Equal(t, count, s.keeper.Keeps(), "nothing was new")
		s.plane.Move("gw2", "")
		s.after(time.Second)
		require.Equal(t, []gateway.Sibling{{ID: "gw2"}}, kept("a"))
		require.Equal(t, count+2, s.keeper.Keeps())
		s.plane.Move("gw3", "192.0.2.3:7946")
		s.after(time.Second)
		require.Equal(t, count+3, s.keeper.Keeps(), "what others say of it is no news for a")
		s.plane.Move("gw3", "")

		s.slow(time.Second) // what takes long is done seldom
		s.plane.SetPeer("b", gatewaytest.Peer(50))
		s.after(time.Minute)
		s.plane.SetPeer("b", gatewaytest.Peer(51))
		s.after(2 * time.Second)
		s.plane.Assign("gw4", "b")
		s.after(5 * time.Second)
		require.Len(t, kept("b"), 2, "it waits")
		s.plane.Refuse("gw2", gateway.ErrRevoked)
		s.after(5 * time.Second)
		require.Equal(t, []gateway.Sibling{third, {ID: "gw4"}}, kept("b"), "who was revoked comes back with a reboot")
		s.slow(0)

		s.set("c", errors.New("no /dev/net/tun"))
		s.plane.Assign("gw1", "b", "c")
		s.after(time.Minute)
		s.knows("c", third)
		_, ok := s.keeper.Kept("c")
		require.False(t, ok, "nobody said what it is")
		_, ok = s.keeper.Kept("a")
		require.False(t, ok)
		s.set("c", nil)
		s.after(12 * time.Second)
		require.Equal(t, []gateway.Sibling{third}, kept("c"))
	})
}

// What is refused or too old tells of no siblings either.
func TestSiblingsOfWhatIsRefused(t *testing.T) {
	inFamily(t, func(t *testing.T, s *shop) {
		s.kill()
		s.keeper.Put(gateway.Kept{Location: "a", Refused: errors.New("no good")})
		s.link.Cut()
		s.start()
		require.Nil(t, s.Siblings("a"))
		s.knows("b", second, third)
		s.set("a", errors.New("no /dev/net/tun"))
		s.link.Heal()
		s.after(12 * time.Second)
		s.knows("a", second)
		require.Zero(t, s.keeper.Keeps(), "of a nobody said what it is, and of b nothing new")
		s.set("a", nil)
		s.after(12 * time.Second)
		k, _ := s.keeper.Kept("a")
		require.NoError(t, k.Refused)
		require.Equal(t, []gateway.Sibling{second}, k.Siblings)
	})
}

// unassigning never says what is assigned.
type unassigning struct{ gateway.ControlPlane }

func (unassigning) Assigned(ctx context.Context, _ gateway.ID) iter.Seq2[[]gateway.Assignment, error] {
	return func(func([]gateway.Assignment, error) bool) { <-ctx.Done() }
}

// untidy says what no plane may: places and siblings twice and in no order, and a
// gateway as its own sibling.
type untidy struct{ gateway.ControlPlane }

func (u untidy) Assigned(ctx context.Context, _ gateway.ID) iter.Seq2[[]gateway.Assignment, error] {
	return func(yield func([]gateway.Assignment, error) bool) {
		list := []gateway.Assignment{
			{Location: "b", Siblings: []gateway.Sibling{third, {ID: "gw1"}, second, third}}, {Location: "a"}, {Location: "b"},
		}
		if yield(list, nil) {
			list[0].Siblings[0] = gateway.Sibling{ID: "spoilt"}
			<-ctx.Done()
		}
	}
}

func TestAnUntidyPlane(t *testing.T) {
	inShop(t, func(_ *testing.T, s *shop) {
		s.stop()
		s.around = func(c gateway.ControlPlane) gateway.ControlPlane { return untidy{c} }
		s.start()
		s.has("a", "b")
		s.knows("a")
		s.knows("b", second, third)
	})
}

// Of several planes the rule for siblings is that for locations: who is asked
// anew reads what is true.
func TestAStalledPlaneKeepsNoSibling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatewaytest.NewPlane()
		p.Assign("gw1", office)
		p.Assign("gw2", office)
		first, other := memtransport.New(p), memtransport.New(p.Twin())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var told [][]gateway.Assignment
		done := make(chan struct{})
		go func() {
			defer close(done)
			for list, err := range gateway.Planes(first, other).Assigned(ctx, "gw1") {
				if err != nil {
					return
				}
				told = append(told, []gateway.Assignment{list[0].Clone()})
				for i := range list[0].Siblings {
					list[0].Siblings[i] = third // it is the reader's own
				}
			}
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		want := [][]gateway.Assignment{{{Location: office, Siblings: []gateway.Sibling{{ID: "gw2"}}}}}
		require.Equal(t, want, told, "the others say the same, and that is no news")
		first.Stall()
		p.Refuse("gw2", gateway.ErrRevoked)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.Equal(t, append(want, []gateway.Assignment{{Location: office}}), told)
		cancel()
		<-done
	})
}
