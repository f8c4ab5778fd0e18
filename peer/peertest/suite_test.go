package peertest_test

import (
	"testing"

	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/peer/peertest"
)

func TestStore(t *testing.T) {
	peertest.RunStore(t, func(testing.TB) peer.Store { return peertest.NewStore() })
}
