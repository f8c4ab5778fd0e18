package wgmodel_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/internal/sim/wgmodel"
)

// elsewhere is where somebody is who recorded what others sent.
var elsewhere = netip.MustParseAddr("192.0.2.66")

// An initiation that is sent again moves the endpoint of a gateway that has not seen
// it, and counts as received; it confirms nothing.
func TestAReplayConfirmsNothing(t *testing.T) {
	play(t, options{}, func(r *rig) {
		r.talking(second)
		thief := r.net.Host(elsewhere)
		before := r.gw[0].peer(t)
		require.True(t, thief.Replay(someone, public))
		r.after(ms(10))
		after := r.gw[0].peer(t)
		require.Equal(t, before.Endpoint, after.Endpoint, "a stamp that is not newer is accepted")
		require.Less(t, after.Rx, before.Rx+148+1, "it is counted")

		require.True(t, thief.Replay(someone, netip.MustParseAddrPort("198.51.100.2:51820")))
		r.after(ms(10))
		other := r.gw[1].peer(t)
		require.Equal(t, elsewhere, other.Endpoint.Addr())
		require.Equal(t, uint64(148), other.Rx)
		require.Equal(t, uint64(92), other.Tx)
		require.Zero(t, other.Handshake)
		require.Zero(t, r.gw[1].Session(someone))
	})
}

// What is removed has nothing any more, stamps included, and a session belongs to two
// ends.
func TestRemovalWipes(t *testing.T) {
	play(t, options{}, func(r *rig) {
		r.talking(second)
		require.NotZero(t, r.c.Session())
		require.Equal(t, r.c.Session(), r.gw[0].Session(someone))
		r.gw[0].forget(t)
		require.Zero(t, r.gw[0].Session(someone))
		require.Equal(t, gateway.PeerState{Key: someone, AllowedIPs: r.gw[0].row.AllowedIPs}, r.gw[0].peer(t))
		thief := r.net.Host(elsewhere)
		require.True(t, thief.Replay(someone, public))
		r.after(ms(10))
		require.Equal(t, elsewhere, r.gw[0].peer(t).Endpoint.Addr(), "the stamp outlived the peer")
	})
}

// A client that comes into another network is found again by what it sends, and one
// that says nothing is not.
func TestRoaming(t *testing.T) {
	play(t, options{}, func(r *rig) {
		r.talking(second)
		r.pc.Move(elsewhere)
		require.Less(t, r.outage(second), ms(20))
		require.Equal(t, elsewhere, r.gw[0].peer(t).Endpoint.Addr())
		r.c.AskEvery(0)
		r.after(second)
		r.pc.Move(netip.MustParseAddr("192.0.2.67"))
		require.True(t, r.gw[0].Send(someone))
		began := time.Now()
		r.after(10 * second)
		require.True(t, r.c.Reached().Before(began), "it was found where it has never been")
	})
}

// Somebody who is not there is tried for some 90 s, and not for ever.
func TestRetriesEnd(t *testing.T) {
	play(t, options{late: true}, func(r *rig) {
		r.c.Ask()
		r.after(105 * second)
		r.gw[0].set(t)
		r.after(100 * second)
		_, count := r.c.Answered()
		require.Zero(t, count, "it is tried still")
		r.c.Ask()
		r.after(second)
		_, count = r.c.Answered()
		require.Positive(t, count)
	})
}

// Both ends begin at once: one session comes of it, or the next try makes one.
func TestBothBegin(t *testing.T) {
	play(t, options{}, func(r *rig) {
		r.talking(second)
		place := r.gw[0].peer(t).Endpoint
		r.gw[0].forget(t)
		r.c.Reset()
		r.c.Ask()
		r.gw[0].kick(t, place)
		require.Less(t, r.outage(20*second), 6*second)
	})
}

// Packets that overtake each other, and get lost, cost no session.
func TestARoughWay(t *testing.T) {
	play(t, options{nat: true}, func(r *rig) {
		r.pc.SetPath(wgmodel.Path{Delay: ms(30), Jitter: ms(40), Loss: 0.05})
		began := time.Now()
		r.c.AskEvery(ms(100))
		r.after(300 * second)
		_, count := r.c.Answered()
		require.Greater(t, count, 2400)
		require.True(t, r.pc.LostSince(began))
	})
}

// The last one who announced an address gets what is sent there.
func TestTwoOwners(t *testing.T) {
	play(t, options{}, func(r *rig) {
		r.gw[1].host.Have(floating, true)
		has, gets := r.gw[0].host.Has(floating)
		require.True(t, has)
		require.False(t, gets)
		r.talking(second)
		require.NotZero(t, r.gw[1].Session(someone))
		require.Zero(t, r.gw[0].Session(someone))
		r.gw[1].host.SetPath(wgmodel.Path{Cut: true})
		r.after(second)
		r.gw[1].host.Have(floating, false)
		r.gw[0].kick(t, netip.MustParseAddrPort("192.0.2.1:32768"))
		require.InDelta(t, second, r.outage(20*second), float64(ms(20)))
	})
}

// A clock that is set back has a client's initiations refused by a gateway that knows
// a later stamp, until that one tries by itself.
func TestAClientsClockGoesBack(t *testing.T) {
	play(t, options{}, func(r *rig) {
		r.talking(second)
		r.pc.SetClock(-time.Hour)
		r.c.Reset()
		r.within(r.outage(30*second), ms(15000), ms(15560), "the outage")
	})
}

// When nobody follows the addresses any more, a gateway goes on sending from one that it
// has lost: its client is not drawn away, and hears nothing either.
func TestNobodyFollowsTheAddress(t *testing.T) {
	for _, followed := range []bool{true, false} {
		play(t, options{unfollowed: true}, func(r *rig) {
			ctx, cancel := context.WithCancel(r.t.Context())
			r.gw[0].follow(ctx, r.t)
			r.talking(second)
			if !followed {
				cancel()
				r.after(second)
			}
			r.gw[0].host.Have(floating, false)
			r.after(20 * second) // in which WireGuard begins a handshake by itself
			require.Equal(t, followed, r.c.Place() != public)
			cancel()
		})
	}
}
