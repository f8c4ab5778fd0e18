package gateway_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

// proves P13: a process that begins on a machine that has the address already learns
// from its siblings whom they left behind, and takes them over then.
func TestWhoBeginsWithTheAddressGetsTheClients(t *testing.T) {
	onStreet(t, 20, func(t *testing.T, s *street) {
		for _, p := range s.all() {
			s.session(0, p.Key)
		}
		s.houses[0].after(3 * time.Second)
		h := s.houses[1]
		h.stop()
		s.move(-1)
		h.after(100 * time.Millisecond)
		s.at.Store(1)
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
			ID: h.id, Location: office, Device: owner{h.device, h.owns}, Plane: h.link, Trace: h.steps.trace(),
			Now: s.clocks[1].now, Boot: s.clocks[1], Synced: s.clocks[1].synced,
		})
		require.NoError(t, err)
		h.Reconciler = r
		h.owns <- []netip.Addr{floating}
		h.start()
		end := s.converse()
		defer end()
		h.after(2 * time.Second)
		require.Equal(t, [2]int{0, 20}, s.sessions())
	})
}
