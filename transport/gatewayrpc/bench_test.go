package gatewayrpc_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc"
)

func crowd(n int) gateway.Config {
	c := gatewaytest.Config(n)
	for i := range c.Peers {
		if i%2 == 0 {
			c.Peers[i].Preshared = gatewaytest.PresharedKey(i)
		}
	}
	return c
}

// BenchmarkSnapshot takes everything of a location over loopback, both ends in one
// process: half of the peers have a preshared key, all have two addresses.
func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("%d-peers", n), func(b *testing.B) {
			plane := gatewaytest.NewPlane()
			plane.Assign("gw", "office")
			plane.Put("office", crowd(n))
			far := onLoopback(b, plane, true).is("gw")
			b.ReportAllocs()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for b.Loop() {
				for u, err := range far.Watch(b.Context(), "gw", "office", gateway.Revision{}) {
					require.NoError(b, err)
					require.Len(b, u.Set, n)
					break
				}
			}
			runtime.ReadMemStats(&after)
			raw, err := gatewayrpc.AppendUpdate(nil, plane.Config("office").Since(gateway.Config{}))
			require.NoError(b, err)
			b.ReportMetric(float64(len(raw))/float64(n), "wire-B/peer")
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(b.N)/float64(n), "allocs/peer")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n), "µs/peer")
		})
	}
}

// BenchmarkDelta changes one peer of many, and waits until the other end has it.
func BenchmarkDelta(b *testing.B) {
	s := &steps{next: make(chan gateway.Update)}
	far := onLoopback(b, s, true).is("gw")
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	got := make(chan gateway.Update)
	go func() {
		for u, err := range far.Watch(ctx, "gw", "office", gateway.Revision{Epoch: 1, Number: 1}) {
			if err != nil {
				return
			}
			got <- u
		}
	}()
	b.ReportAllocs()
	u := gateway.Update{Set: gatewaytest.Peers(1)}
	for n := uint64(1); b.Loop(); n++ {
		u.From, u.To = gateway.Revision{Epoch: 1, Number: n}, gateway.Revision{Epoch: 1, Number: n + 1}
		s.next <- u
		<-got
	}
}

// BenchmarkReport tells of one peer, and of a hundred thousand.
func BenchmarkReport(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		b.Run(fmt.Sprintf("%d-peers", n), func(b *testing.B) {
			far := onLoopback(b, &steps{}, true).is("gw")
			s := seen(n, time.Now())
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, far.Report(b.Context(), "gw", "office", s))
			}
			raw, err := gatewayrpc.AppendStatus(nil, s, time.Now())
			require.NoError(b, err)
			b.ReportMetric(float64(len(raw))/float64(n), "wire-B/peer")
		})
	}
}
