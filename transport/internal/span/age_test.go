package span_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport/internal/span"
)

func TestAges(t *testing.T) {
	sent := time.Unix(1_700_000_000, 0)
	received := sent.Add(-3 * time.Hour) // by a clock that is behind
	for ago, want := range map[time.Duration]time.Duration{
		0: 0, time.Nanosecond: time.Microsecond, time.Minute: time.Minute, -time.Minute: 0, 250 * 365 * 24 * time.Hour: 250 * 365 * 24 * time.Hour,
	} {
		age := span.Age(sent.Add(-ago), sent)
		require.NotZero(t, age)
		require.Equal(t, want, received.Sub(span.Instant(age, received)))
	}
	require.Zero(t, span.Age(time.Time{}, sent))
	require.True(t, span.Instant(0, received).IsZero())
	for _, age := range []uint64{1, math.MaxInt64, math.MaxUint64} { // whatever somebody says
		require.False(t, span.Instant(age, received).After(received))
	}
	require.LessOrEqual(t, span.Age(time.Unix(-math.MaxInt32, 0).AddDate(-5000, 0, 0), sent), uint64(9e15))
}
