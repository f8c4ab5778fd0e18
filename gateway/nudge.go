package gateway

import (
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const (
	// answered is what WireGuard has received of a peer that has answered, in bytes.
	answered = 92
	// nudges is how often a peer is spoken to again that has answered, and then says
	// nothing.
	nudges = 2
)

// mute is a peer that has answered an initiation, and of which nothing has come since.
// It sends by its new session only when it was spoken to in that, and the one packet
// that WireGuard sends for this may be lost: by itself the peer would notice after 15 s.
type mute struct {
	key    wgkey.Public
	said   uint64 // bytes that had come with the answer
	since  time.Time
	nudged int
}

// due says that it is time to speak to it.
func (m *mute) due(now time.Time) bool { return now.Sub(m.since) >= hurry<<m.nudged }

// hush notes who has answered and nothing else.
func (t *Takeover) hush(f flight, have PeerState, now time.Time) {
	if said := f.rx + answered; have.Rx <= said {
		t.silent = append(t.silent, mute{key: f.Key, said: said, since: now})
	}
}

// nudge adds what has to be done for those who have answered and say nothing: a kick
// without more, since there is a session.
func (t *Takeover) nudge(p *stages, s *State, now time.Time) {
	t.silent = slices.DeleteFunc(t.silent, func(m mute) bool {
		have, there := findState(s.Peers, m.key)
		return !there || have.Rx > m.said || have.Handshake.IsZero() || !have.Endpoint.IsValid()
	})
	for i := range t.silent {
		m := &t.silent[i]
		if !m.due(now) {
			continue
		}
		m.nudged++
		have, _ := findState(s.Peers, m.key)
		p.kicks = append(p.kicks, Step{Verb: Kick, Peer: Peer{Key: m.key, Endpoint: have.Endpoint, Keepalive: have.Keepalive}})
	}
	t.silent = slices.DeleteFunc(t.silent, func(m mute) bool { return m.nudged == nudges })
}
