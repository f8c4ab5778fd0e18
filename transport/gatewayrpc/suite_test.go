package gatewayrpc_test

import (
	"testing"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
)

func TestControlPlaneOverTLS(t *testing.T) {
	gatewaytest.RunControlPlane(t, func(tb testing.TB, origin gateway.ControlPlane) gateway.ControlPlane {
		return onLoopback(tb, origin, true)
	})
}

func TestControlPlaneInTheClear(t *testing.T) {
	gatewaytest.RunControlPlane(t, func(tb testing.TB, origin gateway.ControlPlane) gateway.ControlPlane {
		return onLoopback(tb, origin, false)
	})
}

func TestControlPlaneOverPipes(t *testing.T) {
	gatewaytest.RunControlPlane(t, func(tb testing.TB, origin gateway.ControlPlane) gateway.ControlPlane {
		return onPipes(tb, origin, config{})
	})
}

func TestWire(t *testing.T) {
	wired := func(w *wire) gatewaytest.Wire { return gatewaytest.Wire{ControlPlane: w, Cut: w.Cut, Heal: w.Heal} }
	t.Run("TLS", func(t *testing.T) {
		gatewaytest.RunWire(t, func(tb testing.TB, origin gateway.ControlPlane) gatewaytest.Wire {
			return wired(onLoopback(tb, origin, true))
		})
	})
	t.Run("pipes", func(t *testing.T) {
		gatewaytest.RunWire(t, func(tb testing.TB, origin gateway.ControlPlane) gatewaytest.Wire {
			return wired(onPipes(tb, origin, config{}))
		})
	})
}
