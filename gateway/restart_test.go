package gateway_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
)

// kill is what kill -9 does: the process does nothing any more, and another one
// starts on what is left.
func (s *shop) kill() {
	s.keeper = s.keeper.Kill()
	s.stop()
}

// reboot takes the interfaces away too.
func (s *shop) reboot() {
	s.kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.devices)
}

// inKeptShop is inShop with a Keeper that has what there is.
func inKeptShop(t *testing.T, test func(t *testing.T, s *shop)) {
	t.Helper()
	inShop(t, func(t *testing.T, s *shop) {
		s.stop()
		s.keeper = gatewaytest.NewKeeper()
		s.start()
		test(t, s)
	})
}

// steps notes what is done to the device of a location from now on.
func (s *shop) watchSteps(at gateway.LocationID) *gateway.Plan {
	done := &gateway.Plan{}
	s.at(at).FailSteps(func(step gateway.Step) error {
		*done = append(*done, step)
		return nil
	})
	return done
}

// proves P2: a reboot with the plane away comes back from what was kept, and is
// ready, and says that it is restored.
func TestARebootWithThePlaneAway(t *testing.T) {
	inKeptShop(t, func(t *testing.T, s *shop) {
		gone := s.plane.RemovePeer("b", gatewaytest.Peer(1).Key)
		s.after(time.Second)
		s.link.Cut()
		s.reboot()
		s.start()
		s.has("a", "b")
		require.NoError(t, s.Ready())
		require.Equal(t, []gateway.LocationID{"a", "b"}, s.Locations())
		require.True(t, s.Reconciler("a").Status().Restored)
		require.Equal(t, gone, s.Reconciler("b").Status().Applied)
		require.Error(t, s.Reconciler("a").Connected())

		s.after(2 * time.Hour)
		require.True(t, s.Reconciler("a").Status().Restored)
		s.at("a").Meddle(func(st *gateway.State) { st.Peers = nil })
		s.after(2 * time.Second)
		s.has("a", "b") // and it is enforced

		s.plane.SetPeer("a", gatewaytest.Peer(7))
		s.plane.RemovePeer("b", gatewaytest.Peer(2).Key)
		s.link.Heal()
		s.after(12 * time.Second)
		s.has("a", "b")
		require.False(t, s.Reconciler("a").Status().Restored)
		var told []bool
		for _, r := range s.plane.Reports("gw1", "a") {
			if len(told) == 0 || told[len(told)-1] != r.Restored {
				told = append(told, r.Restored)
			}
		}
		require.Equal(t, []bool{false, true, false}, told, "the plane is not told, or for too long")
	})
}

// That a gateway was restored is told, even if a plane tells something first.
func TestAnUpdateDoesNotHideThatItWasRestored(t *testing.T) {
	inKeptShop(t, func(t *testing.T, s *shop) {
		s.reboot()
		s.setDeaf(true)
		rev := s.plane.SetPeer("a", gatewaytest.Peer(7))
		s.start()
		s.has("a", "b")
		require.Equal(t, rev, s.Reconciler("a").Status().Applied)
		require.True(t, s.Reconciler("a").Status().Restored)
		s.setDeaf(false)
		count := len(s.plane.Reports("gw1", "a"))
		s.after(10 * time.Second)
		all := s.plane.Reports("gw1", "a")[count:]
		require.True(t, all[0].Restored)
		require.False(t, all[1].Restored)
	})
}

// hearing is a plane that hears no reports while the shop is deaf.
type hearing struct {
	gateway.ControlPlane

	s *shop
}

func (h hearing) Report(ctx context.Context, id gateway.ID, at gateway.LocationID, st gateway.Status) error {
	h.s.mu.Lock()
	deaf := h.s.deaf
	h.s.mu.Unlock()
	if deaf {
		return errors.New("what did you say?")
	}
	return h.ControlPlane.Report(ctx, id, at, st)
}

func (s *shop) setDeaf(deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = deaf
}

// proves P9: what the plane has to tell then is only what changed.
func TestARestoredGatewayGoesOnFromItsRevision(t *testing.T) {
	inKeptShop(t, func(t *testing.T, s *shop) {
		for name, down := range map[string]func(){"reboot": s.reboot, "kill": s.kill} {
			have := s.plane.Config("a").Revision
			s.link.Cut()
			down()
			s.froms = nil
			s.start()
			s.plane.SetPeer("a", gatewaytest.Peer(len(name)+5))
			s.link.Heal()
			s.after(12 * time.Second)
			s.has("a", "b")
			require.Equal(t, []gateway.Revision{have}, s.froms["a"], name)
			require.Empty(t, s.froms["b"], "nothing was new")

			// So it is if the plane was never away.
			down()
			s.froms = nil
			s.start()
			s.after(12 * time.Second)
			s.has("a", "b")
			require.Empty(t, s.froms, "it asked before it looked at what it has")

			// A plane that does not know the revision tells everything.
			s.link.Cut()
			down()
			s.froms = nil
			s.start()
			s.plane.Forget("a")
			s.plane.RemovePeer("a", gatewaytest.Peer(len(name)+5).Key)
			s.link.Heal()
			s.after(12 * time.Second)
			s.has("a", "b")
			require.Equal(t, []gateway.Revision{{}}, s.froms["a"], name)
		}
	})
}

// proves P2, P8: an interface that is there is adopted; no peer of it is touched,
// whatever the last process had no time to keep.
func TestAKilledProcessTouchesNoPeer(t *testing.T) {
	for name, change := range map[string]func(s *shop){
		"nothing was new":    func(*shop) {},
		"a peer was granted": func(s *shop) { s.plane.SetPeer("b", gatewaytest.Peer(9)) },
		"a peer was revoked": func(s *shop) { s.plane.RemovePeer("b", gatewaytest.Peer(2).Key) },
		"a peer was changed": func(s *shop) {
			p := gatewaytest.Peer(2)
			p.AllowedIPs, p.Preshared = p.AllowedIPs[:1], gatewaytest.PresharedKey(3)
			s.plane.SetPeer("b", p)
		},
		"the interface was changed": func(s *shop) {
			s.plane.Edit("b", func(c *gateway.Config) {
				c.Interface.MTU, c.Interface.Isolated = 1300, true
				c.Interface.Destinations = gatewaytest.Prefixes("10.60.0.0/16")
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inKeptShop(t, func(t *testing.T, s *shop) {
				require.True(t, s.at("b").Hear(gatewaytest.Peer(1).Key, memdevice.Traffic{Rx: 32}))
				next := s.keeper.Kill() // the last process has no time to keep what follows
				change(s)
				s.after(time.Second)
				before := observe(t, s.at("b"))
				s.link.Cut()
				s.stop()
				s.keeper = next
				done := s.watchSteps("b")
				s.start()
				s.after(time.Hour)
				require.Empty(t, done.String())
				require.Equal(t, before, observe(t, s.at("b")))
				require.NoError(t, s.Ready())
				require.True(t, s.Reconciler("b").Status().Restored)

				s.plane.RemovePeer("b", gatewaytest.Peer(2).Key)
				s.plane.SetPeer("b", gatewaytest.Peer(8))
				s.link.Heal()
				s.after(12 * time.Second)
				s.has("a", "b")
				for _, step := range *done {
					require.NotEqual(t, gatewaytest.Peer(1).Key, step.Peer.Key, "%s", step)
				}
				require.Equal(t, uint64(32), sighted(observe(t, s.at("b")), gatewaytest.Peer(1)).Rx)
			})
		})
	}
}

// What others changed while the process was dead is not in what a plane would tell
// that is asked only what changed since: it is asked for everything.
func TestWhatOthersChangedMeanwhileIsFoundOut(t *testing.T) {
	inKeptShop(t, func(t *testing.T, s *shop) {
		s.link.Cut()
		s.kill()
		s.at("b").Meddle(func(st *gateway.State) { // somebody takes one away, and puts another there
			p := gatewaytest.Peer(9)
			st.Peers = []gateway.PeerState{st.Peers[0], {Key: p.Key, AllowedIPs: p.AllowedIPs}}
		})
		meddled := observe(t, s.at("b"))
		s.froms = nil
		s.start()
		s.after(time.Hour)
		require.Equal(t, meddled.Peers, observe(t, s.at("b")).Peers, "nobody can know who is right")
		require.Zero(t, s.Reconciler("b").Status().Applied)
		s.link.Heal()
		s.after(12 * time.Second)
		s.has("a", "b")
		require.Equal(t, []gateway.Revision{{}}, s.froms["b"])
		require.Empty(t, s.froms["a"])
	})
}

func sighted(s gateway.State, p gateway.Peer) gateway.PeerState {
	i := slices.IndexFunc(s.Peers, func(h gateway.PeerState) bool { return h.Key == p.Key })
	return s.Peers[i]
}

// An interface that is half there is made whole, its peers as they are.
func TestAnInterfaceThatIsNotWholeIsMadeWhole(t *testing.T) {
	inKeptShop(t, func(t *testing.T, s *shop) {
		want := observe(t, s.at("b"))
		s.link.Cut()
		s.kill()
		s.at("b").Meddle(func(st *gateway.State) { st.Filtered, st.Forwarding, st.Interface.Addrs = false, false, nil })
		s.start()
		require.Equal(t, want, observe(t, s.at("b")))
	})
}

func TestALocationThatWasTakenAwayWhileDownEnds(t *testing.T) {
	inKeptShop(t, func(t *testing.T, s *shop) {
		s.kill()
		s.plane.Assign("gw1", "a")
		s.link.Cut()
		s.start()
		s.has("a", "b") // nobody has said so yet
		s.link.Heal()
		s.after(12 * time.Second)
		s.has("a")
		_, kept := s.keeper.Kept("b")
		require.False(t, kept)
		_, kept = s.keeper.Kept("a")
		require.True(t, kept)
		require.NoError(t, s.Ready())

		s.plane.Assign("gw1", "a", "b")
		s.after(time.Second)
		s.has("a", "b")
		_, kept = s.keeper.Kept("b")
		require.True(t, kept)
	})
}

// What could not be used tells still that the location was served here.
func TestALocationThatWasRefusedEndsToo(t *testing.T) {
	inKeptShop(t, func(t *testing.T, s *shop) {
		s.kill()
		s.keeper.Put(gateway.Kept{Location: "b", Refused: errors.New("no good")})
		s.set("b", errors.New("not yet"))
		s.plane.Assign("gw1", "a")
		s.start()
		s.after(time.Minute)
		s.has("a", "b")
		require.NoError(t, s.Ready())
		require.Empty(t, s.plane.Last("gw1", "b").Failed)
		s.plane.Assign("gw1", "a", "b") // a change of mind
		s.after(time.Second)
		s.plane.Assign("gw1", "a")
		s.after(time.Second)
		s.set("b", nil)
		s.after(11 * time.Second)
		s.has("a")
		_, kept := s.keeper.Kept("b")
		require.False(t, kept)
	})
}

// A location that is being ended does not come back, however the process ends.
func TestALocationThatIsBeingEndedDoesNotComeBack(t *testing.T) {
	inKeptShop(t, func(_ *testing.T, s *shop) {
		s.at("b").FailSteps(func(gateway.Step) error { return errors.New("busy") })
		s.plane.Assign("gw1", "a")
		s.after(time.Minute)
		s.has("a", "b")
		s.link.Cut()
		s.reboot()
		s.start()
		s.after(time.Minute)
		s.has("a")
		s.link.Heal()
		s.after(12 * time.Second)
		s.has("a")
		_, kept := s.keeper.Kept("b")
		require.False(s.t, kept)
	})
}
