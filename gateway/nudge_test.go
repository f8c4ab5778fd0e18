package gateway_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
)

// A client sends by a session only when it was spoken to in that. The word that does it
// may be lost: then it is said again after 250 ms, and not when the client notices.
func TestWhoHasAnsweredAndSaysNothingIsSpokenTo(t *testing.T) {
	for _, c := range []struct {
		name   string
		meet   func(p *gateway.PeerState) // what comes of it within 100 ms
		nudges []time.Duration            // when it is spoken to, after its answer was seen
	}{
		{"it says nothing", func(*gateway.PeerState) {}, []time.Duration{260 * time.Millisecond, 500 * time.Millisecond}},
		{"it speaks", func(p *gateway.PeerState) { p.Rx += 32 }, nil},
		{"it goes", func(p *gateway.PeerState) { *p = gateway.PeerState{} }, nil},
		{"somebody else sets it anew", func(p *gateway.PeerState) { p.Handshake, p.Rx = time.Time{}, 0 }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := gatewaytest.Config(1)
			row := want.Peers[0]
			have := gateway.State{Exists: true, Backend: "kernel", Peers: []gateway.PeerState{{Key: row.Key, Rx: 1000}}}
			take := gateway.NewTakeover([]gateway.Target{{Key: row.Key, Heard: start}})
			now := start.Add(time.Minute)
			require.Len(t, take.Round(want, &have, now), 1)

			peer := &have.Peers[0]
			peer.Handshake, peer.Endpoint, peer.Keepalive, peer.Rx = now, cafe, row.Keepalive, 1000+92
			now = now.Add(20 * time.Millisecond)
			require.Empty(t, take.Round(want, &have, now))
			require.Equal(t, 1, take.Up())
			require.False(t, take.Over())
			require.False(t, take.Due(now), "there is nothing to look for as yet")

			answered := now
			c.meet(peer)
			var nudges []time.Duration
			for !take.Over() {
				now = now.Add(20 * time.Millisecond)
				require.Less(t, now.Sub(answered), 2*time.Second, "it does not end")
				if !take.Due(now) {
					continue
				}
				for _, s := range take.Round(want, &have, now) {
					require.Equal(t, gateway.Step{Verb: gateway.Kick, Peer: gateway.Peer{Key: row.Key, Endpoint: cafe, Keepalive: row.Keepalive}}, s,
						"there is a session: nothing else is to be done, and it is where it answered from")
					nudges = append(nudges, now.Sub(answered))
				}
			}
			require.Equal(t, c.nudges, nudges)
			require.Equal(t, 1, take.Up())
		})
	}
}
