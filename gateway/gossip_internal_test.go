package gateway

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// What was told of peers that went is not kept for ever, and nobody is told of twice for
// that.
func TestGossipForgetsWhoWent(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	stays := Sighting{Key: wgkey.Public{1}, Heard: now, Handshake: now}
	var g gossip
	require.Len(t, g.full([]Sighting{stays}, now), 1)
	for n := range 1000 {
		comes := Sighting{Key: wgkey.Public{2, byte(n), byte(n >> 8)}, Heard: now, Handshake: now}
		require.Equal(t, []Sighting{comes}, g.next([]Sighting{stays, comes}, now))
		require.LessOrEqual(t, len(g.told), 3)
	}
	require.Empty(t, g.next([]Sighting{stays}, now))
}

// A gateway that lies, or whose clock is broken, speaks of now at the latest.
func TestNobodyIsHeardInTheFuture(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := newSiblings("gw1")
	s.known["gw2"] = &sibling{}
	key := wgkey.Public{1}
	s.hear("gw2", Note{Full: true, Seen: []Sighting{{Key: key, Heard: now.Add(time.Hour), Handshake: now.Add(time.Hour)}}}, now, 0)
	got, ok := s.carry.Carrier(key)
	require.True(t, ok)
	require.Equal(t, Sighting{Key: key, By: "gw2", Heard: now, Handshake: now}, got)
	s.carry.Note(now.Add(time.Second), Sighting{Key: key, By: "gw1", Heard: now.Add(time.Second), Handshake: now.Add(time.Second)})
	got, _ = s.carry.Carrier(key)
	require.Equal(t, ID("gw1"), got.By, "it carries for an hour whom it does not")
}

// A conversation that begins anew takes nothing from what was known, but for what it
// leaves out.
func TestAFullNoteConfirms(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := newSiblings("gw1")
	s.known["gw2"] = &sibling{}
	here, there, left := wgkey.Public{1}, wgkey.Public{2}, wgkey.Public{3}
	at := func(n byte) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 1) }
	seen := func(k wgkey.Public, n byte) Sighting {
		return Sighting{Key: k, Heard: now, Handshake: now, Endpoint: at(n)}
	}
	s.hear("gw2", Note{Full: true, Seen: []Sighting{seen(here, 1), seen(left, 7)}}, now, 0)
	s.hear("gw2", Note{Seen: []Sighting{seen(here, 2)}}, now, 0)
	later := now.Add(time.Minute)
	s.hear("gw2", Note{Full: true, Seen: []Sighting{seen(here, 2), seen(there, 3)}}, later, 0)
	all := s.carry.Targets(later, func(ID, netip.AddrPort) bool { return true })
	require.Equal(t, []Target{
		{Key: here, Heard: now, Places: [2]netip.AddrPort{at(2), at(1)}}, {Key: there, Heard: now, Places: [2]netip.AddrPort{at(3)}},
	}, all)
	require.Equal(t, now, s.carry.peers[here].since, "since when it carries was forgotten")
	require.NotContains(t, s.carry.peers, left)
}

// Every instant that is known of a peer moves with a clock that is set: one that is new
// fails here until it does.
func TestEveryInstantOfCarryingIsShifted(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := NewCarrying("gw1")
	c.peers[wgkey.Public{1}] = &carried{seen: []Sighting{{Heard: now, Handshake: now}}, since: now, spoke: now}
	c.Shift(time.Hour)
	p := c.peers[wgkey.Public{1}]
	shifted := now.Add(time.Hour)
	require.Equal(t, &carried{seen: []Sighting{{Heard: shifted, Handshake: shifted}}, since: shifted, spoke: shifted}, p)
	for _, v := range []reflect.Value{reflect.ValueOf(*p), reflect.ValueOf(p.seen[0])} {
		for f := range v.Type().Fields() {
			if f.Type == reflect.TypeFor[time.Time]() {
				require.False(t, v.FieldByIndex(f.Index).IsZero(), "set %s.%s here, and shift it", v.Type(), f.Name)
			}
		}
	}
}
