package gateway_test

import (
	"context"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

// tardy is a device that takes its time to change.
type tardy struct {
	owner
	takes *atomic.Int64 // ns
}

// Apply implements gateway.Device.
func (d tardy) Apply(ctx context.Context, p gateway.Plan) error {
	done := time.NewTimer(time.Duration(d.takes.Load()))
	defer done.Stop()
	select {
	case <-done.C:
		return d.owner.Apply(ctx, p)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Whoever was kicked is waited for since he was, however long that took: he is neither
// tried again nor let go of while his answer is under way.
func TestATakeoverOnADeviceThatTakesItsTime(t *testing.T) {
	const long = 8 * time.Second
	var takes atomic.Int64
	onStreet(t, 10, func(t *testing.T, s *street) {
		for _, p := range s.all() {
			s.session(0, p.Key)
		}
		s.houses[0].after(3 * time.Second)
		s.houses[1].steps.take()
		takes.Store(int64(long))
		s.at.Store(1) // both have it
		s.houses[1].owns <- []netip.Addr{floating}
		s.houses[0].after(long + rtt + 20*time.Millisecond)
		require.Equal(t, 10, s.sessions()[1])
		takes.Store(0)
		s.houses[0].after(time.Minute)
		require.Equal(t, 10, strings.Count(s.houses[1].steps.take(), "kick "))
	}, func(i int, c *gateway.ReconcilerConfig) {
		if inner, is := c.Device.(owner); is && i == 1 {
			c.Device = tardy{inner, &takes}
		}
	})
}
