package gateway_test

import (
	"context"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
)

// chatting is one conversation, with somebody who says what the test has him say.
type chatting struct {
	say chan gateway.Note
	end context.CancelFunc

	mu    sync.Mutex
	heard []gateway.Note
	why   error // when it is over
	over  bool
}

// so returns what was heard since it was last called, and whether it is over, and why.
func (c *chatting) so() (heard []gateway.Note, over bool, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	heard, c.heard = c.heard, nil
	return heard, c.over, c.why
}

// seen returns all sightings that were heard since.
func (c *chatting) seen() (all []gateway.Sighting) {
	heard, _, _ := c.so()
	for _, n := range heard {
		all = append(all, n.Seen...)
	}
	return all
}

// chat begins a conversation about a location.
func (s *shop) chat(at gateway.LocationID, with gateway.ID) *chatting {
	ctx, cancel := context.WithCancel(s.t.Context())
	s.t.Cleanup(cancel)
	c := &chatting{say: make(chan gateway.Note), end: cancel}
	var in iter.Seq[gateway.Note] = func(yield func(gateway.Note) bool) {
		for {
			select {
			case n := <-c.say:
				if !yield(n) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
	go func() {
		for n, err := range s.Talk(ctx, at, with, in) {
			c.mu.Lock()
			if c.why = err; err == nil {
				c.heard = append(c.heard, n.Clone())
			}
			c.mu.Unlock()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.over = true
	}()
	synctest.Wait()
	return c
}

// A gateway talks with those of whom the plane told it, and with nobody else.
func TestAProcessTalksWithItsSiblings(t *testing.T) {
	inFamily(t, func(t *testing.T, s *shop) {
		for at, with := range map[gateway.LocationID]gateway.ID{"a": "gw3", "b": "gw1", "c": "gw3", "nowhere": "gw2"} {
			heard, over, why := s.chat(at, with).so()
			require.True(t, over)
			require.ErrorIs(t, why, gateway.ErrUnknown, "%s about %s", with, at)
			require.Empty(t, heard)
		}
		c := s.chat("b", "gw2")
		heard, _, _ := c.so()
		require.Len(t, heard, 1)
		require.True(t, heard[0].Full)
		require.True(t, heard[0].Ready)
		require.Equal(t, s.Reconciler("b").Status().Applied, heard[0].Applied)
		s.after(10 * time.Second)
		heard, _, _ = c.so()
		require.InDelta(t, 10, len(heard), 2, "a word each second")
		require.False(t, heard[0].Full)

		again := s.chat("b", "gw2")
		_, _, why := c.so()
		require.ErrorIs(t, why, gateway.ErrReplaced)
		s.plane.Assign("gw2", "a")
		s.after(time.Second)
		_, _, why = again.so()
		require.ErrorIs(t, why, gateway.ErrUnknown, "it is no sibling there any more")

		last := s.chat("a", "gw2")
		last.end()
		synctest.Wait()
		_, over, why := last.so()
		require.True(t, over)
		require.NoError(t, why)
	})
}

// What is told is what was seen here, soon, and not again and again.
func TestWhatIsSeenIsToldOnce(t *testing.T) {
	inFamily(t, func(t *testing.T, s *shop) {
		c := s.chat("b", "gw2")
		key := observe(t, s.at("b")).Peers[0].Key
		s.at("b").Hear(key, memdevice.Traffic{Rx: 180, Tx: 92, Handshake: time.Now(), Endpoint: home})
		s.after(1200 * time.Millisecond)
		told := c.seen()
		require.Len(t, told, 1)
		require.Equal(t, key, told[0].Key)
		require.Equal(t, gateway.ID("gw1"), told[0].By)
		require.Equal(t, home, told[0].Endpoint)

		// While it talks it is told of now and then, and exactly when it has stopped.
		for range 60 {
			s.at("b").Hear(key, memdevice.Traffic{Rx: 100})
			s.after(time.Second)
		}
		last := s.Reconciler("b").Status().Seen[0].Heard
		s.after(5 * time.Second)
		told = c.seen()
		require.InDelta(t, 13, len(told), 3, "once in 5 s")
		require.True(t, told[len(told)-1].Heard.Equal(last), "nobody knows when it was heard last")
		c.end()
		synctest.Wait()
	})
}
