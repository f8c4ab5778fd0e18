package locationtest_test

import (
	"testing"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/location/locationtest"
)

func TestStore(t *testing.T) {
	locationtest.RunStore(t, func(testing.TB) location.Store { return locationtest.NewStore() })
}
