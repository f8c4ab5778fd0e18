package gateway_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

func TestReached(t *testing.T) {
	zero, one, two := gateway.Revision{}, gateway.Revision{Epoch: 1, Number: 1}, gateway.Revision{Epoch: 1, Number: 2}
	other := gateway.Revision{Epoch: 2, Number: 9}
	for _, c := range []struct {
		has, want gateway.Revision
		reached   bool
	}{
		{zero, zero, true},
		{one, zero, true},
		{zero, one, false},
		{one, one, true},
		{two, one, true},
		{one, two, false},
		{other, one, false},
		{one, other, false},
	} {
		require.Equal(t, c.reached, c.has.Reached(c.want), "%v reached %v", c.has, c.want)
	}
}

func FuzzRevision(f *testing.F) {
	f.Add("")
	f.Add("00a1b2c3d4e59f3c.17")
	f.Add("00a1b2c3d4e59f3c.18446744073709551616")
	f.Add("00A1b2c3d4e59f3c.+1")
	f.Fuzz(func(t *testing.T, text string) {
		var r gateway.Revision
		if err := r.UnmarshalText([]byte(text)); err != nil {
			require.True(t, r.IsZero(), "an error changed the receiver")
			return
		}
		out, err := r.MarshalText()
		require.NoError(t, err)
		require.Equal(t, text, string(out), "two texts for one revision")
		require.NotEmpty(t, r.String())
	})
}
