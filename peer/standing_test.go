package peer_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/peer"
)

// Who adds a device reads the owner's row before; who disables the owner lists
// the devices before it is there.
//
// It proves P14.
func TestAnOwnerWhoIsDisabledMeanwhile(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24")
	var now peer.Standing
	quick := &swift{Store: w.store}
	s, err := peer.NewService(peer.ServiceConfig{
		Store: quick, Locations: w.locations,
		Standing: func(context.Context, string) (peer.Standing, error) { return now, nil },
	})
	require.NoError(t, err)
	disable := func() {
		now = peer.Standing{Disabled: true}
		_, err := s.SetStanding(t.Context(), "alice", now)
		require.NoError(t, err)
	}

	quick.before = disable
	d, err := s.Add(t.Context(), laptopAt(w.office))
	require.NoError(t, err)
	require.True(t, d.Standing.Disabled)

	now = peer.Standing{}
	other := laptopAt()
	other.Owner = ""
	d, err = s.Add(t.Context(), other)
	require.NoError(t, err)
	quick.before = func() { quick.before = disable } // the first look at the new owner is before, the write after
	d, err = s.Update(t.Context(), d.ID, func(row *peer.Device) error { row.Owner = "alice"; return nil })
	require.NoError(t, err)
	require.True(t, d.Standing.Disabled)
}
