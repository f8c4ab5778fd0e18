package gateway_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

var (
	home   = netip.MustParseAddrPort("198.51.100.7:4000")
	cafe   = netip.MustParseAddrPort("203.0.113.9:5000")
	thief  = netip.MustParseAddrPort("192.0.2.66:6666")
	client = wgkey.Public{7}
)

// at is so many seconds after the start.
func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// seen is what a gateway saw of the client: when it was heard, and when its newest
// session was confirmed.
func seen(by gateway.ID, heard, handshake float64, where netip.AddrPort) gateway.Sighting {
	return gateway.Sighting{Key: client, By: by, Heard: at(heard), Handshake: at(handshake), Endpoint: where}
}

func everybody(gateway.ID, netip.AddrPort) bool { return true }

func TestTheNewestHandshakeCarries(t *testing.T) {
	c := gateway.NewCarrying("gw1")
	_, ok := c.Carrier(client)
	require.False(t, ok, "nobody was heard")
	c.Note(at(0), gateway.Sighting{Key: client, By: "gw2", Heard: at(0), Endpoint: home})
	_, ok = c.Carrier(client)
	require.False(t, ok, "nobody has a session")

	c.Note(at(1), seen("gw2", 1, 1, home))
	c.Note(at(1), seen("gw3", 100, 0.5, cafe)) // it was heard there, in an older session
	s, ok := c.Carrier(client)
	require.True(t, ok)
	require.Equal(t, gateway.ID("gw2"), s.By)
	c.Note(at(2), seen("gw1", 2, 2, home))
	s, _ = c.Carrier(client)
	require.Equal(t, gateway.ID("gw1"), s.By)
	c.Drop("gw1", at(3))
	s, _ = c.Carrier(client)
	require.Equal(t, gateway.ID("gw2"), s.By)
	c.Keep(func(k wgkey.Public) bool { return k != client })
	_, ok = c.Carrier(client)
	require.False(t, ok)
}

// Whoever hears the same agrees on who carries, in whatever order it was told.
func TestGatewaysAgreeOnTheCarrier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []gateway.Sighting
		for _, by := range []gateway.ID{"gw1", "gw2", "gw3", "gw4"} {
			if rapid.Bool().Draw(t, "saw it") {
				s := seen(by, float64(rapid.IntRange(0, 3).Draw(t, "heard")), float64(rapid.IntRange(0, 3).Draw(t, "handshake")), home)
				if rapid.IntRange(0, 3).Draw(t, "never") == 0 {
					s.Handshake = time.Time{}
				}
				all = append(all, s)
			}
		}
		a, b := gateway.NewCarrying("gw1"), gateway.NewCarrying("gw2")
		a.Note(at(9), all...)
		b.Note(at(9), rapid.Permutation(all).Draw(t, "order")...)
		one, ok := a.Carrier(client)
		two, also := b.Carrier(client)
		require.Equal(t, ok, also)
		require.Equal(t, one, two)
		for _, s := range all {
			require.False(t, s.Handshake.After(one.Handshake), "%v is newer", s)
		}
	})
}

// device is what gw1 has of the client.
func device(handshake time.Time, where netip.AddrPort) *gateway.State {
	return &gateway.State{Exists: true, Peers: []gateway.PeerState{{Key: client, Handshake: handshake, Endpoint: where}}}
}

func TestWhoLostAClientForgetsIt(t *testing.T) {
	mine := device(at(1), home)
	for name, c := range map[string]struct {
		told   []gateway.Sighting // all at 10 s
		have   *gateway.State
		look   float64 // when
		forget bool
	}{
		"another one carries it":                    {[]gateway.Sighting{seen("gw1", 8, 1, home), seen("gw2", 10, 9, home)}, mine, 15, true},
		"not for long":                              {[]gateway.Sighting{seen("gw1", 8, 1, home), seen("gw2", 10, 9, home)}, mine, 14.9, false},
		"it was heard here since":                   {[]gateway.Sighting{seen("gw1", 8.1, 1, home), seen("gw2", 10, 9, home)}, mine, 15, false},
		"it is carried here":                        {[]gateway.Sighting{seen("gw1", 8, 9, home), seen("gw2", 10, 1, home)}, mine, 15, false},
		"it has just come here":                     {[]gateway.Sighting{seen("gw1", 8, 1, home), seen("gw2", 10, 9, home)}, device(at(14), home), 15, false},
		"nobody has a session":                      {[]gateway.Sighting{{Key: client, By: "gw2", Heard: at(10)}}, mine, 15, false},
		"nobody else was heard of":                  {[]gateway.Sighting{seen("gw1", 8, 1, home)}, mine, 15, false},
		"there is nothing to forget":                {[]gateway.Sighting{seen("gw2", 10, 9, home)}, device(time.Time{}, netip.AddrPort{}), 15, false},
		"a place is known, where initiations came":  {[]gateway.Sighting{seen("gw2", 10, 9, home)}, device(time.Time{}, thief), 15, true},
		"a session is here, and nobody heard of it": {[]gateway.Sighting{seen("gw2", 10, 9, home)}, mine, 15, true},
	} {
		t.Run(name, func(t *testing.T) {
			carrying := gateway.NewCarrying("gw1")
			carrying.Note(at(10), c.told...)
			var want []wgkey.Public
			if c.forget {
				want = []wgkey.Public{client}
			}
			require.Equal(t, want, carrying.Stray(c.have, at(c.look)))
		})
	}
}

// That it was here meanwhile begins the 5 s anew, and that a third gateway has taken
// it from the second does not.
func TestAClaimHasToStand(t *testing.T) {
	c := gateway.NewCarrying("gw1")
	c.Note(at(10), seen("gw1", 5, 1, home), seen("gw2", 10, 9, home))
	c.Note(at(12), seen("gw1", 12, 12, home))
	c.Note(at(13), seen("gw2", 16, 13, home))
	require.Empty(t, c.Stray(device(at(12), home), at(17.9)))
	c.Note(at(17.9), seen("gw3", 17.9, 17.5, home))
	require.Equal(t, []wgkey.Public{client}, c.Stray(device(at(12), home), at(18)))
}

// Where no floating address is left nobody comes by one: a process that began there
// does not wait to let go of whom others carry.
func TestCarryingIsLetGoOfAtOnceWithoutAnAddress(t *testing.T) {
	c := gateway.NewCarrying("gw1")
	c.Away(true)
	c.Note(at(12), seen("gw1", 12, 12, home))
	require.Empty(t, c.Stray(device(at(12), home), at(13)), "nobody else carries it")
	c.Note(at(13.5), seen("gw2", 12, 13, home))
	require.Empty(t, c.Stray(device(at(12), home), at(13.5)), "it was heard there no later")
	c.Note(at(14), seen("gw2", 13.1, 13, home))
	require.Equal(t, []wgkey.Public{client}, c.Stray(device(at(12), home), at(14)))
	c.Away(false)
	require.Empty(t, c.Stray(device(at(12), home), at(14)))
}

// A client that comes by itself has a place here before its session is confirmed: it
// is not turned away in between.
func TestCarryingIsNotLetGoOfWhileItComes(t *testing.T) {
	c := gateway.NewCarrying("gw1")
	c.Note(at(13), seen("gw2", 13, 13, home))
	have := device(time.Time{}, netip.AddrPort{})
	require.Empty(t, c.Stray(have, at(20)))
	have = device(time.Time{}, home)
	have.Peers[0].Rx = 148
	require.Empty(t, c.Stray(have, at(21)), "its handshake is not over")
	require.Empty(t, c.Stray(have, at(22.9)))
	require.Equal(t, []wgkey.Public{client}, c.Stray(have, at(23)), "it was an initiation, and nothing else")
}

// Who is kicked is being taken over, and let go of 5 s later if that was in vain.
func TestCarryingIsNotLetGoOfWhileItIsTakenOver(t *testing.T) {
	c := gateway.NewCarrying("gw1")
	c.Note(at(13), seen("gw2", 13, 13, home))
	require.Equal(t, []wgkey.Public{client}, c.Stray(device(time.Time{}, home), at(18)))
	c.Tried(gateway.Plan{{Verb: gateway.Set, Peer: gateway.Peer{Key: client}}}, at(18))
	require.NotEmpty(t, c.Stray(device(time.Time{}, home), at(18)), "it was not kicked")
	c.Tried(gateway.Plan{{Verb: gateway.Kick, Peer: gateway.Peer{Key: client}}}, at(18))
	require.Empty(t, c.Stray(device(time.Time{}, home), at(22.9)))
	require.Equal(t, []wgkey.Public{client}, c.Stray(device(time.Time{}, home), at(23)))
}

// Whatever is heard in whatever order: the carrier never forgets, so that of all
// gateways one keeps the session.
func TestTheCarrierKeepsItsSession(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := gateway.NewCarrying("gw1")
		last := map[gateway.ID]gateway.Sighting{}
		now := 0.0
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now += rapid.Float64Range(0, 7).Draw(t, "pause")
			by := rapid.SampledFrom([]gateway.ID{"gw1", "gw2", "gw3"}).Draw(t, "by")
			s := last[by]
			s.Key, s.By, s.Heard, s.Endpoint = client, by, at(now), home
			if s.Handshake.IsZero() || rapid.Bool().Draw(t, "handshake") {
				s.Handshake = at(now)
			}
			last[by] = s
			c.Note(at(now), s)
			carrier, _ := c.Carrier(client)
			stray := c.Stray(device(last["gw1"].Handshake, home), at(now))
			if carrier.By == "gw1" {
				require.Empty(t, stray)
			}
			if len(stray) > 0 {
				require.GreaterOrEqual(t, carrier.Heard.Sub(last["gw1"].Heard), 2*time.Second)
			}
		}
	})
}

func TestWhomToTakeOver(t *testing.T) {
	other := wgkey.Public{8}
	c := gateway.NewCarrying("gw1")
	c.Note(at(0), seen("gw2", 1, 1, home))
	require.Equal(t, []gateway.Target{{Key: client, Heard: at(1), Places: [2]netip.AddrPort{home}}}, c.Targets(at(2), everybody))
	c.Note(at(5), seen("gw2", 5, 1, cafe))
	c.Note(at(6), seen("gw2", 6, 1, cafe))
	c.Note(at(7), gateway.Sighting{Key: other, By: "gw3", Heard: at(7), Handshake: at(7), Endpoint: thief})
	require.Equal(t, []gateway.Target{
		{Key: other, Heard: at(7), Places: [2]netip.AddrPort{thief}},
		{Key: client, Heard: at(6), Places: [2]netip.AddrPort{cafe, home}},
	}, c.Targets(at(8), everybody), "last heard first, and where it was before is known")
	require.Len(t, c.Targets(at(8), func(by gateway.ID, _ netip.AddrPort) bool { return by == "gw2" }), 1)
	require.Empty(t, c.Targets(at(8), func(gateway.ID, netip.AddrPort) bool { return false }))
	require.Len(t, c.Targets(at(185.9), everybody), 2)
	require.Len(t, c.Targets(at(186), everybody), 1, "a session that can not be alive is dialled")
	require.Empty(t, c.Targets(at(187), everybody))

	c.Note(at(9), seen("gw1", 9, 9, cafe))
	require.Len(t, c.Targets(at(9), everybody), 1, "who is carried here is not taken over")
	c.Note(at(9), gateway.Sighting{Key: wgkey.Public{9}, By: "gw2", Heard: at(9), Handshake: at(9)})
	require.Len(t, c.Targets(at(9), everybody), 1, "nobody knows where it is")
}

// Somebody recorded an initiation of the client, and sends it to a gateway that has
// never heard of it: the gateway answers, and believes that the client is there. No
// other gateway does, and nobody is dialled there.
func TestARecordedInitiationStealsNobody(t *testing.T) {
	for _, asked := range []gateway.ID{"gw1", "gw2"} {
		c := gateway.NewCarrying("gw1")
		c.Note(at(0), seen("gw3", 0, 0, home))
		a := gateway.NewActivity(asked)
		peer := gateway.PeerState{Key: client}
		have := func() *gateway.State { return &gateway.State{Exists: true, Peers: []gateway.PeerState{peer}} }
		a.Observe(have(), at(0))
		for n := range 100 {
			peer.Rx, peer.Tx, peer.Endpoint = peer.Rx+148, peer.Tx+92, thief
			a.Observe(have(), at(float64(n+1)))
			told, _ := a.Since(0)
			c.Note(at(float64(n+1)), told...)
		}
		s, ok := c.Carrier(client)
		require.True(t, ok)
		require.Equal(t, seen("gw3", 0, 0, home), s)
		require.Equal(t, []gateway.Target{{Key: client, Heard: at(0), Places: [2]netip.AddrPort{home}}}, c.Targets(at(101), everybody))
		if asked == "gw1" {
			c.Note(at(101), seen("gw3", 101, 0, home))
			require.Equal(t, []wgkey.Public{client}, c.Stray(have(), at(101)), "the place of a thief stays")
		}
	}
}

func BenchmarkNote(b *testing.B) {
	c := gateway.NewCarrying("gw1")
	all := make([]gateway.Sighting, 10000)
	for i := range all {
		all[i] = gateway.Sighting{Key: wgkey.Public{byte(i), byte(i >> 8), 1}, By: "gw2", Heard: at(1), Handshake: at(1), Endpoint: home}
	}
	c.Note(at(1), all...)
	b.ReportAllocs()
	for b.Loop() {
		c.Note(at(2), all...)
	}
}
