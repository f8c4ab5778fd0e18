package memdevice_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
)

// made returns a device that is as gatewaytest.Config(n) says.
func made(t *testing.T, n int) *memdevice.Device {
	t.Helper()
	d := memdevice.New()
	require.NoError(t, d.Apply(t.Context(), gateway.Diff(gatewaytest.Config(n), gateway.State{})))
	return d
}

func state(t *testing.T, d *memdevice.Device) (s gateway.State) {
	t.Helper()
	require.NoError(t, d.Observe(t.Context(), &s))
	return s
}

func TestMeddleChangesWhatItIsTold(t *testing.T) {
	d := made(t, 3)
	c := gatewaytest.Config(3)
	c.Interface.Destinations, c.Interface.Isolated = gatewaytest.Prefixes("10.60.0.0/16"), true
	require.NoError(t, d.Apply(t.Context(), gateway.Plan{
		{Verb: gateway.Configure, Fields: gateway.FieldFilter, Interface: c.Interface},
		{Verb: gateway.Route, Route: netip.MustParsePrefix("192.0.2.0/24")},
	}))
	before := state(t, d)
	d.Meddle(func(*gateway.State) {})
	require.Equal(t, before, state(t, d))

	d.Meddle(func(s *gateway.State) { s.Peers, s.Interface.Mark = s.Peers[1:], 9 })
	after := state(t, d)
	require.Equal(t, before.Peers[1:], after.Peers)
	require.Equal(t, uint32(9), after.Interface.Mark)

	d.Meddle(func(s *gateway.State) { s.Up, s.Filtered = false, false })
	after = state(t, d)
	require.Empty(t, after.Routes, "routes outlive the link")
	require.Empty(t, after.Interface.Masquerade, "a table that is not there masquerades")
	require.Empty(t, after.Interface.Destinations, "a table that is not there filters")
	require.False(t, after.Interface.Isolated, "a table that is not there filters")
	require.ErrorIs(t, d.Apply(t.Context(), gateway.Plan{
		{Verb: gateway.Route, Route: netip.MustParsePrefix("192.0.2.0/24")},
	}), syscall.ENETDOWN)

	d.Meddle(func(s *gateway.State) { s.Exists = false })
	require.Equal(t, gateway.State{Backend: memdevice.Backend}, state(t, d))
}

func TestHearMovesCountersOn(t *testing.T) {
	d := made(t, 1)
	key, at := gatewaytest.Peer(1).Key, time.Unix(7, 0)
	require.True(t, d.Hear(key, memdevice.Traffic{Rx: 1, Tx: 2, Handshake: at, Endpoint: netip.MustParseAddrPort("192.0.2.1:1")}))
	require.True(t, d.Hear(key, memdevice.Traffic{Rx: 1, Tx: 2}))
	p := state(t, d).Peers[0]
	require.Equal(t, [2]uint64{2, 4}, [2]uint64{p.Rx, p.Tx})
	require.Equal(t, at, p.Handshake)
	require.Equal(t, "192.0.2.1:1", p.Endpoint.String())
	require.False(t, d.Hear(gatewaytest.Peer(2).Key, memdevice.Traffic{}))
}

func TestFaults(t *testing.T) {
	d := made(t, 1)
	sick := errors.New("sick")
	d.FailObserve(sick)
	var s gateway.State
	require.ErrorIs(t, d.Observe(t.Context(), &s), sick)
	d.FailObserve(nil)
	d.FailSteps(func(s gateway.Step) error {
		if s.Verb == gateway.Remove {
			return sick
		}
		return nil
	})
	require.ErrorIs(t, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Remove}}), sick)
	d.SetProblems("one", "two")
	require.Equal(t, []string{"one", "two"}, state(t, d).Problems)
	require.NoError(t, d.Close())
	require.ErrorIs(t, d.Observe(t.Context(), &s), os.ErrClosed)
	require.NoError(t, d.Open().Observe(t.Context(), &s))
}

func TestBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := made(t, 1)
		release := d.Block()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		var s gateway.State
		require.ErrorIs(t, d.Observe(ctx, &s), context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(began))
		go func() {
			time.Sleep(time.Hour)
			release()
			release() // does no harm
		}()
		require.NoError(t, d.Open().Apply(t.Context(), nil))
		require.Equal(t, time.Hour+time.Minute, time.Since(began))
	})
}

// Somebody removes a peer by hand, and one round brings it back.
func Example() {
	ctx, want, device := context.Background(), gatewaytest.Config(2), memdevice.New()
	reconcile := func() {
		var have gateway.State
		if err := device.Observe(ctx, &have); err != nil {
			fmt.Println(err)
		}
		plan := gateway.Diff(want, have)
		fmt.Println(len(plan), "steps")
		if err := device.Apply(ctx, plan); err != nil {
			fmt.Println(err)
		}
	}
	reconcile()
	device.Meddle(func(s *gateway.State) { s.Peers = s.Peers[1:] })
	reconcile()
	reconcile()
	// Output:
	// 3 steps
	// 1 steps
	// 0 steps
}

func TestFloatingAddressesAreMeddledWith(t *testing.T) {
	d := made(t, 1)
	one, two := netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("198.51.100.11")
	c := gatewaytest.Config(1)
	c.Interface.Mark, c.Interface.Floating = 7, []netip.Addr{one, two}
	sick := errors.New("sick")
	d.FailSteps(func(s gateway.Step) error {
		if s.Fields&gateway.FieldSource != 0 {
			return sick
		}
		return nil
	})
	plan := gateway.Diff(c, state(t, d))
	require.ErrorIs(t, d.Apply(t.Context(), plan), sick)
	require.Empty(t, state(t, d).Interface.Floating)
	d.FailSteps(nil)
	require.NoError(t, d.Apply(t.Context(), plan))

	owned := d.Own(t.Context(), c.Interface)
	require.Empty(t, <-owned)
	d.SetOwned(two, netip.MustParseAddr("192.0.2.1"))
	require.Equal(t, []netip.Addr{two}, <-owned)
	d.Meddle(func(s *gateway.State) { s.Owned = []netip.Addr{one} })
	require.Equal(t, []netip.Addr{one}, <-owned)
	require.Equal(t, []netip.Addr{one}, state(t, d).Owned)
	require.Empty(t, gateway.Diff(c, state(t, d)), "addresses are nobody's to repair")

	for _, strange := range []func(*gateway.State){
		func(s *gateway.State) { s.Sourced = false },
		func(s *gateway.State) { s.Interface.Mark, s.Sourced = 8, false },
		func(s *gateway.State) { s.Interface.Floating = nil },
	} {
		d.Meddle(strange)
		plan = gateway.Diff(c, state(t, d))
		require.Len(t, plan, 1)
		require.NotZero(t, plan[0].Fields&gateway.FieldSource)
		require.NoError(t, d.Apply(t.Context(), plan))
		require.Empty(t, gateway.Diff(c, state(t, d)))
	}
	require.NoError(t, d.Close())
	d.SetOwned()
	require.Empty(t, <-owned, "it goes on until its context ends")
	require.Empty(t, d.Own(t.Context(), c.Interface), "a closed handle tells nothing")
}
