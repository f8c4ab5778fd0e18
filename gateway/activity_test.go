package gateway_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// watch is an Activity over one peer, sample by sample.
type watch struct {
	*gateway.Activity
	t    *testing.T
	peer gateway.PeerState
	now  time.Time
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func watching(t *testing.T) *watch {
	t.Helper()
	w := &watch{gateway.NewActivity("gw"), t, gateway.PeerState{Key: wgkey.Public{1}}, start}
	w.Observe(&gateway.State{}, w.now) // the peer comes later
	w.sample()
	return w
}

// sample takes a sample a second later, and returns what is told of the peer.
func (w *watch) sample() gateway.Sighting {
	w.t.Helper()
	w.now = w.now.Add(time.Second)
	w.Observe(&gateway.State{Peers: []gateway.PeerState{w.peer}}, w.now)
	all, _ := w.Since(0)
	if len(all) == 0 {
		return gateway.Sighting{}
	}
	require.Len(w.t, all, 1)
	require.Equal(w.t, gateway.ID("gw"), all[0].By)
	return all[0]
}

func TestDataIsASignOfLife(t *testing.T) {
	w := watching(t)
	at := netip.MustParseAddrPort("192.0.2.1:7")
	w.peer.Rx, w.peer.Tx, w.peer.Endpoint = 32, 92, at // a keepalive
	s := w.sample()
	require.Equal(t, w.now, s.Heard)
	require.Equal(t, at, s.Endpoint)
	require.Zero(t, s.Handshake)
	require.Equal(t, [2]uint64{32, 92}, [2]uint64{s.Rx, s.Tx})

	before := w.now
	w.peer.Tx += 1000 // what we send says nothing of the peer
	s = w.sample()
	require.Equal(t, before, s.Heard)
	require.Equal(t, uint64(1092), s.Tx)
}

func TestInitiationsAreNoSignOfLife(t *testing.T) {
	w := watching(t)
	w.peer.Endpoint = netip.MustParseAddrPort("203.0.113.66:7")
	for n := range uint64(200) { // one, some, as many as WireGuard accepts
		w.peer.Rx += 148 * min(n, 50)
		s := w.sample()
		require.Zero(t, s.Heard, "%d initiations in a second are taken for life", min(n, 50))
		require.False(t, s.Endpoint.IsValid(), "the sender of initiations is taken for the peer")
	}
	w.now = w.now.Add(time.Hour) // a sample that took its time
	w.peer.Rx += 148 * 50 * 3600
	require.Zero(t, w.sample().Heard)

	w.peer.Rx += 148 * 1000 // WireGuard would not have accepted so many
	require.Equal(t, w.now.Add(time.Second), w.sample().Heard)

	before := w.now
	w.peer.Rx += 148 * 4
	require.Equal(t, before, w.sample().Heard)
	w.peer.Rx += 148*4 + 32 // somebody knocks while the peer is there
	require.Equal(t, w.now.Add(time.Second), w.sample().Heard)
}

func TestAHandshakeIsASignOfLifeAtItsTime(t *testing.T) {
	w := watching(t)
	at := netip.MustParseAddrPort("[2001:db8::1]:7")
	w.peer.Handshake, w.peer.Endpoint, w.peer.Rx = w.now.Add(300*time.Millisecond), at, 148
	s := w.sample()
	require.Equal(t, w.peer.Handshake, s.Handshake)
	require.Equal(t, w.peer.Handshake, s.Heard)
	require.Equal(t, at, s.Endpoint)

	heard := s.Heard
	require.Equal(t, heard, w.sample().Heard, "the same handshake counts once")

	w.peer.Rx += 32
	heard = w.sample().Heard
	w.peer.Handshake = heard.Add(-500 * time.Millisecond) // it shook hands before the data came
	require.Equal(t, heard, w.sample().Heard, "what was heard went back")

	w.peer.Handshake = w.now.Add(time.Hour) // a clock that was set back since
	s = w.sample()
	require.Equal(t, w.now, s.Heard, "nobody was heard in the future")
	require.Equal(t, w.now, s.Handshake, "who has a session of the future carries until then")
}

// What is new since the last sample was not before it, whatever the clock was set to.
func TestAHandshakeJustBeforeTheClockIsSet(t *testing.T) {
	w := watching(t)
	w.peer.Handshake = w.now.Add(500 * time.Millisecond)
	w.Shift(time.Hour)
	w.now = w.now.Add(time.Hour)
	s := w.sample()
	require.Equal(t, w.now, s.Handshake)
	require.Equal(t, w.now, s.Heard)
	w.Shift(-3 * time.Hour)
	w.now = w.now.Add(-3 * time.Hour)
	before := w.now
	require.Equal(t, before, w.sample().Handshake, "the same handshake counts once, and is as old as it is")
}

func TestAPeerThatIsAddedAgainCountsFromZero(t *testing.T) {
	w := watching(t)
	w.peer.Rx, w.peer.Tx, w.peer.Handshake = 5000, 6000, w.now
	first := w.sample()

	w.peer.Rx, w.peer.Tx, w.peer.Handshake = 148, 92, time.Time{} // added again; an initiation came
	s := w.sample()
	require.Equal(t, first.Heard, s.Heard)
	require.Equal(t, first.Handshake, s.Handshake, "when the newest session was confirmed is history")
	require.Equal(t, [2]uint64{5148, 6092}, [2]uint64{s.Rx, s.Tx}, "totals go back")

	w.peer.Rx += 148 + 32
	w.peer.Handshake = w.now
	require.Equal(t, w.now.Add(time.Second), w.sample().Heard)

	// It may have grown beyond its old counters: then the handshake tells.
	w.peer.Rx, w.peer.Handshake = 148*40, time.Time{}
	before := w.now
	s = w.sample()
	require.Equal(t, before, s.Heard, "growth was not counted from 0")
	require.Equal(t, uint64(5148+148+32+148*40), s.Rx)
}

func TestAPeerThatWasAwayGoesOn(t *testing.T) {
	w := watching(t)
	w.peer.Rx = 5000
	first := w.sample()
	w.Observe(&gateway.State{}, w.now.Add(time.Second))
	all, _ := w.Since(0)
	require.Equal(t, []gateway.Sighting{first}, all, "a peer that has gone was heard")

	w.peer.Rx = 148
	s := w.sample()
	require.Equal(t, uint64(5148), s.Rx)
	require.Equal(t, first.Heard, s.Heard)

	w.Observe(&gateway.State{}, w.now.Add(time.Minute))
	w.Observe(&gateway.State{}, w.now.Add(2*time.Hour))
	all, _ = w.Since(0)
	require.Empty(t, all, "what went long ago is kept for ever")
}

func TestAnAdoptedDeviceIsNotHeardByOldBytes(t *testing.T) {
	old := start.Add(-time.Minute)
	s := gateway.State{Peers: []gateway.PeerState{
		{Key: wgkey.Public{1}, Rx: 1 << 40, Tx: 1 << 40},
		{Key: wgkey.Public{2}, Rx: 777, Handshake: old, Endpoint: netip.MustParseAddrPort("192.0.2.1:7")},
	}}
	a := gateway.NewActivity("gw")
	a.Observe(&s, start)
	all, _ := a.Since(0)
	require.Equal(t, []gateway.Sighting{{
		Key: wgkey.Public{2}, By: "gw", Heard: old, Handshake: old, Endpoint: s.Peers[1].Endpoint,
	}}, all)

	s.Peers[0].Rx += 32
	a.Observe(&s, start.Add(time.Second))
	all, _ = a.Since(0)
	require.Equal(t, start.Add(time.Second), all[0].Heard)
	require.Equal(t, uint64(32), all[0].Rx)
}

func TestSinceTellsWhatChanged(t *testing.T) {
	a := gateway.NewActivity("gw")
	s := gateway.State{Peers: make([]gateway.PeerState, 3)}
	for i := range s.Peers {
		s.Peers[i].Key = wgkey.Public{byte(i + 1)}
	}
	tick := func(rx ...int) {
		for _, i := range rx {
			s.Peers[i].Rx += 32
		}
		start = start.Add(time.Second)
		a.Observe(&s, start)
	}
	keys := func(seen []gateway.Sighting) (out []byte) {
		for _, s := range seen {
			out = append(out, s.Key[0])
		}
		return out
	}
	tick()
	seen, next := a.Since(0)
	require.Empty(t, seen, "nobody was heard")
	tick(2)
	tick(0)
	seen, accepted := a.Since(next)
	require.Equal(t, []byte{1, 3}, keys(seen))
	tick(1)
	seen, _ = a.Since(next)
	require.Equal(t, []byte{1, 2, 3}, keys(seen), "what was not accepted is told again")
	seen, accepted = a.Since(accepted)
	require.Equal(t, []byte{2}, keys(seen))
	seen, _ = a.Since(accepted)
	require.Empty(t, seen)
	seen, _ = a.Since(0)
	require.Equal(t, []byte{1, 2, 3}, keys(seen))
	seen[0].Rx = 99
	again, _ := a.Since(0)
	require.NotEqual(t, seen, again, "a caller's change reaches inside")
}

// Whatever happens to a device, totals and signs of life never go back, and
// initiations alone are never one.
func TestActivityNeverGoesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, now := gateway.NewActivity("gw"), start
		a.Observe(&gateway.State{}, now)
		p := gateway.PeerState{Key: wgkey.Public{1}}
		var last gateway.Sighting
		for range rapid.IntRange(1, 30).Draw(t, "samples") {
			now = now.Add(time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms")) * time.Millisecond)
			s := gateway.State{Peers: []gateway.PeerState{p}}
			life := false
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				s.Peers = nil
				p = gateway.PeerState{Key: p.Key}
			case 1:
				p = gateway.PeerState{Key: p.Key}
				a.Removed(p.Key) // and added again
				fallthrough
			case 2:
				p.Rx += 148 * rapid.Uint64Range(0, 50).Draw(t, "initiations")
			case 3:
				p.Rx += 16 + 148*rapid.Uint64Range(0, 50).Draw(t, "data")
				life = true
			case 4:
				p.Handshake = now
				life = true
			case 5:
				p.Tx += 92
			}
			if s.Peers != nil {
				s.Peers[0] = p
			}
			a.Observe(&s, now)
			seen, _ := a.Since(0)
			if len(seen) == 0 {
				require.False(t, life)
				continue
			}
			require.False(t, seen[0].Heard.Before(last.Heard))
			require.GreaterOrEqual(t, seen[0].Rx, last.Rx)
			require.GreaterOrEqual(t, seen[0].Tx, last.Tx)
			if life {
				require.Equal(t, now, seen[0].Heard)
			} else {
				require.Equal(t, last.Heard, seen[0].Heard, "that was no sign of life")
			}
			last = seen[0]
		}
	})
}

func many(n int) *gateway.State {
	s := &gateway.State{Exists: true}
	for _, p := range gatewaytest.Peers(n) {
		s.Peers = append(s.Peers, gateway.PeerState{Key: p.Key, Handshake: start})
	}
	return s
}

func TestSamplingAllocatesNothing(t *testing.T) {
	a, s, now := gateway.NewActivity("gw"), many(10_000), start
	a.Observe(s, now)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		for i := range s.Peers {
			s.Peers[i].Rx += 1400
		}
		now = now.Add(time.Second)
		a.Observe(s, now)
	}))
	_, next := a.Since(0)
	require.Zero(t, testing.AllocsPerRun(10, func() { a.Since(next) }))
}

func BenchmarkActivity(b *testing.B) {
	a, s, now := gateway.NewActivity("gw"), many(10_000), start
	for b.Loop() {
		for i := range s.Peers {
			s.Peers[i].Rx += 1400
		}
		now = now.Add(time.Second)
		a.Observe(s, now)
	}
}
