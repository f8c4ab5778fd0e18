package gateway_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// wall is the wall clock of a machine, and the one that nobody sets.
type wall struct {
	up time.Time // when the machine started

	mu    sync.Mutex
	off   time.Duration
	kept  bool
	stamp map[wgkey.Public]time.Time // of the newest handshake that each client took from here
}

func (w *wall) Boot() string         { return "boot" }
func (w *wall) Since() time.Duration { return time.Since(w.up) }

func (w *wall) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Round(0).Add(w.off)
}

// set sets the clock ahead, or back.
func (w *wall) set(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.off += by
}

func (w *wall) synced() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kept
}

func (w *wall) keep(kept bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = kept
}

// refused says whether a client refuses a handshake that is started by this clock: it
// has taken one from here, or from the other gateway, that is newer.
func (w *wall) refused(key wgkey.Public, other *wall) bool {
	now := w.now()
	other.mu.Lock()
	last := other.stamp[key]
	other.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stamp == nil {
		w.stamp = map[wgkey.Public]time.Time{}
	}
	if !now.After(last) || !now.After(w.stamp[key]) {
		return true
	}
	w.stamp[key] = now
	return false
}

// carrying has the first house carry all, and the second one know.
func (s *street) carrying() {
	s.t.Helper()
	for _, p := range s.all() {
		s.session(0, p.Key)
	}
	s.houses[0].after(3 * time.Second)
	require.Equal(s.t, [2]int{len(s.all()), 0}, s.sessions())
}

const year = 365 * 24 * time.Hour

// Which clocks start handshakes, in a location of two gateways that both are said to be
// kept right, or not.
func TestWhoseClockStartsHandshakes(t *testing.T) {
	for _, c := range []struct {
		off   time.Duration
		kept  [2]bool
		kicks bool
	}{
		{0, [2]bool{}, true},
		{500 * time.Millisecond, [2]bool{}, true},
		{3 * time.Second, [2]bool{}, false},
		{-3 * time.Second, [2]bool{}, false},
		{3 * time.Second, [2]bool{true, true}, false},
		{-3 * time.Second, [2]bool{true, true}, true},
		{60 * time.Second, [2]bool{false, true}, true},
		{60 * time.Second, [2]bool{true, false}, false},
		{-60 * time.Second, [2]bool{true, false}, true},
		{year, [2]bool{true, true}, false},
	} {
		onStreet(t, 10, func(t *testing.T, s *street) {
			for i, k := range c.kept {
				s.clocks[i].keep(k)
			}
			s.clocks[1].set(c.off)
			s.carrying()
			s.houses[0].stop()
			s.move(1)
			s.houses[1].after(10 * time.Second)
			want, refused := 10, uint64(0)
			if !c.kicks {
				want, refused = 0, 1
			}
			require.Equal(t, want, s.sessions()[1], "%+v", c)
			require.Equal(t, refused, s.houses[1].Refused())
			require.NoError(t, s.houses[1].Ready())
			require.Equal(t, c.kicks, s.houses[1].Fit() == nil)
			ahead, ok := s.houses[1].Clocks().Ahead()
			require.True(t, ok)
			require.InDelta(t, c.off.Seconds(), ahead.Seconds(), 0.01)
			s.houses[0].start()
		})
	}
}

// The clock is set ahead after the last word of the lost gateway, which is what counts;
// once it is right again, who has not come by himself is taken over still.
func TestATakeoverWaitsForTheClock(t *testing.T) {
	var log strings.Builder
	onStreet(t, 10, func(t *testing.T, s *street) {
		s.carrying()
		s.houses[0].stop()
		s.clocks[1].set(year)
		s.houses[1].steps.take()
		s.move(1)
		s.houses[1].after(10 * time.Second)
		require.Zero(t, s.sessions()[1])
		require.Empty(t, s.houses[1].steps.take(), "nobody was touched")
		require.Contains(t, log.String(), "correct the clock")
		came := s.all()[3].Key
		s.session(1, came)
		s.clocks[1].set(-year)
		s.houses[1].after(100 * time.Millisecond)
		require.Equal(t, 10, s.sessions()[1])
		require.NotContains(t, s.houses[1].steps.take(), came.String(), "it had come by itself")
		s.houses[1].after(time.Minute)
		require.Equal(t, 1, strings.Count(log.String(), "correct the clock"))
		s.houses[0].start()
	}, func(i int, c *gateway.ReconcilerConfig) {
		if i == 1 {
			c.Log = slog.New(slog.NewTextHandler(&log, nil))
		}
	})
}

// After 180 s nobody has a session that could be taken over.
func TestATakeoverDoesNotWaitForEver(t *testing.T) {
	onStreet(t, 10, func(t *testing.T, s *street) {
		s.carrying()
		s.houses[0].stop()
		s.clocks[1].set(time.Minute)
		s.move(1)
		s.houses[1].after(178 * time.Second)
		s.clocks[1].set(-time.Minute)
		s.houses[1].after(time.Minute)
		require.Zero(t, s.sessions()[1])
		s.houses[0].start()
	})
}

// Who is being tried when the clock is set ahead is forgotten: WireGuard would go on by
// itself, with a clock that is wrong.
func TestAClockThatIsSetBreaksATakeoverOff(t *testing.T) {
	onStreet(t, 300, func(t *testing.T, s *street) {
		s.carrying()
		s.houses[0].stop()
		s.move(1)
		s.houses[1].after(25 * time.Millisecond) // nobody has answered yet
		require.Zero(t, s.sessions()[1])
		s.at.Store(-1) // what they answer gets lost
		s.clocks[1].set(time.Minute)
		s.houses[1].steps.take()
		s.houses[1].after(time.Second)
		steps := s.houses[1].steps.take()
		require.Equal(t, 128, strings.Count(steps, "remove"), "as many as were being tried")
		require.NotContains(t, steps, "kick")
		s.at.Store(1)
		s.clocks[1].set(-time.Minute)
		s.houses[1].after(time.Second)
		require.Equal(t, 300, s.sessions()[1])
		s.houses[0].start()
	})
}

// Why all that: with a guard that allows everything, a gateway whose clock is ahead has
// its clients refuse the next takeover, and with ours it does not.
func TestAClockThatIsAheadDoesHarm(t *testing.T) {
	for _, guarded := range []bool{true, false} {
		onStreet(t, 10, func(t *testing.T, s *street) {
			s.clocks[0].keep(true)
			s.clocks[1].keep(true)
			s.carrying()
			s.clocks[1].set(time.Minute)
			s.houses[0].after(2 * time.Second)
			s.move(1)
			s.houses[0].after(3 * time.Second)
			if guarded {
				require.Zero(t, s.sessions()[1])
				for _, p := range s.all() { // they come by themselves, as they do after 15 s
					s.session(1, p.Key)
				}
				s.houses[0].after(2 * time.Second)
			}
			require.Equal(t, [2]int{0, 10}, s.sessions())
			s.move(0)
			s.houses[0].after(time.Second)
			if guarded {
				require.Equal(t, [2]int{10, 0}, s.sessions())
			} else {
				require.Equal(t, [2]int{0, 0}, s.sessions(), "they take honest handshakes for repeated ones")
			}
		}, func(_ int, c *gateway.ReconcilerConfig) {
			if !guarded {
				c.Guard = func(gateway.Clocks) error { return nil }
			}
		})
	}
}

// proves P3, P8: a clock that is set moves no carrier, forgets nobody, makes nobody look
// older or younger, and takes nobody from a takeover.
func TestAClockThatIsSetMovesNobody(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		onStreet(t, 6, func(t *testing.T, s *street) {
			mine := func(i int) []gateway.Peer { return s.all()[3*i : 3*i+3] } // by a balancer's hand
			for i := range s.houses {
				for _, p := range mine(i) {
					s.session(i, p.Key)
				}
			}
			s.houses[0].after(10 * time.Second)
			s.houses[0].steps.take()
			s.houses[1].steps.take()
			talk := func() {
				for i, h := range s.houses {
					h.device.Hear(mine(i)[0].Key, memdevice.Traffic{Rx: 100})
				}
			}
			var sets [2]time.Duration
			for range rapid.IntRange(1, 5).Draw(rt, "steps") {
				i := rapid.IntRange(0, 1).Draw(rt, "whose")
				by := time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(rt, "by"))
				if rapid.Bool().Draw(rt, "far") {
					by = time.Hour * time.Duration(rapid.SampledFrom([]int{-1, 1, 24 * 365, -24 * 365}).Draw(rt, "hours"))
				}
				s.clocks[i].set(by)
				sets[i] += by
				for range rapid.IntRange(1, 20).Draw(rt, "seconds") {
					s.houses[0].after(time.Duration(rapid.IntRange(1, 1000).Draw(rt, "ms")) * time.Millisecond)
					talk()
				}
			}
			s.houses[0].after(7 * time.Second)
			for i, h := range s.houses {
				require.Empty(rt, h.steps.take(), "%s touched somebody", h.id)
				for _, v := range h.Status().Seen {
					age := s.clocks[i].now().Sub(v.Heard)
					if v.Key == mine(i)[0].Key {
						require.InDelta(rt, 7, age.Seconds(), 2.1)
					} else {
						require.Greater(rt, age, 10*time.Second)
					}
					require.Less(rt, age, 5*time.Minute)
				}
				s.clocks[i].set(-sets[i])
			}
			s.houses[0].after(2 * time.Second)
			s.houses[0].stop()
			s.move(1)
			s.houses[1].after(time.Second)
			require.Equal(rt, 6, s.sessions()[1], "who was carried by the lost gateway is taken over")
			for _, p := range mine(1) {
				require.NotContains(rt, s.houses[1].steps.take(), p.Key.String(), "it was here")
			}
			s.houses[0].start()
		})
	})
}
