package gatewayrpc_test

import (
	"testing"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
)

func TestControlPlaneOverTLS(t *testing.T) {
	gatewaytest.RunControlPlane(t, func(tb testing.TB, origin gateway.ControlPlane) gateway.ControlPlane {
		return onLoopback(tb, origin, true, config{})
	})
}

func TestControlPlaneInTheClear(t *testing.T) {
	gatewaytest.RunControlPlane(t, func(tb testing.TB, origin gateway.ControlPlane) gateway.ControlPlane {
		return onLoopback(tb, origin, false, config{})
	})
}

func TestControlPlaneOverPipes(t *testing.T) {
	gatewaytest.RunControlPlane(t, func(tb testing.TB, origin gateway.ControlPlane) gateway.ControlPlane {
		return onPipes(tb, origin, config{})
	})
}
