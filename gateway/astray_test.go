package gateway_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
)

// A client that two gateways may have is let go of before WireGuard here begins to send it
// initiations, which would keep it from asking the other gateway; one that answers by
// keepalives alone is not, and none is where one gateway has the address.
//
// proves P8.
func TestWhoMayHaveGoneToASiblingIsLeftAlone(t *testing.T) {
	for name, both := range map[string]bool{"both have the address": true, "one has": false} {
		t.Run(name, func(t *testing.T) {
			onStreet(t, 2, func(t *testing.T, s *street) {
				one := s.houses[0]
				if both {
					s.houses[1].owns <- []netip.Addr{floating}
				}
				gone, lives := s.all()[0].Key, s.all()[1].Key
				s.session(0, gone)
				s.session(0, lives)
				one.after(5 * time.Second)
				started := time.Now()
				one.device.OnKick(func(p gateway.Peer) {
					require.Equal(t, gone, p.Key)
					if since := time.Since(started); p.Endpoint == home {
						require.Greater(t, since, 50*time.Second)
					} else {
						require.Less(t, since, 15*time.Second)
						require.True(t, p.Endpoint.Addr().IsLoopback())
					}
				})
				said := memdevice.Traffic{Rx: 128, Tx: 128}
				one.device.Hear(gone, said)
				one.device.Hear(lives, said)
				one.after(10*time.Second + 300*time.Millisecond)
				one.device.Hear(lives, memdevice.Traffic{Rx: 32})
				one.after(4 * time.Second)
				state := one.state()
				require.NotZero(t, state.Peers[0].Handshake, "its session stays")
				require.Equal(t, home, state.Peers[1].Endpoint)
				require.Equal(t, !both, state.Peers[0].Endpoint == home)
				one.after(time.Minute)
				require.Equal(t, home, one.state().Peers[0].Endpoint)
			})
		})
	}
}

// Who was parked is not kicked back by a clock that is not fit for that: it would begin
// with an initiation, whose stamp is far off.
func TestAParkedClientWaitsForAClockThatIsFit(t *testing.T) {
	onStreet(t, 1, func(t *testing.T, s *street) {
		one := s.houses[0]
		s.houses[1].owns <- []netip.Addr{floating}
		gone := s.all()[0].Key
		s.session(0, gone)
		one.after(5 * time.Second)
		s.clocks[0].set(time.Hour)
		s.clocks[0].keep(false)
		s.clocks[1].keep(true)
		one.after(5 * time.Second)
		require.Error(t, one.Fit())
		one.device.Hear(gone, memdevice.Traffic{Rx: 128, Tx: 128})
		one.after(2 * time.Minute)
		require.True(t, one.state().Peers[0].Endpoint.Addr().IsLoopback())
		s.clocks[0].set(-time.Hour)
		s.clocks[0].keep(true)
		one.after(30 * time.Second)
		require.NoError(t, one.Fit())
		require.Equal(t, home, one.state().Peers[0].Endpoint)
	})
}
