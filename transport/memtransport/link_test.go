package memtransport_test

import (
	"testing"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

func TestControlPlane(t *testing.T) {
	gatewaytest.RunControlPlane(t, func(_ testing.TB, origin gateway.ControlPlane) gateway.ControlPlane {
		return memtransport.New(origin)
	})
}
