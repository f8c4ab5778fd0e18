//go:build linux

package vm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestKilohertz(t *testing.T) {
	at := time.Now()
	begin := moment{ticks: 1000, at: at}
	for want, end := range map[uint64]moment{
		2_600_000: {ticks: 1000 + 260_000_000, at: at.Add(100 * time.Millisecond)},
		0:         {ticks: 1000 + 26_000_000, at: at.Add(10 * time.Millisecond)}, // too short
	} {
		require.Equal(t, want, kilohertz(begin, end))
	}
	require.Zero(t, kilohertz(begin, moment{ticks: 1000, at: at.Add(time.Second)}), "it stands")
	require.Zero(t, kilohertz(begin, moment{ticks: 10, at: at.Add(time.Second)}), "it went back")
	require.Zero(t, kilohertz(begin, moment{ticks: 2000, at: at.Add(time.Second)}), "it crawls")

	if ticks() == 0 {
		return // another processor
	}
	one := now()
	<-time.After(100 * time.Millisecond) // time itself: a counter is measured by it
	two := now()
	<-time.After(100 * time.Millisecond) // time itself: a counter is measured by it
	three := now()
	require.NotZero(t, kilohertz(one, three))
	require.InEpsilon(t, kilohertz(one, two), kilohertz(two, three), 0.001)
}

func TestDrift(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		theirs, ours time.Duration
		ok           bool
	}{
		{100 * s, 100 * s, true},
		{100 * s, 130 * s, true}, // the last of it came late
		{5 * s, 3500 * time.Millisecond, true},
		{100 * s, 30 * s, false},
		{10 * s, 30 * s, false},
	} {
		err := Config{Clock: Wall}.drift(c.theirs, c.ours)
		require.Equal(t, c.ok, err == nil, "%v: %v", c, err)
		require.NoError(t, Config{Clock: Virtual}.drift(c.theirs, c.ours))
	}
}
