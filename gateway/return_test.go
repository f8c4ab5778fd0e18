package gateway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// proves P13: an address that goes and comes back finds no session, so that its clients
// are taken over also where nobody had carried them meanwhile.
func TestAnAddressThatComesBackBringsItsClients(t *testing.T) {
	onStreet(t, 20, func(t *testing.T, s *street) {
		for _, p := range s.all()[:15] {
			s.session(0, p.Key)
		}
		s.houses[0].after(3 * time.Second)
		for range 3 {
			s.move(-1)
			s.houses[0].after(2 * time.Second)
			require.Equal(t, [2]int{0, 0}, s.sessions())
			s.houses[0].steps.take()
			s.move(0)
			s.houses[0].after(rtt + 20*time.Millisecond)
			require.Equal(t, [2]int{15, 0}, s.sessions())
			require.Equal(t, 15, strings.Count(s.houses[0].steps.take(), "kick "), "who had no session was dialled")
			s.houses[0].after(time.Second)
			s.houses[0].converged()
		}
	})
}

// Whose session is gone here is taken over, until there is one again; an older
// handshake that is told once more is none.
func TestCarryingOfWhomThisGatewayLost(t *testing.T) {
	c := gateway.NewCarrying("gw1")
	c.Lost(client)
	c.Note(at(1), seen("gw1", 1, 1, home), seen("gw2", 0.5, 0.5, home))
	require.Empty(t, c.Targets(at(2), everybody))
	c.Lost(client)
	require.Len(t, c.Targets(at(2), everybody), 1)
	c.Note(at(2), seen("gw1", 2, 1, home))
	require.Len(t, c.Targets(at(2), everybody), 1)
	c.Note(at(3), seen("gw1", 3, 3, home))
	require.Empty(t, c.Targets(at(3), everybody))
	c.Lost(wgkey.Public{9})
	require.Empty(t, c.Targets(at(3), everybody))
}
