package gateway_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

const office gateway.LocationID = "office"

// bench is a plane, a link, a device and a Reconciler between them, in a bubble.
type bench struct {
	*gateway.Reconciler
	t      *testing.T
	plane  *gatewaytest.Plane
	link   *memtransport.Link
	device *memdevice.Device
	stop   func() // ends Run and waits for it
	steps  *steps
}

// steps are the plans that were applied.
type steps struct {
	mu    sync.Mutex
	plans []gateway.Plan
	drift []string
}

func (s *steps) trace() gateway.Trace {
	return gateway.Trace{
		OnApply: func(p gateway.Plan, _ time.Duration, _ error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.plans = append(s.plans, p)
		},
		OnDrift: func(p gateway.Problem) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.drift = append(s.drift, p.What)
		},
	}
}

// take returns the text of the plans since it was last called.
func (s *steps) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, p := range s.plans {
		b.WriteString(p.String())
	}
	s.plans = nil
	return b.String()
}

// inBubble runs test in a bubble with a bench of n peers that has converged.
func inBubble(t *testing.T, n int, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		plane := gatewaytest.NewPlane()
		plane.Assign("gw1", office)
		plane.Put(office, gatewaytest.Config(n))
		b := newBench(t, plane, "gw1", memdevice.New())
		b.start()
		b.converged()
		b.steps.take()
		test(t, b)
		b.stop()
	})
}

func newBench(t *testing.T, plane *gatewaytest.Plane, id gateway.ID, d *memdevice.Device) *bench {
	t.Helper()
	b := &bench{t: t, plane: plane, link: memtransport.New(plane), device: d, steps: &steps{}}
	r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
		ID: id, Location: office, Device: d, Plane: b.link, Version: "test", Trace: b.steps.trace(),
	})
	require.NoError(t, err)
	b.Reconciler = r
	return b
}

func (b *bench) start() {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(b.t, <-done)
	})
	b.t.Cleanup(b.stop)
	synctest.Wait()
}

// state is what is on the device, whoever blocks it.
func (b *bench) state() gateway.State {
	b.t.Helper()
	return observe(b.t, b.device.Open())
}

// converged waits a moment and requires the device to be as the plane says.
func (b *bench) converged() {
	b.t.Helper()
	b.after(100 * time.Millisecond)
	require.Empty(b.t, gateway.Diff(b.plane.Config(office), b.state()).String())
}

// after lets time pass.
func (b *bench) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
