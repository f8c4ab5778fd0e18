package gateway

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var dawn = time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC)

func after(d time.Duration) time.Time { return dawn.Add(d) }

// What siblings say of themselves, and for how long they have, is what makes one better.
func TestWhichSiblingIsBetter(t *testing.T) {
	const now = time.Hour
	sound := account{id: "b", at: after(now - time.Second), sound: after(now - lasting)}
	edit := func(f func(*account)) account { a := sound; f(&a); return a }
	for name, c := range map[string]struct {
		list []account
		want ID
	}{
		"none":                 {nil, ""},
		"a sound one":          {[]account{sound}, "b"},
		"never heard":          {[]account{{id: "b"}}, ""},
		"it has fallen silent": {[]account{edit(func(a *account) { a.at = after(now - unheard) })}, ""},
		"for too short a time": {[]account{edit(func(a *account) { a.sound = after(now - lasting + 1) })}, ""},
		"it stands badly, too": {[]account{edit(func(a *account) { a.sound = time.Time{} })}, ""},
		"the longest of several": {[]account{
			sound, edit(func(a *account) { a.id, a.sound = "d", after(0) }), edit(func(a *account) { a.id = "a" }),
		}, "d"},
		"of two the first": {[]account{sound, edit(func(a *account) { a.id = "a" })}, "a"},
	} {
		require.Equal(t, c.want, better(c.list, after(now)), name)
	}
}

// A sibling is sound while it says so without falling silent.
func TestWhatASiblingSaysOfItself(t *testing.T) {
	good := Note{Ready: true}
	for name, bad := range map[string]Note{
		"not ready": {}, "isolated": {Ready: true, Isolated: true}, "stalled": {Ready: true, Stalled: true},
	} {
		a := account{id: "b"}
		for s := range 10 {
			a.hear(good, after(time.Duration(s)*time.Second))
		}
		require.Equal(t, dawn, a.sound, name)
		a.hear(bad, after(10*time.Second))
		require.Zero(t, a.sound, name)
		a.hear(good, after(11*time.Second))
		require.Equal(t, after(11*time.Second), a.sound, name)
		a.hear(good, after(11*time.Second+unheard))
		require.Equal(t, after(11*time.Second+unheard), a.sound, "%s: nobody knows what was meanwhile", name)
	}
}

// at is what a footing has come to at an instant.
type at struct {
	when              time.Duration
	isolated, stalled bool
	aside             bool
}

func TestAFootingInTime(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		heard, owed func(now time.Duration) time.Duration // the last word, and since when an update waits; < 0: none does
		other       func(now time.Duration) ID
		want        []at // what changes
	}{
		"nothing happens": {other: second},
		"a core is away for 9 s": {
			heard: func(now time.Duration) time.Duration {
				if now < 9*s {
					return 0
				}
				return now
			},
			other: second,
		},
		"a core is away for a minute": {
			heard: func(now time.Duration) time.Duration {
				if now < 60*s {
					return 0
				}
				return now
			},
			other: second,
			want:  []at{{10 * s, true, false, false}, {30 * s, true, false, true}, {60 * s, false, false, true}, {65 * s, false, false, false}},
		},
		"nobody is better": {
			heard: func(time.Duration) time.Duration { return 0 },
			want:  []at{{10 * s, true, false, false}},
		},
		"the sibling is lost, too": {
			heard: func(time.Duration) time.Duration { return 0 },
			other: func(now time.Duration) ID {
				if now < 40*s {
					return "b"
				}
				return ""
			},
			want: []at{{10 * s, true, false, false}, {30 * s, true, false, true}, {40 * s, true, false, false}},
		},
		"an update waits for 3 s": {
			owed: func(now time.Duration) time.Duration {
				if now < 3*s {
					return 0
				}
				return -1
			},
			other: second,
			want:  []at{{1 * s, false, true, false}, {3 * s, false, false, false}},
		},
		"updates wait now and then": {
			owed: func(now time.Duration) time.Duration {
				if now/s%30 < 28 && now < 60*s {
					return now.Truncate(30 * s)
				}
				return -1
			},
			other: second,
			want: []at{
				{1 * s, false, true, false}, {21 * s, false, true, true}, {28 * s, false, false, true},
				{31 * s, false, true, true}, {58 * s, false, false, true}, {63 * s, false, false, false},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := footing{heard: dawn}
			var got []at
			for now := time.Duration(0); now <= 90*s; now += s / 2 {
				f.heard, f.owed = after(now), time.Time{}
				if c.heard != nil {
					f.heard = after(c.heard(now))
				}
				if c.owed != nil && c.owed(now) >= 0 {
					f.owed = after(c.owed(now))
				}
				other := ID("")
				if c.other != nil {
					other = c.other(now)
				}
				if f.judge(after(now), other) {
					got = append(got, at{now, f.isolated, f.stalled, f.aside != ""})
				}
			}
			require.Equal(t, c.want, got)
		})
	}
}

func second(time.Duration) ID { return "b" }

// Whatever becomes of the cores of some gateways, not all of those who could be ready
// step aside, and nobody does so while all stand the same.
func TestSomebodyAlwaysStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const step = 500 * time.Millisecond
		type one struct {
			footing

			lost, back time.Duration // between these it hears no core
		}
		many := make([]one, rapid.IntRange(2, 4).Draw(t, "gateways"))
		together := rapid.Bool().Draw(t, "together")
		lost := time.Duration(rapid.IntRange(0, 60).Draw(t, "lost")) * time.Second
		back := lost + time.Duration(rapid.IntRange(0, 200).Draw(t, "for"))*time.Second
		for i := range many {
			some := func(what string) time.Duration {
				if most := 60000; !together {
					return time.Duration(rapid.IntRange(0, most).Draw(t, what)) * time.Millisecond
				}
				return 0
			}
			m := &many[i]
			m.lost, m.back = lost+some("later lost"), back+some("later back")
			m.lost += time.Duration(rapid.IntRange(0, 2000).Draw(t, "noticed")) * time.Millisecond // a report
			m.back += time.Duration(rapid.IntRange(0, 14000).Draw(t, "found")) * time.Millisecond  // a dial, a stream, and a report
			m.heard = dawn
		}
		said := make([]account, len(many)) // what all hear of each
		for now := time.Duration(0); now <= 400*time.Second; now += step {
			asides := 0
			for i := range many {
				m := &many[i]
				if now < m.lost || now >= m.back {
					m.heard = after(now)
				}
				others := append(append([]account{}, said[:i]...), said[i+1:]...)
				m.judge(after(now), better(others, after(now)))
				if m.aside != "" {
					asides++
				}
			}
			for i := range many {
				said[i].id = ID(strconv.Itoa(i))
				said[i].hear(Note{Ready: many[i].aside == "", Isolated: many[i].isolated}, after(now))
			}
			if asides == len(many) {
				t.Fatalf("at %v all have stepped aside", now)
			}
			if together && asides > 0 {
				t.Fatalf("at %v somebody steps aside in an outage that is everybody's", now)
			}
		}
	})
}
