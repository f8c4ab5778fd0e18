package memstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
)

func TestAWriteRaisesTheRevision(t *testing.T) {
	s, ctx := memstore.New(), t.Context()
	l, err := s.Locations().Update(ctx, "l", func(l *location.Location) error {
		*l = location.Location{ID: "l", Name: "office"}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, uint64(1), l.Rev)
	v, err := s.Feed().View(ctx, "l", vpn.Revision{})
	require.NoError(t, err)
	require.Equal(t, uint64(1), v.Rev.Number)
	require.NotZero(t, v.Rev.Epoch)
	require.Equal(t, "office", v.Location.Name)
	heads, err := s.Feed().Heads(ctx)
	require.NoError(t, err)
	require.Equal(t, map[location.ID]vpn.Revision{"l": v.Rev}, heads)
}
