package gateway

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// line is a peer of a gateway, looked at each second.
type line struct {
	t     *testing.T
	q     astray
	s     State
	up    time.Duration
	alone bool // no sibling has the address
	acts  map[time.Duration]netip.AddrPort
}

var street = netip.MustParseAddrPort("203.0.113.40:17582")

func newLine(t *testing.T) *line {
	key := wgkey.Public{1}
	return &line{
		t: t, acts: map[time.Duration]netip.AddrPort{},
		s: State{Peers: []PeerState{{Key: key, Handshake: time.Unix(1, 0), Endpoint: street, Rx: 1000, Tx: 1000}}},
	}
}

// second lets one pass, in which so many bytes came and went.
func (l *line) second(rx, tx uint64) {
	l.t.Helper()
	l.up += time.Second
	p := &l.s.Peers[0]
	p.Rx, p.Tx = p.Rx+rx, p.Tx+tx
	if rx > 0 {
		p.Endpoint = street
	}
	l.q.observe(&l.s, l.up)
	park, back := l.q.due(&l.s, l.up, func(place netip.AddrPort) bool {
		require.Equal(l.t, street, place)
		return !l.alone
	})
	before := l.s.Clone()
	for _, step := range append(park, back...) {
		require.Equal(l.t, Kick, step.Verb)
		l.acts[l.up] = step.Peer.Endpoint
		p.Endpoint = step.Peer.Endpoint
	}
	l.q.done(park, back, &before, l.up)
}

func (l *line) seconds(n int, rx, tx uint64) {
	l.t.Helper()
	for range n {
		l.second(rx, tx)
	}
}

func TestWhoDoesNotAnswerIsLeftAlone(t *testing.T) {
	l := newLine(t)
	l.seconds(5, 300, 300)
	l.seconds(90, 0, 0) // the last answer, at 5 s, may have been to nobody
	require.Equal(t, map[time.Duration]netip.AddrPort{16 * time.Second: nowhere(), 61 * time.Second: street}, l.acts)
}

func TestWhoAnswersIsNot(t *testing.T) {
	for name, then := range map[string]func(l *line){
		"by a keepalive after 10 s":                  func(l *line) { l.seconds(10, 0, 0); l.second(32, 0) },
		"to what goes on":                            func(l *line) { l.seconds(10, 0, 300); l.second(32, 0) },
		"each time":                                  func(l *line) { l.seconds(20, 32, 300); l.second(32, 0) },
		"and is idle, after a keepalive from here":   func(l *line) { l.second(300, 0); l.seconds(9, 0, 0); l.second(0, 32) },
		"and has its handshake answered":             func(l *line) { l.second(180, 92) },
		"and is sent initiations, without data":      func(l *line) { l.second(32, 0); l.second(0, 148); l.seconds(4, 0, 0); l.second(0, 148) },
		"and the counters begin anew with a session": func(l *line) { l.s.Peers[0].Rx, l.s.Peers[0].Tx = 0, 0; l.second(0, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(t)
			l.seconds(5, 300, 300)
			then(l)
			l.seconds(90, 0, 0)
			require.Empty(t, l.acts)
		})
	}
}

// What goes to a parked peer is no reason to do it again, and once it speaks all is as
// before.
func TestWhoSpeaksAgainIsAnswered(t *testing.T) {
	l := newLine(t)
	l.seconds(2, 300, 300)
	l.seconds(20, 0, 500)
	require.Equal(t, map[time.Duration]netip.AddrPort{13 * time.Second: nowhere()}, l.acts)
	l.seconds(3, 300, 300)
	l.second(32, 0)
	l.seconds(60, 0, 0)
	require.Len(t, l.acts, 1)
	l.second(0, 500)
	l.seconds(20, 0, 0)
	require.Equal(t, nowhere(), l.acts[98*time.Second])
}

func TestWhereNobodyElseHasTheAddressNobodyIsParked(t *testing.T) {
	l := newLine(t)
	l.alone = true
	l.seconds(5, 300, 300)
	l.seconds(90, 0, 500)
	require.Empty(t, l.acts)
}

// Who has no session, or has gone, is forgotten.
func TestAstrayForgets(t *testing.T) {
	l := newLine(t)
	l.second(300, 300)
	require.Len(t, l.q.peers, 1)
	l.s.Peers[0].Handshake = time.Time{}
	l.second(0, 0)
	require.Empty(t, l.q.peers)
	l.s.Peers[0].Handshake = time.Unix(2, 0)
	l.second(0, 0)
	require.Len(t, l.q.peers, 1)
	l.s.Peers = nil
	l.q.observe(&l.s, l.up)
	require.Empty(t, l.q.peers)
}

// A process that finds a peer parked by an earlier one does not take that for its place.
func TestNowhereIsNoPlace(t *testing.T) {
	a := NewActivity("gw1")
	key := wgkey.Public{1}
	a.Observe(&State{Peers: []PeerState{{Key: key, Handshake: time.Unix(1, 0), Endpoint: nowhere(), Rx: 1000}}}, time.Unix(100, 0))
	seen, _ := a.Since(0)
	require.Len(t, seen, 1)
	require.False(t, seen[0].Endpoint.IsValid())
}
