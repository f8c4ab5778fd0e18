package memstore_test

import (
	"testing"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/location/locationtest"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/peer/peertest"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
)

func TestLocations(t *testing.T) {
	locationtest.RunStore(t, func(testing.TB) location.Store { return memstore.New().Locations() })
}

func TestDevices(t *testing.T) {
	peertest.RunStore(t, func(testing.TB) peer.Store { return memstore.New().Devices() })
}
