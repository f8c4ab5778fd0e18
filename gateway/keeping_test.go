package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
)

// A Keeper that fails is shown, tried again, and holds up nothing.
func TestAKeeperThatFails(t *testing.T) {
	inKeptShop(t, func(t *testing.T, s *shop) {
		began := time.Now()
		s.keeper.Fail(errors.New("no space left on the device"))
		rev := s.plane.RemovePeer("b", gatewaytest.Peer(1).Key)
		s.after(time.Minute)
		s.has("a", "b")
		last := s.plane.Last("gw1", "b")
		require.Equal(t, rev, last.Applied)
		require.Len(t, last.Failed, 1)
		require.Contains(t, last.Failed[0].What, "no space left")
		require.WithinRange(t, last.Failed[0].At, began, began.Add(time.Second))
		require.Empty(t, s.plane.Last("gw1", "a").Failed, "it has nothing new to keep")
		require.NoError(t, s.Ready())
		s.keeper.Fail(nil)
		s.after(2 * time.Minute)
		require.Empty(t, s.plane.Last("gw1", "b").Failed)
		k, _ := s.keeper.Kept("b")
		require.Equal(t, rev, k.Config.Revision)

		s.keeper.Fail(errors.New("no"))
		s.stop()
		s.start() // nor does one that can not load
		s.after(12 * time.Second)
		s.has("a", "b")
		s.keeper.Fail(nil)
	})
}

// A process that ends in peace keeps what it was told last.
func TestAProcessThatEndsKeepsTheLast(t *testing.T) {
	inKeptShop(t, func(t *testing.T, s *shop) {
		s.slow(time.Second)
		for n := range 40 {
			s.plane.SetPeer("a", gatewaytest.Peer(100+n))
			s.after(100 * time.Millisecond)
		}
		s.stop()
		k, _ := s.keeper.Kept("a")
		require.Equal(t, s.plane.Config("a").Revision, k.Config.Revision)
		s.slow(0)
	})
}

// What takes long is done seldom; but what takes access away is kept soon.
func TestKeepingTakesLittleOfTheTime(t *testing.T) {
	inKeptShop(t, func(t *testing.T, s *shop) {
		s.slow(time.Second)
		s.plane.SetPeer("a", gatewaytest.Peer(99))
		s.after(time.Minute)
		count := s.keeper.Keeps()
		for n := range 600 {
			s.plane.SetPeer("a", gatewaytest.Peer(100+n))
			s.after(time.Second)
		}
		require.InDelta(t, 600/20, s.keeper.Keeps()-count, 2)
		gone := s.plane.RemovePeer("a", gatewaytest.Peer(100).Key)
		s.after(3 * time.Second)
		k, _ := s.keeper.Kept("a")
		require.Equal(t, gone, k.Config.Revision)
		s.slow(0)
	})
}

// A Keeper that hangs holds up nothing but keeping.
func TestAKeeperThatHangs(t *testing.T) {
	inKeptShop(t, func(t *testing.T, s *shop) {
		s.slow(24 * time.Hour)
		for n := range 10 {
			s.plane.SetPeer("a", gatewaytest.Peer(100+n))
			s.after(time.Second)
			s.has("a", "b")
		}
		s.after(time.Minute)
		require.Contains(t, s.plane.Last("gw1", "a").Failed[0].What, "deadline")
		began := time.Now()
		s.stop()
		require.LessOrEqual(t, time.Since(began), 11*time.Second)
		s.slow(0)
	})
}

func TestPeersThatMayNotBeKept(t *testing.T) {
	c := gatewaytest.Config(3)
	all := gateway.Withhold(c, func(gateway.Peer) bool { return true })
	require.Equal(t, c, all)
	some := gateway.Withhold(c, func(p gateway.Peer) bool { return p.Key != c.Peers[1].Key })
	require.Equal(t, []gateway.Peer{c.Peers[0], c.Peers[2]}, some.Peers)
	require.Zero(t, some.Revision, "a plane would tell only what changed since, and leave them out")
	require.Equal(t, gatewaytest.Config(3), c, "it wrote to what it was given")
}

// slowKeeper takes its time.
type slowKeeper struct {
	*gatewaytest.Keeper

	s *shop
}

func (k slowKeeper) Keep(ctx context.Context, kept gateway.Kept) error {
	k.s.mu.Lock()
	wait := k.s.keeping
	k.s.mu.Unlock()
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return fmt.Errorf("keeping: %w", ctx.Err())
		case <-t.C:
		}
	}
	return k.Keeper.Keep(ctx, kept)
}

func (s *shop) slow(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keeping = d
}
