package siblingrpc_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
)

// A note that was under way for long makes nobody look younger, whatever the clocks of
// both machines say.
func TestANoteThatIsLateMakesNobodyYounger(t *testing.T) {
	const ahead, late = -5 * time.Hour, 700 * time.Millisecond
	near, far := gatewaytest.NewSibling("gw2"), gatewaytest.NewSibling("gw1")
	wall := func() time.Time { return time.Now().Round(0).Add(ahead) }
	l := onLink(t, gatewaytest.TalkEnd{ID: "gw1", Talker: near, Now: wall}, gatewaytest.TalkEnd{ID: "gw2", Talker: far})
	go func() { _ = l.Talk(t.Context(), "office") }()
	heard := func(rx uint64) func() bool {
		return func() bool {
			n, _ := far.Heard("office", "gw1")
			return len(n.Seen) == 1 && n.Seen[0].Rx == rx
		}
	}
	for rx, stall := range []bool{false, false, false, true, false, true} {
		if stall {
			l.faults.Stall()
		}
		at := time.Now()
		near.See(gateway.Sighting{Key: gatewaytest.Peer(1).Key, Heard: wall(), Rx: uint64(rx)})
		if stall {
			require.Never(t, heard(uint64(rx)), late, late)
			l.faults.Heal()
		}
		require.Eventually(t, heard(uint64(rx)), 10*time.Second, time.Millisecond)
		n, _ := far.Heard("office", "gw1")
		require.WithinRange(t, n.Seen[0].Heard, at.Add(-late/2), at.Add(late/2), "note %d", rx)
	}
}
