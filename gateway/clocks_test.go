package gateway_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
)

// kept and loose are clocks of others that are said to be kept right, or not, of which
// ours is ahead by so many seconds.
func kept(ahead float64) gateway.OtherClock {
	return gateway.OtherClock{By: "kept", Ahead: time.Duration(ahead * float64(time.Second)), Synced: true}
}

func loose(ahead float64) gateway.OtherClock {
	o := kept(ahead)
	o.By, o.Synced = "loose", false
	return o
}

func TestWhoseClockIsFit(t *testing.T) {
	type others = []gateway.OtherClock
	const year = 365 * 86400
	for name, c := range map[string]struct {
		synced bool
		others others
		fit    bool
	}{
		"kept right, nobody else":                   {true, nil, true},
		"not known to be kept right, nobody else":   {false, nil, false},
		"two that agree":                            {true, others{kept(0.4)}, true},
		"two that agree, with hosts that keep them": {false, others{loose(-0.4)}, true},
		"just so":                        {true, others{kept(0.999)}, true},
		"just not":                       {true, others{kept(1)}, false},
		"of two the one ahead gives way": {true, others{kept(3)}, false},
		"of two the one behind does not": {true, others{kept(-3)}, true},
		"of two in doubt that differ, neither starts: ahead":  {false, others{loose(3)}, false},
		"of two in doubt that differ, neither starts: behind": {false, others{loose(-3)}, false},
		"who is kept right need not mind who is not":          {true, others{loose(year)}, true},
		"who is not does mind who is, ahead":                  {false, others{kept(60)}, false},
		"who is not does mind who is, behind":                 {false, others{kept(-60)}, true},
		"who is not does mind who is, alike":                  {false, others{kept(0), loose(60)}, true},
		"one that is behind is outvoted":                      {true, others{kept(0), kept(60)}, true},
		"two that are behind are not":                         {true, others{kept(60), kept(60)}, false},
		"half are not outvoted":                               {true, others{kept(0), kept(60), kept(60)}, false},
		"in doubt all count":                                  {false, others{loose(0), loose(60)}, true},
		"in doubt most count":                                 {false, others{loose(0), loose(60), loose(60), loose(60)}, false},
		"in doubt those behind count, if one agrees":          {false, others{loose(-60), loose(-60), loose(0)}, true},
		"a year": {true, others{kept(year), kept(year)}, false},
		"many in doubt do not outvote one that is kept right":    {false, others{kept(60), loose(0), loose(0), loose(0)}, false},
		"many in doubt do not hold up one that is kept right":    {true, others{loose(60), loose(60)}, true},
		"one that differs from all others by less than a second": {true, others{kept(0.9), kept(-0.9), kept(0.5)}, true},
	} {
		err := gateway.Clocks{Synced: c.synced, Others: c.others}.Fit()
		if c.fit {
			require.NoError(t, err, name)
		} else {
			require.ErrorIs(t, err, gateway.ErrClock, name)
		}
	}
}

func TestHowFarAClockIsAhead(t *testing.T) {
	_, ok := gateway.Clocks{Synced: true}.Ahead()
	require.False(t, ok)
	c := gateway.Clocks{Synced: true, Others: []gateway.OtherClock{loose(7)}}
	ahead, ok := c.Ahead()
	require.True(t, ok)
	require.Equal(t, 7*time.Second, ahead)
	c.Others = append(c.Others, kept(-2), kept(-3), kept(-4))
	ahead, _ = c.Ahead()
	require.Equal(t, -3*time.Second, ahead, "those that are kept right say it")
}

// However many clocks there are and whatever the wrong ones show: with one that is ahead
// by 1 s nobody starts a handshake if half of those that count are right; one that is
// right does, if more than half are; and nobody is held up for being behind where one is
// kept right.
func TestAClockThatIsAheadIsNeverFit(t *testing.T) {
	const right = 100 * time.Millisecond // so far from each other are those that are
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string, from, to time.Duration) time.Duration {
			return time.Duration(rapid.Int64Range(int64(from), int64(to)).Draw(t, name))
		}
		// All are offsets to the time that it is.
		own := draw("own", -2*time.Hour, 2*time.Hour)
		if rapid.Bool().Draw(t, "own is right") {
			own = draw("own", -right/2, right/2)
		}
		c := gateway.Clocks{Synced: rapid.Bool().Draw(t, "synced")}
		rights, wrongs, agree := 0, 0, false
		count := func(off time.Duration) {
			if off.Abs() <= right/2 {
				rights++
			} else {
				wrongs++
			}
		}
		anybody := c.Synced
		for range rapid.IntRange(0, 6).Draw(t, "others") {
			off := draw("off", -right/2, right/2)
			if rapid.Bool().Draw(t, "wrong") {
				off = draw("off", -100*365*24*time.Hour, 100*365*24*time.Hour)
			}
			o := gateway.OtherClock{Ahead: own - off, Synced: rapid.Bool().Draw(t, "synced")}
			c.Others = append(c.Others, o)
			anybody = anybody || o.Synced
			agree = agree || o.Ahead.Abs() < time.Second
		}
		for _, o := range c.Others {
			if o.Synced == anybody {
				count(own - o.Ahead)
			}
		}
		counts := c.Synced == anybody
		if counts {
			count(own)
		}
		before := slices.Clone(c.Others)
		err := c.Fit()
		require.Equal(t, before, c.Others, "it is the caller's")
		switch {
		case own >= time.Second+right && rights >= wrongs:
			require.Error(t, err)
		case own.Abs() <= right/2 && rights > wrongs && (anybody || agree):
			require.NoError(t, err)
		case anybody && own < 0 && rights > wrongs:
			require.NoError(t, err, "it is only behind")
		}
	})
}
