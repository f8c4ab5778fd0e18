package gateway_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

// What is refused is left exactly as it is, until the plane speaks.
func TestWhatIsTooOldStaysAsItIs(t *testing.T) {
	const month = 30 * 24 * time.Hour
	for name, c := range map[string]struct {
		limit time.Duration
		age   time.Duration
		words string // none: it is used
	}{
		"young":                      {0, month - time.Hour, ""},
		"old":                        {0, month + time.Hour, "too old: the control plane was heard last 721h"},
		"within a limit":             {2 * time.Hour, time.Hour, ""},
		"beyond a limit":             {time.Hour, 2 * time.Hour, "and the limit is 1h0m0s"},
		"no limit":                   {-1, 100 * month, ""},
		"from the future, no limit":  {-1, -month, ""},
		"a clock that is a bit slow": {0, -4 * time.Minute, ""},
		"from the future":            {0, -time.Hour, "from the future"},
	} {
		t.Run(name, func(t *testing.T) {
			inKeptShop(t, func(t *testing.T, s *shop) {
				s.link.Cut()
				s.reboot()
				s.start() // "a" is there, "b" is not
				s.kill()
				delete(s.devices, "b")
				for _, at := range []gateway.LocationID{"a", "b"} {
					k, _ := s.keeper.Kept(at)
					k.Heard = time.Now().Add(-c.age)
					s.keeper.Put(k)
				}
				s.limit = c.limit
				s.start()
				if c.words == "" {
					s.has("a", "b")
					require.NoError(t, s.Ready())
					return
				}
				s.has("a")
				require.ErrorContains(t, s.Ready(), c.words)
				require.Empty(t, s.Locations())
				s.link.Heal()
				s.after(12 * time.Second)
				s.has("a", "b")
				require.NoError(t, s.Ready())
			})
		})
	}
}

// A machine without a clock of its own starts long ago, and knows better soon.
func TestAClockThatIsSetAfterTheStart(t *testing.T) {
	inKeptShop(t, func(t *testing.T, s *shop) {
		s.link.Cut()
		s.reboot()
		s.setClock(-400 * 24 * time.Hour)
		s.start()
		s.has()
		require.ErrorContains(t, s.Ready(), "correct the clock")
		s.setClock(0)
		s.after(11 * time.Second)
		s.has("a", "b")
		require.NoError(t, s.Ready())
	})
}

// The age counts from the plane's last word, and not from the last change.
func TestEveryWordOfThePlaneCounts(t *testing.T) {
	inKeptShop(t, func(t *testing.T, s *shop) {
		s.stop()
		s.limit = 2 * time.Hour // the time is refreshed 24 times within the limit
		s.start()
		count := s.keeper.Keeps()
		s.after(5 * time.Hour)
		require.InDelta(t, 2*5*12, s.keeper.Keeps()-count, 2, "two locations, each 5 minutes")
		k, _ := s.keeper.Kept("a")
		require.WithinDuration(t, time.Now(), k.Heard, 6*time.Minute)

		last := time.Now()
		s.link.Cut()
		s.after(100 * time.Minute)
		k, _ = s.keeper.Kept("a")
		require.WithinDuration(t, last, k.Heard, 6*time.Minute, "silence is no word")
		s.reboot()
		s.start()
		s.has("a", "b")
		s.after(100 * time.Minute)
		s.has("a", "b") // who runs goes on
		s.reboot()
		s.start()
		s.has()
		require.ErrorContains(t, s.Ready(), "too old")
	})
}

func TestByDefaultTheTimeIsRefreshedOnceAnHour(t *testing.T) {
	inKeptShop(t, func(t *testing.T, s *shop) {
		count := s.keeper.Keeps()
		s.after(150 * time.Minute)
		require.Equal(t, 2*2, s.keeper.Keeps()-count)
	})
}

func (s *shop) setClock(off time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = off
}

// now is what the machine's clock says.
func (s *shop) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.clock)
}
