package gateway_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

// A plane that stalls without a word keeps no gateway on an old assignment.
//
// proves P9.
func TestAStalledPlaneKeepsNoAssignment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatewaytest.NewPlane()
		p.Assign("gw1", office, "lab")
		first, second := memtransport.New(p), memtransport.New(p.Twin())
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var last []gateway.Assignment
		for at, err := range gateway.Planes(first, second).Assigned(ctx, "gw1") {
			require.NoError(t, err)
			if last = at; len(at) == 2 {
				first.Stall()
				p.Assign("gw1", "lab")
			}
		}
		require.Equal(t, []gateway.Assignment{{Location: "lab"}}, last)
	})
}
