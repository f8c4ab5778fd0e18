package sealed_test

import (
	"encoding/binary"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/transport/sealed"
)

const window = 2 * time.Minute

func number(n int) (id [16]byte) {
	binary.BigEndian.PutUint64(id[:], uint64(n))
	return id
}

// proves P11: over all histories, with clocks of both ends that jump either way, nothing
// is taken twice, and who claims the time that was told is taken.
func TestNothingIsTakenTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := sealed.NewReplays(start, window)
		type sent struct {
			device string
			id     int
		}
		took, times := map[sent]bool{}, map[sent]time.Time{}
		now, n := start, 0
		jump := rapid.Int64Range(int64(-5*time.Minute), int64(5*time.Minute))
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			step := rapid.OneOf(rapid.Just(time.Duration(0)), rapid.Just(time.Second), rapid.Map(jump, func(n int64) time.Duration { return time.Duration(n) }))
			now = now.Add(step.Draw(t, "step"))
			s := sent{rapid.SampledFrom([]string{"a", "b"}).Draw(t, "device"), n}
			at := now.Add(time.Duration(jump.Draw(t, "claim")))
			if n > 0 && rapid.Bool().Draw(t, "replay") {
				s.id = rapid.IntRange(0, n-1).Draw(t, "which")
				old, ok := times[s]
				if !ok {
					continue // the other device's
				}
				at = old
			} else {
				n++
				times[s] = at
			}
			tell, is := f.Take(s.device, number(s.id), at, now)
			switch is {
			case "fresh":
				require.False(t, took[s], "taken twice")
				took[s] = true
			case "taken":
				require.True(t, took[s])
			case "untimely":
				_, is := f.Take(s.device, number(n), tell, now)
				require.Equal(t, "fresh", is, "who does as told is taken")
				took[sent{s.device, n}], times[sent{s.device, n}] = true, tell
				n++
			}
		}
	})
}

// A device that asks without end stays within its bound, keeps being taken, and holds up
// nobody else.
func TestAFilterIsBounded(t *testing.T) {
	f := sealed.NewReplays(start, window)
	now := start
	for i := range 10_000 {
		now = now.Add(time.Millisecond)
		_, is := f.Take("eager", number(i), now, now)
		require.Equal(t, "fresh", is)
	}
	devices, requests := f.Size()
	require.Equal(t, 1, devices)
	require.Equal(t, sealed.PerDevice, requests)
	_, is := f.Take("eager", number(1), start.Add(2*time.Millisecond), now)
	require.Equal(t, "untimely", is, "what was forgotten is not taken either")
	_, is = f.Take("other", number(1), start.Add(2*time.Millisecond), now)
	require.Equal(t, "fresh", is)
	for i := range 1000 {
		_, is = f.Take("d"+strconv.Itoa(i), number(i), now, now)
		require.Equal(t, "fresh", is)
	}
	now = now.Add(3 * window)
	_, is = f.Take("late", number(1), now, now)
	require.Equal(t, "fresh", is)
	devices, requests = f.Size()
	require.Equal(t, []int{1, 1}, []int{devices, requests}, "what is too old is forgotten")
}
