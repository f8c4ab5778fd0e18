package gatewaytest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
)

func TestPlane(t *testing.T) {
	gatewaytest.RunOrigin(t, func(testing.TB) gatewaytest.Origin { return gatewaytest.NewPlane().Origin() })
	gatewaytest.RunControlPlane(t, func(_ testing.TB, o gateway.ControlPlane) gateway.ControlPlane { return o })
}

func TestPlaneTellsWhatWasReported(t *testing.T) {
	p := gatewaytest.NewPlane()
	require.Zero(t, p.Last("gw", "office"))
	p.Assign("gw", "office")
	s := gateway.Status{Epoch: 1, Full: true, Version: "7"}
	require.NoError(t, p.Report(t.Context(), "gw", "office", s))
	require.Equal(t, s, p.Last("gw", "office"))
	require.Len(t, p.Reports("gw", "office"), 1)
}
