package memtransport_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

func pair(near, far gatewaytest.TalkEnd) *memtransport.Pair {
	return memtransport.NewPair(
		memtransport.End{ID: near.ID, Talker: near.Talker, Now: near.Now}, memtransport.End{ID: far.ID, Talker: far.Talker, Now: far.Now},
	)
}

func TestTalk(t *testing.T) {
	gatewaytest.RunTalk(t, func(_ testing.TB, near, far gatewaytest.TalkEnd) gatewaytest.TalkWire {
		p := pair(near, far)
		return gatewaytest.TalkWire{Talk: p.Talk, Cut: p.Cut, Heal: p.Heal}
	})
}

// A slow pair is a pair all the same.
func TestSlowTalk(t *testing.T) {
	gatewaytest.RunTalk(t, func(_ testing.TB, near, far gatewaytest.TalkEnd) gatewaytest.TalkWire {
		p := pair(near, far)
		p.Slow(time.Millisecond)
		return gatewaytest.TalkWire{Talk: p.Talk, Cut: p.Cut, Heal: p.Heal}
	})
}

// onPair runs test in a bubble, with two gateways that talk about "office".
func onPair(t *testing.T, test func(t *testing.T, p *memtransport.Pair, near, far *gatewaytest.Sibling, ended <-chan error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := gatewaytest.NewSibling("gw2"), gatewaytest.NewSibling("gw1")
		p := pair(gatewaytest.TalkEnd{ID: "gw1", Talker: near}, gatewaytest.TalkEnd{ID: "gw2", Talker: far})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Talk(ctx, "office") }()
		synctest.Wait()
		test(t, p, near, far, ended)
		p.Heal()
		cancel()
		synctest.Wait()
		require.Zero(t, near.Alive()+far.Alive())
	})
}

// see has a gateway see one more peer, and says of how many the other one knows then.
func see(n int, from, to *gatewaytest.Sibling, id gateway.ID) int {
	from.See(gateway.Sighting{Key: gatewaytest.Peer(n).Key, Heard: time.Now()})
	synctest.Wait()
	heard, _ := to.Heard("office", id)
	return len(heard.Seen)
}

func TestAStalledPairIsNotNoticed(t *testing.T) {
	onPair(t, func(t *testing.T, p *memtransport.Pair, near, far *gatewaytest.Sibling, ended <-chan error) {
		require.Equal(t, 1, see(1, near, far, "gw1"))
		p.Stall()
		require.Equal(t, 1, see(2, near, far, "gw1"))
		time.Sleep(time.Hour)
		require.Equal(t, 2, near.Alive()+far.Alive())
		require.Empty(t, ended)
		p.Heal()
		require.Equal(t, 3, see(3, near, far, "gw1"), "what was said meanwhile is lost")
		p.Stall()
		p.Cut()
		require.ErrorIs(t, <-ended, memtransport.ErrCut)
	})
}

func TestASlowPairTakesItsTime(t *testing.T) {
	onPair(t, func(t *testing.T, p *memtransport.Pair, near, far *gatewaytest.Sibling, _ <-chan error) {
		p.Slow(100 * time.Millisecond)
		require.Zero(t, see(1, far, near, "gw2"))
		time.Sleep(99 * time.Millisecond)
		synctest.Wait()
		heard, _ := near.Heard("office", "gw2")
		require.Empty(t, heard.Seen)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		heard, _ = near.Heard("office", "gw2")
		require.Len(t, heard.Seen, 1)
		require.Equal(t, gateway.ID("gw2"), heard.Seen[0].By)
	})
}

// Who says nothing new says so every second.
func TestSilenceIsTold(t *testing.T) {
	onPair(t, func(t *testing.T, _ *memtransport.Pair, near, far *gatewaytest.Sibling, _ <-chan error) {
		for _, s := range []struct {
			of   *gatewaytest.Sibling
			with gateway.ID
		}{{near, "gw2"}, {far, "gw1"}} {
			_, before := s.of.Heard("office", s.with)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			_, now := s.of.Heard("office", s.with)
			require.GreaterOrEqual(t, now-before, 10)
		}
	})
}
