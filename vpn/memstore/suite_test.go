package memstore_test

import (
	"testing"

	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/vpntest"
)

func TestStores(t *testing.T) {
	vpntest.RunStores(t, func(testing.TB) vpn.Stores { return memstore.New() })
}
